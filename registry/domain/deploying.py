"""Decisions about deployments. Pure; asking again for what is already so gives no events."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime

from registry.domain import events as ev
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import DeploymentId, deployment_stream, resource_name
from registry.domain.states import DeploymentState, VersionState
from registry.domain.versions import Who, lose, ref_of, refused
from statemachine import DEPLOYMENT, IllegalMoveError, legal_moves, move

GONE = frozenset({"deleted", "lost"})
"""States in which the registry believes that nothing is billed."""
USABLE = frozenset({"requested", "provisioning", "serving"})
DEPLOYABLE = frozenset({"trained", "deploying", "active", "retired"})


def deployment_id(name: str) -> DeploymentId:
    """Made of the deterministic name, so that two commands that race make one deployment."""
    return DeploymentId("dep_" + hashlib.sha256(name.encode()).hexdigest()[:16])


def usable(deployments: Iterable[DeploymentState]) -> DeploymentState | None:
    """The deployment of a version that serves its model, or will; one that serves is preferred, then the oldest."""
    live = [one for one in deployments if one.state in USABLE and one.other_artifact is None]
    return min(live, key=lambda one: one.state != "serving", default=None)


def serves_its_own(deployment: DeploymentState) -> bool:
    """Whether it serves, and its version's model."""
    return deployment.state == "serving" and deployment.other_artifact is None


def answering(deployments: Iterable[DeploymentState]) -> list[DeploymentState]:
    """Those of a version that serve. One that somebody made serve another model answers where there is no other."""
    serving = [one for one in deployments if one.state == "serving"]
    return [one for one in serving if serves_its_own(one)] or serving


def request(
    version: VersionState,
    deployments: Iterable[DeploymentState],
    *,
    registry: str,
    price: ev.Price,
    purpose: str,
    who: Who,
    taken: Collection[str] = (),
) -> list[NewEvent]:
    """The intent to deploy a version, with the highest price that it may cost. `deployments`: all it ever had.

    `taken`: the names of orphans. What was deployed before a home was put back to an earlier state may be one of them.
    """
    existing = list(deployments)
    if usable(existing) is not None:
        return []
    if version.state not in DEPLOYABLE or version.artifact_id is None or version.deletion_requested:
        raise refused(
            version,
            f"{ref_of(version)} is {version.state}: there is nothing to deploy",
            hint="a version can be deployed once it is trained",
        )
    assert version.changed_at is not None
    first = max((one.attempt for one in existing), default=0) + 1
    names = (
        (attempt, resource_name(registry, ref_of(version), attempt, version.changed_at))
        for attempt in range(first, first + len(taken) + 1)
    )
    attempt, name = next(one for one in names if one[1] not in taken)
    deployment = deployment_id(name)
    payload = ev.DeploymentRequested(
        deployment=deployment,
        model=version.model,
        version=version.version,
        connection=version.connection,
        provider=version.provider,
        name=name,
        token=name,
        attempt=attempt,
        artifact=ev.ArtifactRef(id=version.artifact_id, digest=version.artifact_digest),
        price=price,
        purpose=purpose,
    )
    return [who.says(deployment_stream(deployment), payload)]


def key_of(name_or_id: str) -> str:
    """Azure shows names and resource ids now in one case and now in another, and means the same."""
    return name_or_id.lower()


def attach(
    version: VersionState,
    deployments: Iterable[DeploymentState],
    *,
    name: str,
    provider_id: str,
    endpoint: str | None,
    price: ev.Price,
    billed_from: datetime,
    who: Who,
    committed_until: datetime | None = None,
) -> list[NewEvent]:
    """Take over a deployment that exists, after the provider showed that it serves this version's artifact.

    `deployments`: all that the version ever had. One that was lost and is there after all is attached as a new one.
    """
    existing = list(deployments)
    shown = key_of(provider_id)
    if any(key_of(one.provider_id or "") == shown and one.state not in GONE for one in existing):
        return []
    if version.state not in DEPLOYABLE or version.artifact_id is None or version.deletion_requested:
        raise refused(version, f"{ref_of(version)} is {version.state}: nothing can be attached to it")
    deployment = deployment_id(f"attached:{version.connection}:{provider_id}:{ref_of(version)}:{len(existing)}")
    payload = ev.DeploymentAttached(
        deployment=deployment,
        model=version.model,
        version=version.version,
        connection=version.connection,
        provider=version.provider,
        name=name,
        provider_id=provider_id,
        artifact=ev.ArtifactRef(id=version.artifact_id, digest=version.artifact_digest),
        price=price,
        billed_from=billed_from,
        endpoint=endpoint,
        committed_until=committed_until,
    )
    return [who.says(deployment_stream(deployment), payload)]


def accepted(
    deployment: DeploymentState,
    *,
    provider_id: str,
    billed_from: datetime,
    who: Who,
    committed_until: datetime | None = None,
) -> list[NewEvent]:
    known = deployment.provider_id == provider_id and deployment.billed_from is not None
    if known and committed_until in {None, deployment.committed_until}:
        return []
    if deployment.state == "requested":
        _check(deployment, "accept")
    payload = ev.DeploymentAccepted(provider_id=provider_id, billed_from=billed_from, committed_until=committed_until)
    return [_says(deployment, payload, who)]


