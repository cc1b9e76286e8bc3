"""What should be done next: a pure function from what is known to steps. Nothing is called, nothing is decided twice.

The reconciler performs the steps provider call by provider call, what happened becomes events, and it plans again; so a
step that is lost with the process is planned once more by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from registry.domain.deploying import GONE, usable
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, OrphanJob, VersionState


class Action(StrEnum):
    SUBMIT = "submit job"
    FIND_JOB = "look up job"
    POLL_JOB = "poll job"
    STOP_JOB = "stop job"
    CHECK_OWNER = "look for the trainer"
    REQUEST_DEPLOYMENT = "request deployment"
    CREATE = "create deployment"
    FIND_DEPLOYMENT = "look up deployment"
    POLL_DEPLOYMENT = "poll deployment"
    WATCH = "watch deployment"
    SWITCH = "switch active version"
    ABANDON = "abandon activation"
    REQUEST_DELETION = "request deletion of deployment"
    DELETE = "delete deployment"
    VERIFY_DELETED = "verify deletion of deployment"
    DELETE_ARTIFACT = "delete artifact"
    SWEEP = "compare with provider"
    READ_RETIREMENTS = "read retirement dates"
    ADOPT = "adopt orphan"
    STOP_ORPHAN_JOB = "stop orphan job"
    REQUEST_VERSION_DELETION = "request deletion of version"
    CHECK_BUDGET = "check monthly budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do about one subject, on one connection. `actor` is on whose word: a policy, or the scheduler."""

    action: Action
    connection: str
    version: VersionState | None = None
    deployment: DeploymentState | None = None
    model: str | None = None
    """Of a step that is about a model as a whole, or about something that seems to belong to it."""
    job: OrphanJob | None = None
    why: str
    actor: str = "scheduler"
    since: datetime | None = None
    """What `due_at` counts from, where the step is about something that has lasted."""
    due_at: datetime | None = None
    """Not before; None: now."""

    @property
    def subject(self) -> str:
        if self.deployment is not None:
            return self.deployment.id
        if self.job is not None:
            return self.job.job_id
        if self.version is not None:
            return f"{self.version.model}@{self.version.version}"
        return self.model or self.connection


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is not at rest, and what it refers to. `serves_alone`: connections that need no deployment.

    `policies`: of each model; `default` is the registry's own, for what belongs to no model. `surplus`: of each model
    whose policy limits artifacts, the retired versions beyond those that it keeps, the oldest first; see
    `EventLog.surplus`. `last_used`: by deployment, as far as anyone knows.
    """

    versions: tuple[VersionState, ...]
    deployments: tuple[DeploymentState, ...]
    policies: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    default: Policy = field(default_factory=lambda: Policy.of({}))
    serves_alone: frozenset[str] = frozenset()
    surplus: Mapping[str, tuple[VersionState, ...]] = field(default_factory=dict[str, tuple[VersionState, ...]])
    last_used: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    orphan_grace: timedelta = timedelta(minutes=10)

    def policy(self, model: str) -> Policy:
        return self.policies.get(model, self.default)


def plan(world: World) -> list[Step]:
    """Steps in the order in which they are best done: what is being paid for and unwanted goes first.

    Depends on nothing but the world: what time it is decides only which of the steps are due. The steps of a model
    depend on that model alone, so that a large registry can be planned model by model.
    """
    by_version: dict[tuple[str, int], list[DeploymentState]] = {}
    for deployment in world.deployments:
        by_version.setdefault((deployment.model, deployment.version), []).append(deployment)
    versions = {(one.model, one.version): one for one in world.versions}
    steps: list[Step] = []
    for deployment in world.deployments:
        steps += _deployment_steps(world, deployment, versions.get((deployment.model, deployment.version)))
    for version in world.versions:
        steps += _version_steps(world, version, by_version.get((version.model, version.version), []))
    for model, surplus in world.surplus.items():
        steps += _artifact_steps(world.policy(model), surplus, by_version)
    steps += _budget_steps(world)
    return steps


def _deployment_steps(world: World, deployment: DeploymentState, version: VersionState | None) -> Iterable[Step]:
    def step(action: Action, why: str) -> Step:
        return Step(action=action, connection=deployment.connection, version=version, deployment=deployment, why=why)

    match deployment.state:
        case "deleting" if deployment.deletion_accepted:
            yield step(Action.VERIFY_DELETED, "deleted is what reads no longer show")
        case "deleting":
            yield step(Action.DELETE, "asked to go")
        case "failed":
            yield step(Action.REQUEST_DELETION, "a failed deployment can be billed")
        case "requested" | "provisioning":
            yield step(*_coming_up(deployment, version))
        case "serving":
            if not deployment.orphan:
                yield step(Action.WATCH, "it is billed as long as it is there")
            yield from _clean_up(world, deployment, version)
        case _:
            pass


def _coming_up(deployment: DeploymentState, version: VersionState | None) -> tuple[Action, str]:
    if _unwanted(deployment, version):
        return Action.REQUEST_DELETION, "the activation that it was made for has come to nothing"
    if deployment.state == "provisioning":
        return Action.POLL_DEPLOYMENT, "it is coming up"
    if deployment.outcome_unknown:
        return Action.FIND_DEPLOYMENT, "the create may have happened"
    return Action.CREATE, "its intent is recorded"


def _clean_up(world: World, deployment: DeploymentState, version: VersionState | None) -> Iterable[Step]:
    """What the policy does about something that serves."""
    if deployment.orphan:
        yield from _orphan(world, deployment)
    else:
        yield from _superseded(world, deployment, version)
        yield from _idle(world, deployment, version)


def _orphan(world: World, orphan: DeploymentState) -> Iterable[Step]:
    """What bears our tag and nobody asked for, by the policy of the model that it seems to belong to."""
    model, _, number = (orphan.suspected or "").rpartition("@")
    policy = world.policy(model)
    assert orphan.requested_at is not None
    made_at = orphan.billed_from or orphan.requested_at

    def step(action: Action, why: str, actor: str, grace: timedelta) -> Step:
        return Step(
            action=action,
            connection=orphan.connection,
            deployment=orphan,
            why=why,
            actor=actor,
            due_at=made_at + grace,
        )

    if orphan.duplicate_of is not None:
        why = f"a second one under the name of {orphan.duplicate_of}"
        yield step(Action.REQUEST_DELETION, why, "policy:delete-duplicates", timedelta())
    elif policy.orphans == "delete":
        why = f"orphans = delete, {plain(world.orphan_grace)} after it was made: no intent of this registry names it"
        yield step(Action.REQUEST_DELETION, why, "policy:delete-orphans", world.orphan_grace)
    elif policy.orphans == "adopt" and number:
        grace = plain(world.orphan_grace)
        why = f"orphans = adopt, {grace} after it was made: it serves the artifact of {orphan.suspected}"
        yield step(Action.ADOPT, why, "policy:adopt-orphans", world.orphan_grace)


def _superseded(world: World, deployment: DeploymentState, version: VersionState | None) -> Iterable[Step]:
    """The deployment of a version that is no longer active, by policy; one that was asked for by hand stays."""
    since = unused_since(deployment, version)
    if since is None:
        return
    policy = world.policy(deployment.model)
    if policy.superseded == "keep":
        return
    yield Step(
        action=Action.REQUEST_DELETION,
        connection=deployment.connection,
        version=version,
        deployment=deployment,
        why=f"superseded = delete, after {plain(policy.superseded_grace)} of grace",
        actor="policy:delete-superseded",
        due_at=since + policy.superseded_grace,
    )


def _idle(world: World, deployment: DeploymentState, version: VersionState | None) -> Iterable[Step]:
    """A standby that nobody called, by policy."""
    limit = world.policy(deployment.model).idle_delete
    if limit is None:
        return
    since = idle_since(deployment, version, world.last_used.get(deployment.id))
    if since is None:
        return
    yield Step(
        action=Action.REQUEST_DELETION,
        connection=deployment.connection,
        version=version,
        deployment=deployment,
        why=f"idle_delete = {plain(limit)}: nobody has called it since {since.isoformat(timespec='seconds')}",
        actor="policy:delete-idle",
        since=since,
        due_at=since + limit,
    )


def idle_since(
    deployment: DeploymentState, version: VersionState | None, last_used: datetime | None
) -> datetime | None:
    """Since when nobody has called a standby; None where it is no standby, or where nobody knows.

    `last_used`: by this registry's own calls and by what its provider tells. One that existed before may be called by
    anyone: it is idle only when either has told, and no call came after.
    """
    if version is None or version.state in {"active", "deploying"} or deployment.serving_at is None:
        return None
    if last_used is None and deployment.attached:
        return None
    times = (deployment.serving_at, version.retired_at, last_used)
    return max(time for time in times if time is not None)


def still_wanted(
    step: Step, deployment: DeploymentState, version: VersionState | None, last_used: datetime | None
) -> bool:
    """Whether a deletion that was planned is still the right thing, by what is so when it is decided."""
    match step.actor:
        case "policy:delete-superseded":
            return unused_since(deployment, version) is not None
        case "policy:delete-idle":
            return idle_since(deployment, version, last_used) == step.since
        case "policy:delete-orphans" | "policy:delete-duplicates":
            return deployment.orphan
        case _:
            return True


def _artifact_steps(
    policy: Policy, surplus: tuple[VersionState, ...], by_version: Mapping[tuple[str, int], list[DeploymentState]]
) -> Iterable[Step]:
    """Artifacts of retired versions beyond those that are kept; what a deployment still serves is in use."""
    for version in surplus:
        deployed = any(one.state not in GONE for one in by_version.get((version.model, version.version), ()))
        if not deployed:
            yield Step(
                action=Action.REQUEST_VERSION_DELETION,
                connection=version.connection,
                version=version,
                why=f"keep_artifacts = {policy.keep_artifacts}, and as many later versions are retired",
                actor="policy:keep-artifacts",
            )


def _unwanted(deployment: DeploymentState, version: VersionState | None) -> bool:
    """Whether it was made for an activation that is over. It does not serve yet, so it is no rollback target."""
    return deployment.purpose == "activation" and unused_since(deployment, version) is not None


def unused_since(deployment: DeploymentState, version: VersionState | None) -> datetime | None:
    """Since when a deployment serves a version for nothing; None while it is wanted."""
    if version is None or version.state in {"active", "deploying"} or deployment.requested_at is None:
        return None
    if version.state == "retired" and version.retired_at is not None:
        return version.retired_at if deployment.requested_at <= version.retired_at else None
    if version.state == "trained" and deployment.purpose == "activation":
        return version.changed_at
    return None


def _version_steps(world: World, version: VersionState, deployments: list[DeploymentState]) -> Iterable[Step]:
    def step(action: Action, why: str, *, deployment: DeploymentState | None = None) -> Step:
        return Step(action=action, connection=version.connection, version=version, deployment=deployment, why=why)

    if version.deletion_requested:
        yield from _deleting_steps(version, deployments, step)
        return
    match version.state:
        case "queued" if not version.submitted:
            yield step(Action.SUBMIT, "asked for")
        case "queued":
            yield step(Action.FIND_JOB, "the job may have been made")
        case "training" if not version.job_final:
            yield step(Action.POLL_JOB, "its job is under way")
        case "training":
            yield step(Action.CHECK_OWNER, "somebody trains it here, in a process of theirs")
        case "failed" | "cancelled" if not version.job_final:
            yield step(Action.STOP_JOB, f"the version is {version.state}; its job must not run on")
        case "deploying":
            yield from _deploying_steps(world, version, deployments, step)
        case _:
            pass


class _MakeStep(Protocol):
    def __call__(self, action: Action, why: str, *, deployment: DeploymentState | None = None) -> Step: ...


def _deleting_steps(version: VersionState, deployments: list[DeploymentState], step: _MakeStep) -> Iterable[Step]:
    """Its job stops and its deployments go before the artifact does."""
    live = [one for one in deployments if one.state not in GONE]
    for one in live:
        if one.state not in {"deleting", "failed"}:
            yield step(Action.REQUEST_DELETION, "its version is being deleted", deployment=one)
    if not version.job_final:
        yield step(Action.STOP_JOB, "its version is being deleted")
    elif not live:
        yield step(Action.DELETE_ARTIFACT, "asked to be deleted")


def _deploying_steps(
    world: World, version: VersionState, deployments: list[DeploymentState], step: _MakeStep
) -> Iterable[Step]:
    if version.connection in world.serves_alone:
        yield step(Action.SWITCH, "this provider serves a tuned model as it is")
        return
    deployment = usable(deployments)
    if deployment is not None and deployment.state == "serving":
        yield step(Action.SWITCH, f"{deployment.id} serves", deployment=deployment)
    if deployment is not None:
        return
    ended = [one for one in deployments if _ended_during(one, version)]
    if ended:
        last = ended[-1]
        other = last.other_artifact and f"its deployment {last.id} was made to serve {last.other_artifact}"
        yield step(Action.ABANDON, last.error or other or f"its deployment {last.id} was deleted", deployment=last)
        return
    yield step(Action.REQUEST_DEPLOYMENT, version.activation_reason or "activation asked for")


def _ended_during(deployment: DeploymentState, version: VersionState) -> bool:
    """Whether this deployment was made for the activation that is under way, and has come to nothing."""
    mine = deployment.activation_id is not None and deployment.activation_id == version.cause_id
    return mine and (deployment.state in {"failed", "deleting", "deleted"} or deployment.other_artifact is not None)


def _budget_steps(world: World) -> Iterable[Step]:
    for model in dict.fromkeys(one.model for one in world.deployments):
        limit = world.policy(model).max_monthly_cost
        if model and limit is not None:
            yield Step(
                action=Action.CHECK_BUDGET,
                connection="",
                model=model,
                why=f"max_monthly_cost = {limit}",
                actor="policy:max-monthly-cost",
            )


def plain(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
