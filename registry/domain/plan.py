"""What should be done next: a pure function from what is known to steps. Nothing is called, nothing is decided twice.

The reconciler performs the steps provider call by provider call, what happened becomes events, and it plans again; so a
step that is lost with the process is planned once more by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from registry.domain.deploying import GONE, usable
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, ModelState, VersionState


class Action(StrEnum):
    SUBMIT = "submit job"
    FIND_JOB = "look up job"
    POLL_JOB = "poll job"
    STOP_JOB = "stop job"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do about one subject, on one connection. `actor` is on whose word: a policy, or the scheduler."""

    action: Action
    connection: str
    version: VersionState | None = None
    deployment: DeploymentState | None = None
    why: str
    actor: str = "scheduler"
    due_at: datetime | None = None
    """Not before; None: now."""

    @property
    def subject(self) -> str:
        if self.deployment is not None:
            return self.deployment.id
        assert self.version is not None
        return f"{self.version.model}@{self.version.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is not at rest, and what it refers to. `serves_alone`: connections that need no deployment."""

    versions: tuple[VersionState, ...]
    deployments: tuple[DeploymentState, ...]
    models: Mapping[str, ModelState] = field(default_factory=dict[str, ModelState])
    policies: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    serves_alone: frozenset[str] = frozenset()


def plan(world: World, now: datetime) -> list[Step]:
    """Steps in the order in which they are best done: what is being paid for and unwanted goes first."""
    by_version: dict[tuple[str, int], list[DeploymentState]] = {}
    for deployment in world.deployments:
        by_version.setdefault((deployment.model, deployment.version), []).append(deployment)
    versions = {(one.model, one.version): one for one in world.versions}
    steps: list[Step] = []
    for deployment in world.deployments:
        steps += _deployment_steps(world, deployment, versions.get((deployment.model, deployment.version)), now)
    for version in world.versions:
        steps += _version_steps(world, version, by_version.get((version.model, version.version), []))
    return steps


def _deployment_steps(
    world: World, deployment: DeploymentState, version: VersionState | None, now: datetime
) -> Iterable[Step]:
    def step(action: Action, why: str) -> Step:
        return Step(action=action, connection=deployment.connection, version=version, deployment=deployment, why=why)

    match deployment.state:
        case "deleting":
            if deployment.deletion_accepted:
                yield step(Action.VERIFY_DELETED, "deleted is what reads no longer show")
            else:
                yield step(Action.DELETE, deployment.reason or "asked to go")
        case "failed":
            yield step(Action.REQUEST_DELETION, "a failed deployment can be billed")
        case "requested" | "provisioning" if _unwanted(deployment, version):
            yield step(Action.REQUEST_DELETION, "the activation that it was made for has come to nothing")
        case "requested" if deployment.outcome_unknown:
            yield step(Action.FIND_DEPLOYMENT, "the create may have happened")
        case "requested":
            yield step(Action.CREATE, "its intent is recorded")
        case "provisioning":
            yield step(Action.POLL_DEPLOYMENT, "it is coming up")
        case "serving":
            yield step(Action.WATCH, "it is billed as long as it is there")
            yield from _superseded(world, deployment, version, now)
        case _:
            pass


def _superseded(
    world: World, deployment: DeploymentState, version: VersionState | None, now: datetime
) -> Iterable[Step]:
    """The deployment of a version that is no longer active, by policy; one that was asked for by hand stays."""
    since = unused_since(deployment, version)
    if since is None:
        return
    policy = world.policies.get(deployment.model) or Policy.of({})
    if policy.superseded == "keep":
        return
    yield Step(
        action=Action.REQUEST_DELETION,
        connection=deployment.connection,
        version=version,
        deployment=deployment,
        why=f"superseded = delete, after {_plain(policy.superseded_grace.total_seconds())} of grace",
        actor="policy:delete-superseded",
        due_at=max(now, since + policy.superseded_grace),
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
        yield step(Action.ABANDON, last.error or f"its deployment {last.id} was deleted", deployment=last)
        return
    yield step(Action.REQUEST_DEPLOYMENT, version.activation_reason or "activation asked for")


def _ended_during(deployment: DeploymentState, version: VersionState) -> bool:
    """Whether this deployment was made for the activation that is under way, and has come to nothing."""
    mine = deployment.activation_id is not None and deployment.activation_id == version.cause_id
    return mine and deployment.state in {"failed", "deleting", "deleted"}


def _plain(seconds: float) -> str:
    return f"{seconds:g} s"
