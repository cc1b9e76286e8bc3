"""Decisions about versions: from where things stand and what is asked, the events that follow, or a refusal.

Pure: names, times and tokens arrive as arguments. Asking again for what is already so gives no events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from registry.domain import events as ev
from registry.domain.errors import RefusedError
from registry.domain.events import DomainEvent, NewEvent
from registry.domain.ids import VersionRef, check_name, model_stream, resource_name, version_stream
from registry.domain.ledger import training_cost
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, ModelState, VersionState
from statemachine import VERSION, IllegalMoveError, legal_moves, move

COMMANDS = ("activate", "retire", "cancel", "retry", "delete")
"""Triggers that a person may pull; the others are what happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """On whose word, and why: goes into every event of a command."""

    actor: str
    reason: str | None = None

    def says(self, stream: str, payload: DomainEvent) -> NewEvent:
        return NewEvent(stream=stream, payload=payload, actor=self.actor, reason=self.reason)


def ref_of(version: VersionState) -> VersionRef:
    return VersionRef(version.model, version.version)


def legal(version: VersionState) -> tuple[str, ...]:
    """The commands that this version's state does not refuse."""
    if version.deletion_requested:
        return ()
    moves = legal_moves(VERSION, version.state)
    return tuple(trigger for trigger in moves if trigger in COMMANDS)


def refused(version: VersionState, message: str, *, hint: str | None = None) -> RefusedError:
    """A refusal that says where the version stands, and which moves are legal from there."""
    return RefusedError(message, state=version.state, legal=legal_moves(VERSION, version.state), hint=hint)


def check_move(version: VersionState, trigger: str) -> str:
    """The state after a trigger. Raises RefusedError with the current state and the legal moves."""
    ref = ref_of(version)
    if version.deletion_requested and trigger != "delete":
        raise refused(version, f"{ref} is being deleted; it cannot {trigger}")
    try:
        return move(VERSION, version.state, trigger)
    except IllegalMoveError as refusal:
        commands = legal(version)
        moves = ", ".join(commands) or "none"
        raise RefusedError(
            f"{ref} is {version.state}: it cannot {trigger} (legal from {version.state}: {moves})",
            state=version.state,
            legal=refusal.legal,
        ) from refusal


# How a version begins


def number(model: ModelState | None, name: str, who: Who) -> tuple[int, list[NewEvent]]:
    """The next number of a model, and the events that give it out (declaring the model when it is new)."""
    check_name(name, "model")
    stream = model_stream(name)
    declared = [] if model else [who.says(stream, ev.ModelDeclared(model=name))]
    next_number = (model.last_version if model else 0) + 1
    return next_number, [*declared, who.says(stream, ev.VersionNumbered(model=name, version=next_number))]


def begin(
    model: ModelState | None, payload: ev.FineTuneRequested | ev.VersionImported | ev.OwnTrainingStarted, who: Who
) -> list[NewEvent]:
    """A new version of a model, whose number stands in the payload already (from `number`)."""
    _, events = number(model, payload.model, who)
    return [*events, who.says(version_stream(VersionRef(payload.model, payload.version)), payload)]


# Training


def submit(version: VersionState, registry: str, who: Who, price: ev.UnitPrice | None = None) -> list[NewEvent]:
    """The intent: durable before the provider is called, with the price of training as it is now."""
    name = job_name(registry, version, version.attempt)
    payload = ev.TrainingSubmitted(attempt=version.attempt, name=name, token=name, price=price)
    return [who.says(version_stream(ref_of(version)), payload)]


def job_name(registry: str, version: VersionState, attempt: int) -> str:
    """A version keeps its names where it is put back from a backup: what was begun for it meanwhile is its own."""
    assert version.created_at is not None
    return resource_name(registry, ref_of(version), attempt, version.created_at)


