"""What must hold after every step, against the providers' own truth. A rule that is broken raises `Broken`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from registry.application.ports import DeploymentQuery, EventLog, VersionQuery
from registry.domain import ledger
from registry.domain.apply import apply
from registry.domain.deploying import GONE
from registry.domain.events import Event, OrphanJobFound, VersionActivated
from registry.domain.ids import connection_stream, deployment_stream
from registry.domain.states import DeploymentState, State, VersionState
from registry.store.projection import empty_state
from statemachine import DEPLOYMENT, VERSION, Lifecycle
from tests.cloud import Bill
from tests.simulation.sky import StormyCloud


class Broken(AssertionError):  # noqa: N818 -- says what is broken
    """An invariant does not hold."""


@dataclass(slots=True)
class Rules:
    """Reads the log's new events once each, and folds them by itself: nothing is taken from a read model."""

    position: int = 0
    states: dict[str, State] = field(default_factory=dict[str, State])
    active: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    final: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    seen: dict[int, str] = field(default_factory=dict[int, str])

    def take(self, log: EventLog, clouds: Iterable[StormyCloud]) -> None:
        """Positions follow one another, moves are legal, one version is active, what is final stays so."""
        clouds = list(clouds)
        for event in log.read(after=self.position):
            if event.position != self.position + 1:
                raise Broken(f"position {event.position} follows {self.position}")
            self.position = event.position
            self.seen[event.position] = event.hash
            self._fold(event)
            if event.type == "deployment-deleted":
                self._deleted(cast("DeploymentState", self.states[event.stream]), clouds)
            if event.stream.startswith("version:"):
                _really_ended(cast("VersionState", self.states[event.stream]), clouds)

    def _fold(self, event: Event) -> None:
        state = self.states.get(event.stream)
        if state is None:
            state = empty_state(event.stream)
            assert state is not None
            self.states[event.stream] = state
        if event.stream_version != state.stream_version + 1:
            raise Broken(f"{event.stream} goes on with {event.stream_version} after {state.stream_version}")
        before = getattr(state, "state", "")
        apply(state, event)
        if isinstance(state, VersionState):
            self._moved(event, before, state.state, VERSION)
            self._version(event, state)
            if isinstance(event.payload, VersionActivated) and event.payload.deployment is not None:
                self._serves_its_own(event, event.payload.deployment)
        elif isinstance(state, DeploymentState):
            self._moved(event, before, state.state, DEPLOYMENT)

    def _moved(self, event: Event, before: str, after: str, lifecycle: Lifecycle) -> None:
        if before == after:
            return
        if not before and after not in lifecycle.entries:
            raise Broken(f"{event.stream} enters at {after}")
        if before and not any(before in move.sources and after == move.target for move in lifecycle.moves):
            raise Broken(f"{event.position} {event.type} moves {event.stream} from {before} to {after}")

    def _serves_its_own(self, event: Event, deployment: str) -> None:
        state = cast("DeploymentState", self.states[deployment_stream(deployment)])
        if state.other_artifact is not None:
            raise Broken(f"{event.stream} became active on {deployment}, which serves {state.other_artifact}")

    def _version(self, event: Event, state: VersionState) -> None:
        active = self.active.setdefault(state.model, set())
        if state.state == "active":
            active.add(state.version)
        else:
            active.discard(state.version)
        if len(active) > 1:
            raise Broken(f"at {event.position} {len(active)} versions of {state.model} are active: {sorted(active)}")
        key = (event.stream, state.attempt)
        if key in self.final and state.job_final and state.job_status != self.final[key]:
            raise Broken(f"{event.stream}: a job that was {self.final[key]} became {state.job_status}")
        if key in self.final and not state.job_final:
            raise Broken(f"{event.stream}: a job that was {self.final[key]} goes on")
        if state.job_final and state.job_status is not None:
            self.final[key] = state.job_status

    def _deleted(self, gone: DeploymentState, clouds: Iterable[StormyCloud]) -> None:
        for cloud in clouds:
            if cloud.name == gone.connection and any(one.to is None for one in bills_of(cloud, gone)):
                raise Broken(f"{gone.id} is deleted in the log, and {gone.name} is still billed")

    def acknowledged(self, told: dict[int, str]) -> None:
        for position, hash_ in told.items():
            if self.seen.get(position) != hash_:
                raise Broken(f"event {position} was acknowledged and is not there")


def _really_ended(version: VersionState, clouds: Iterable[StormyCloud]) -> None:
    """A provider's answers may be late, never early: a job that is final in the log is so in truth."""
    for cloud in clouds:
        job = cloud.jobs.get(version.job_id or "")
        if version.job_final and cloud.name == version.connection and job is not None and job.outcome == "running":
            raise Broken(f"{job.id} of {version.model}@{version.version} is {version.job_status}, and still runs")


def bills_of(cloud: StormyCloud, one: DeploymentState) -> list[Bill]:
    """By the provider's id where the log has it: there may be two of one name."""
    return [bill for bill in cloud.bills if (one.provider_id or bill.id) == bill.id and bill.name == one.name]