def outcome_unknown(deployment: DeploymentState, *, called_at: datetime, error: str, who: Who) -> list[NewEvent]:
    if deployment.outcome_unknown:
        return []
    return [_says(deployment, ev.DeploymentOutcomeUnknown(called_at=called_at, error=error), who)]


def serving(
    deployment: DeploymentState, *, endpoint: str | None, who: Who, shown_artifact: str | None = None
) -> list[NewEvent]:
    """`shown_artifact`: what its provider shows it to serve, which is what was asked for under whatever name."""
    if deployment.state == "serving":
        return []
    _check(deployment, "serve")
    payload = ev.DeploymentServing(endpoint=endpoint, shown_artifact=other_artifact(deployment, shown_artifact))
    return [_says(deployment, payload, who)]


def same(one: str | None, other: str | None) -> bool:
    """Whether two ids are known and mean one thing."""
    return one is not None and other is not None and key_of(one) == key_of(other)


def other_artifact(deployment: DeploymentState, shown: str | None) -> str | None:
    """What a read shows it to serve instead of its version's artifact; None where that is it, or nobody can say."""
    known = (deployment.artifact_id, deployment.shown_artifact)
    return shown if deployment.artifact_id and not any(same(shown, one) for one in known) else None


def shown_with(deployment: DeploymentState, artifact_id: str | None, who: Who) -> list[NewEvent]:
    """What a read shows it to serve, where that has changed. `artifact_id` None: the read does not tell."""
    other = other_artifact(deployment, artifact_id)
    if artifact_id is None or other == deployment.other_artifact:
        return []
    return [_says(deployment, ev.DeploymentRepointed(other_artifact=other), who)]


def failed(deployment: DeploymentState, *, error: str, exists: bool, who: Who) -> list[NewEvent]:
    """`exists`: the provider may still have it; then it is deleted and verified like any other."""
    if deployment.state == "failed":
        return []
    _check(deployment, "fail")
    return [_says(deployment, ev.DeploymentFailed(error=error, exists=exists), who)]


def lost(
    deployment: DeploymentState,
    version: VersionState | None,
    *,
    last_seen_at: datetime | None,
    exists: bool = False,
    who: Who,
) -> list[NewEvent]:
    """Serves no more, outside our hands. Of the active version: the same append sends it back to `deploying`.

    `exists`: the provider still shows it, failed or on its way out; it may be billed, so it is deleted and verified.
    """
    if deployment.state == "lost":
        return []
    _check(deployment, "lose")
    events = [_says(deployment, ev.DeploymentLost(last_seen_at=last_seen_at), who)]
    if exists:
        events.append(_says(deployment, ev.DeploymentDeletionRequested(deployment=deployment.id), who))
    return events + (lose(version, deployment, who) if version else [])


def undeploy(
    deployment: DeploymentState, version: VersionState | None, others: Iterable[DeploymentState], who: Who
) -> list[NewEvent]:
    """The intent to delete. The last deployment that serves an active version is not deleted by hand: it is in use."""
    if deployment.state in {"deleting", "deleted"}:
        return []
    _check(deployment, "delete")
    left = [one for one in others if one.id != deployment.id and serves_its_own(one)]
    if version is not None and version.state == "active" and deployment.state == "serving" and not left:
        raise RefusedError(
            f"{deployment.id} serves {ref_of(version)}, which is active",
            state=deployment.state,
            legal=legal_moves(DEPLOYMENT, deployment.state),
            hint=f"activate another version, or run: tenure retire {ref_of(version)}"
            if deployment.other_artifact is None
            else f"run first: tenure deploy {ref_of(version)}",
        )
    return [_says(deployment, ev.DeploymentDeletionRequested(deployment=deployment.id), who)]


def deletion_accepted(deployment: DeploymentState, who: Who) -> list[NewEvent]:
    if deployment.deletion_accepted or deployment.state != "deleting":
        return []
    return [_says(deployment, ev.DeploymentDeletionAccepted(), who)]


def deleted(
    deployment: DeploymentState,
    *,
    billed_to: datetime | None,
    reads: int,
    who: Who,
    last_seen_at: datetime | None = None,
) -> list[NewEvent]:
    if deployment.state == "deleted":
        return []
    _check(deployment, "confirm")
    payload = ev.DeploymentDeleted(billed_to=billed_to, reads=reads, last_seen_at=last_seen_at)
    return [_says(deployment, payload, who)]


def _says(deployment: DeploymentState, payload: ev.DeploymentEvent, who: Who) -> NewEvent:
    return who.says(deployment_stream(deployment.id), payload)


def _check(deployment: DeploymentState, trigger: str) -> None:
    try:
        move(DEPLOYMENT, deployment.state, trigger)
    except IllegalMoveError as refusal:
        raise RefusedError(str(refusal), state=deployment.state, legal=refusal.legal) from refusal