def started(version: VersionState, job: ev.JobRef, who: Who) -> list[NewEvent]:
    """The provider has the job. For a version that was cancelled meanwhile the job is recorded, to be stopped."""
    if version.job_id == job.id:
        return []
    if version.state == "queued":
        check_move(version, "start")
    payload = ev.TrainingStarted(attempt=version.attempt, job=job)
    return [who.says(version_stream(ref_of(version)), payload)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A job seen in a final status. `finished_at` is the provider's word, `seen_at` ours."""

    outcome: str
    """succeeded | failed | cancelled"""
    status: str
    artifact: ev.ArtifactRef | None = None
    error: str | None = None
    metrics: dict[str, float] | None = None
    trained_tokens: int | None = None
    duration_s: float | None = None
    finished_at: datetime | None = None
    seen_at: datetime | None = None


def finished(version: VersionState, result: Finished, who: Who) -> list[NewEvent]:
    """Final is final: a version that is over only learns how its job ended."""
    stream = version_stream(ref_of(version))
    if version.state != "training":
        if version.job_final:
            return []
        return [who.says(stream, ev.JobStopped(status=result.status, artifact=result.artifact))]
    if result.outcome == "succeeded" and result.artifact is not None:
        check_move(version, "finish")
        price = version.training_price
        trained = ev.VersionTrained(
            artifact=result.artifact,
            job_status=result.status,
            metrics=result.metrics or {},
            trained_tokens=result.trained_tokens,
            duration_s=result.duration_s,
            cost=training_cost(price, tokens=result.trained_tokens, duration_s=result.duration_s),
            currency=price.currency if price else None,
            price=price,
            finished_at=_finished_at(version, result),
        )
        return [who.says(stream, trained)]
    if result.outcome == "cancelled":
        check_move(version, "cancel")
        stopped = ev.JobStopped(status=result.status, artifact=result.artifact)
        return [who.says(stream, ev.VersionCancelled(job_status=result.status)), who.says(stream, stopped)]
    check_move(version, "fail")
    error = result.error or f"the job ended as {result.status}"
    return [who.says(stream, ev.VersionFailed(error=error, job_status=result.status))]


def _finished_at(version: VersionState, result: Finished) -> datetime | None:
    """A provider's clock may be wrong: no job ends before it was asked for, or after it was seen to have ended."""
    if result.finished_at is None or result.seen_at is None:
        return None
    earliest = version.submitted_at or result.finished_at
    return min(max(result.finished_at, earliest), result.seen_at)


def failed(version: VersionState, error: str, who: Who) -> list[NewEvent]:
    if version.state == "failed":
        return []
    check_move(version, "fail")
    return [who.says(version_stream(ref_of(version)), ev.VersionFailed(error=error))]


def cancel(version: VersionState, who: Who) -> list[NewEvent]:
    if version.state == "cancelled":
        return []
    check_move(version, "cancel")
    return [who.says(version_stream(ref_of(version)), ev.VersionCancelled())]


def retry(version: VersionState, who: Who) -> list[NewEvent]:
    if version.state == "queued":
        return []
    check_move(version, "retry")
    if version.method in {"own", "imported"}:
        raise refused(version, f"{ref_of(version)} was not trained by a provider: there is no job to try again")
    if not version.job_final:
        raise refused(version, f"{ref_of(version)}: its job has not been seen to stop yet; try again in a moment")
    return [who.says(version_stream(ref_of(version)), ev.VersionRetried(attempt=version.attempt + 1))]


# Serving


def activate(
    model: ModelState, version: VersionState, policy: Policy, others: Iterable[VersionState], who: Who
) -> list[NewEvent]:
    """The intent to make a version the active one; `others` are the model's versions that are `deploying`.

    A later activation wins: one that is still under way is abandoned in the same append. The active version, when its
    lost deployment is being made again, stays until a successor serves.
    """
    if version.state == "deploying" and not version.reactivating:
        return []
    already = version.state in {"active", "deploying"}
    if not already:
        check_move(version, "activate")
        _check_approvals(version, policy, who)
    ref = ref_of(version)
    events: list[NewEvent] = []
    for other in others:
        if other.version != version.version and other.state == "deploying" and not other.reactivating:
            events += abandon(model, other, f"superseded by the activation of {ref}", who)
    if already:
        return events
    return [
        *events,
        who.says(version_stream(ref), ev.ActivationRequested(model=version.model, version=version.version)),
    ]


def _check_approvals(version: VersionState, policy: Policy, who: Who) -> None:
    given = approvals(version, who)
    if len(given) < policy.approvals:
        raise refused(
            version,
            f"{ref_of(version)} needs {policy.approvals_needed} and has {len(given)}"
            f" (yours does not count when you ask for it)",
            hint=f"another person runs: tenure approve {ref_of(version)}",
        )


def approvals(version: VersionState, asking: Who) -> tuple[str, ...]:
    """Those who approved, without the one who asks; behind a policy that is whoever asked for the version."""
    asker = version.created_by if asking.actor.startswith("policy:") else asking.actor
    return tuple(actor for actor in version.approvals if actor != asker)


def approve(version: VersionState, policy: Policy, who: Who) -> list[NewEvent]:
    """Refused to the one who has asked for the activation already, with the fine-tune or through the policy."""
    if version.state == "deleted" or version.deletion_requested:
        raise refused(version, f"{ref_of(version)} is deleted: there is nothing to approve")
    if who.actor in version.approvals:
        return []
    if who.actor == version.created_by and (version.activate_when_trained or policy.activate != "manual"):
        raise refused(
            version,
            f"{ref_of(version)} is to be activated because {who.actor} asked for it: who asks cannot approve",
            hint=f"another person runs: tenure approve {ref_of(version)}",
        )
    payload = ev.VersionApproved(model=version.model, version=version.version)
    return [who.says(version_stream(ref_of(version)), payload)]


def serve(
    model: ModelState,
    version: VersionState,
    previous: VersionState | None,
    deployment: DeploymentState | None,
    who: Who,
) -> list[NewEvent]:
    """The switch: what served before retires, this version is active, the pointer moves; one append.

    `previous` is the version that the pointer names now; None when it names none, or this one. One that is `deploying`
    lost its deployment meanwhile: it is not deployed again.
    """
    if version.state == "active":
        return []
    check_move(version, "serve")
    events: list[NewEvent] = []
    if previous is not None and previous.state == "active":
        retired = ev.VersionRetired(model=model.name, version=previous.version, replaced_by=version.version)
        events.append(who.says(version_stream(ref_of(previous)), retired))
    elif previous is not None and previous.state == "deploying":
        gone = f"its deployment was lost, and {ref_of(version)} serves now"
        dropped = ev.ActivationAbandoned(model=model.name, version=previous.version, error=gone)
        events.append(who.says(version_stream(ref_of(previous)), dropped))
    replaced = model.active if model.active != version.version else None
    activated = ev.VersionActivated(
        model=model.name,
        version=version.version,
        deployment=deployment.id if deployment else None,
        replaced=replaced,
    )
    events.append(who.says(version_stream(ref_of(version)), activated))
    if model.active != version.version:
        moved = ev.ActiveVersionChanged(model=model.name, version=version.version, previous=model.active)
        events.append(who.says(model_stream(model.name), moved))
    return events


def abandon(model: ModelState, version: VersionState, error: str, who: Who) -> list[NewEvent]:
    """Its deployment failed. The version that was active stays; one that was being redeployed is active no longer."""
    check_move(version, "abandon")
    payload = ev.ActivationAbandoned(model=version.model, version=version.version, error=error)
    events = [who.says(version_stream(ref_of(version)), payload)]
    if model.active == version.version:
        moved = ev.ActiveVersionChanged(model=model.name, version=None, previous=version.version)
        events.append(who.says(model_stream(model.name), moved))
    return events


def retire(model: ModelState, version: VersionState, who: Who) -> list[NewEvent]:
    if version.state == "retired":
        return []
    check_move(version, "retire")
    retired = ev.VersionRetired(model=version.model, version=version.version, replaced_by=None)
    moved = ev.ActiveVersionChanged(model=model.name, version=None, previous=version.version)
    return [who.says(version_stream(ref_of(version)), retired), who.says(model_stream(model.name), moved)]


def lose(version: VersionState, deployment: DeploymentState, who: Who) -> list[NewEvent]:
    """The deployment of the active version is gone: it is deployed again."""
    if version.state != "active":
        return []
    check_move(version, "lose")
    payload = ev.ServingLost(model=version.model, version=version.version, deployment=deployment.id)
    return [who.says(version_stream(ref_of(version)), payload)]


# The end


def delete(version: VersionState, who: Who) -> list[NewEvent]:
    """The intent: deployments go first, then the artifact, then it is recorded as deleted."""
    if version.state == "deleted" or version.deletion_requested:
        return []
    check_move(version, "delete")
    payload = ev.DeletionRequested(model=version.model, version=version.version)
    return [who.says(version_stream(ref_of(version)), payload)]


def deleted(version: VersionState, who: Who) -> list[NewEvent]:
    if version.state == "deleted":
        return []
    check_move(version, "delete")
    payload = ev.VersionDeleted(model=version.model, version=version.version)
    return [who.says(version_stream(ref_of(version)), payload)]