def billed_is_shown(log: EventLog, clouds: Iterable[StormyCloud], now: datetime, *, wrong_s: float = 0.0) -> None:
    """Every second that a provider bills for what has an intent lies in an interval of the ledger.

    `wrong_s`: by how much the ends of an interval are wrong, together, because the registry's clock was.
    """
    for cloud in clouds:
        known = log.deployments(DeploymentQuery(connection=cloud.name))
        names = {one.name for one in known}
        for bill in cloud.bills:
            if bill.name not in names:
                continue
            end = bill.to or now
            owners = [one for one in known if one.name == bill.name and (one.provider_id or bill.id) == bill.id]
            if not owners:
                raise Broken(f"{cloud.name} bills {bill.id}, a second {bill.name}, and the log does not know it")
            if all(ledger.billed_since(one) is None for one in owners):
                raise Broken(f"{cloud.name} bills {bill.name}, and the ledger says that it never was")
            spans = [span for one in owners for span in ledger.intervals(one, from_=bill.from_, to=end)]
            shown = sum((span.to - span.from_).total_seconds() for span in spans)
            missing = (end - bill.from_).total_seconds() - shown
            if missing > wrong_s + 1e-3:
                raise Broken(f"{cloud.name} bills {bill.name} for {missing:.3f} s that the ledger does not show")


def at_rest(log: EventLog, clouds: Iterable[StormyCloud], models: Iterable[str]) -> None:
    """After the storm and a sweep: what is ours at the providers is what the log says lives, once each."""
    clouds = list(clouds)
    for version in log.versions(VersionQuery()).items:
        if version.state in {"queued", "training", "deploying"} or (
            version.deletion_requested and version.state != "deleted"
        ):
            raise Broken(f"{version.model}@{version.version} is still {version.state}")
    for cloud in clouds:
        known = log.deployments(DeploymentQuery(connection=cloud.name))
        said = sorted(one.provider_id or one.name for one in known if one.state not in GONE)
        attached = {one.provider_id for one in known if one.attached}
        ours = [one for one in cloud.deployments.values() if one.ours or one.id in attached]
        there = sorted(one.id for one in ours)
        if said != there:
            raise Broken(f"{cloud.name} has {there}, and the log says {said}")
        twice = [one.name for one in ours if sum(one.name == other.name for other in ours) > 1]
        if twice:
            raise Broken(f"{cloud.name} still has two of {twice[0]}")
        for one in known:
            if one.state in {"deleting", "requested", "provisioning"}:
                raise Broken(f"{one.id} is still {one.state}")
            _shown_model_is_told(one, cloud)
        _jobs_once(log, cloud)
        running = [job.id for job in cloud.jobs.values() if job.outcome == "running"]
        if running:
            raise Broken(f"{cloud.name} still runs {running}, and nobody looks at them")
    for model in models:
        _active_serves(log, model, clouds)


def _shown_model_is_told(one: DeploymentState, cloud: StormyCloud) -> None:
    """Whatever somebody made a deployment serve is in the log, and that it serves its own again."""
    there = cloud.deployments.get(one.provider_id or "")
    if one.state != "serving" or one.orphan or there is None or there.shown_artifact == one.shown_artifact:
        return
    if one.other_artifact != there.shown_artifact:
        shown = there.shown_artifact or "its own model"
        raise Broken(f"{cloud.name} shows {shown} on {one.id}, and the log says {one.other_artifact or 'its own'}")


def _jobs_once(log: EventLog, cloud: StormyCloud) -> None:
    """One job per attempt; what was made beside it is in the log, and was stopped.

    One that a provider made beside another of one request, and that ended by itself before any list showed it, is
    nobody's to know.
    """
    tokens: dict[str, list[str]] = {}
    for job in cloud.jobs.values():
        tokens.setdefault(job.token, []).append(job.id)
    versions = {one.job_token: one for one in log.versions(VersionQuery()).items}
    history = log.read(stream=connection_stream(cloud.name))
    strays = {event.payload.job.id for event in history if isinstance(event.payload, OrphanJobFound)}
    for token, ids in tokens.items():
        version = versions.get(token)
        if version is None:
            continue
        for id_ in ids:
            running = cloud.jobs[id_].outcome == "running"
            if id_ != version.job_id and running:
                raise Broken(f"{cloud.name} still runs {id_}, a second job for {token}")
            excused = id_ in cloud.twins and id_ not in cloud.shown
            if not excused and id_ not in {version.job_id, *version.duplicate_jobs, *strays}:
                raise Broken(f"{cloud.name} ran {id_} for {token}, and the log does not say so")


def _active_serves(log: EventLog, model: str, clouds: Iterable[StormyCloud]) -> None:
    state = log.model(model)
    if state is None or state.active is None:
        return
    version = next(one for one in log.versions(VersionQuery(model=model)).items if one.version == state.active)
    cloud = next(one for one in clouds if one.name == version.connection)
    if cloud.capabilities.serving == "none":
        return
    serving = [
        one.name
        for one in log.deployments(DeploymentQuery(model=model, version=state.active))
        if one.state == "serving"
    ]
    there = [one for one in cloud.deployments.values() if one.name in serving and one.outcome == "serving"]
    if not there:
        raise Broken(f"{model}@{state.active} is active, and nothing serves it")
