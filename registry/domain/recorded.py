"""What happened to a model that no policy decided: the part of its history that any other policy would have met, too.

Trainings that ended, what people asked for, what they approved, what a provider dropped, how long things took and what
they cost. `registry.domain.replay` lets another policy live through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median

from registry.domain import events as ev
from registry.domain.apply import apply, new_state
from registry.domain.events import Event
from registry.domain.states import DeploymentState, State, VersionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """`what`: trained | approved | activate | deploy | attach | retire | undeploy | delete | lost | used."""

    at: datetime
    what: str
    version: int
    actor: str
    valid_loss: float | None = None
    imported: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasted:
    """How long a deployment took to be billed, to serve, and, once it was to go, to be gone."""

    billed: timedelta = timedelta()
    serving: timedelta = timedelta()
    gone: timedelta = timedelta()
    hourly: Decimal | None = None


@dataclass(slots=True, kw_only=True)
class Record:
    happenings: list[Happening] = field(default_factory=list[Happening])
    lasted: dict[int, list[Lasted]] = field(default_factory=dict[int, list[Lasted]])
    """Of each version's deployments, in order."""
    deployments: list[DeploymentState] = field(default_factory=list[DeploymentState])
    """As they stand in truth."""
    acts: list[tuple[datetime, str, str, str, str | None]] = field(
        default_factory=list[tuple[datetime, str, str, str, str | None]]
    )
    """What was done in truth: when, what, to what, on whose word, and why."""
    authors: dict[int, str] = field(default_factory=dict[int, str])
    """Who asked for each version."""

    def usual(self) -> Lasted:
        """What the model's deployments took, in the middle."""
        known = [one for several in self.lasted.values() for one in several]
        if not known:
            return Lasted()
        prices = [one.hourly for one in known if one.hourly is not None]
        return Lasted(
            billed=_middle([one.billed for one in known]),
            serving=_middle([one.serving for one in known]),
            gone=_middle([one.gone for one in known]),
            hourly=prices[-1] if prices else None,
        )


def record(events: Iterable[Event], uses: Sequence[tuple[int, datetime]] = ()) -> Record:
    """`events`: of a model's streams, in order. `uses`: when a version was called, as far as anyone recorded it."""
    found = Record()
    states: dict[str, State] = {}
    for event in events:
        state = states.get(event.stream)
        if state is None:
            state = states[event.stream] = new_state(event.stream)
        apply(state, event)
        match state:
            case VersionState():
                _version_event(found, state, event)
            case DeploymentState() if state.model:
                _deployment_event(found, state, event)
            case _:
                pass
    found.deployments = [one for one in states.values() if isinstance(one, DeploymentState) and one.model]
    for one in found.deployments:
        found.lasted.setdefault(one.version, []).append(_lasted(one))
    found.happenings += [Happening(at=at, what="used", version=number, actor="") for number, at in uses]
    found.happenings.sort(key=lambda one: one.at)
    return found


def _version_event(found: Record, version: VersionState, event: Event) -> None:
    found.authors[version.version] = version.created_by
    by_hand = not event.actor.startswith("policy:")
    loss = version.metrics.get("valid_loss")

    def happened(what: str, *, imported: bool = False) -> None:
        one = Happening(
            at=event.recorded_at,
            what=what,
            version=version.version,
            actor=event.actor,
            valid_loss=float(loss) if isinstance(loss, int | float) else None,
            imported=imported,
        )
        found.happenings.append(one)

    match event.payload:
        case ev.VersionTrained():
            happened("trained")
        case ev.VersionImported():
            happened("trained", imported=True)
        case ev.VersionApproved():
            happened("approved")
        case ev.ActivationRequested():
            _acted(found, event, "activate", version)
            if by_hand:
                happened("activate")
        case ev.VersionRetired(replaced_by=None):
            happened("retire")
        case ev.DeletionRequested():
            _acted(found, event, "delete version", version)
            if by_hand:
                happened("delete")
        case _:
            pass


def _deployment_event(found: Record, one: DeploymentState, event: Event) -> None:
    by_hand = not event.actor.startswith(("policy:", "scheduler"))

    def happened(what: str) -> None:
        found.happenings.append(Happening(at=event.recorded_at, what=what, version=one.version, actor=event.actor))

    match event.payload:
        case ev.DeploymentRequested():
            _acted(found, event, "deploy", one)
            if by_hand and one.purpose == "standby":
                happened("deploy")
        case ev.DeploymentAttached() | ev.OrphanAdopted():
            happened("attach")
        case ev.DeploymentDeletionRequested():
            _acted(found, event, "delete deployment", one)
            if by_hand:
                happened("undeploy")
        case ev.DeploymentLost():
            happened("lost")
        case _:
            pass


def _acted(found: Record, event: Event, what: str, one: VersionState | DeploymentState) -> None:
    found.acts.append((event.recorded_at, what, f"{one.model}@{one.version}", event.actor, event.reason))


def _lasted(one: DeploymentState) -> Lasted:
    asked = one.requested_at

    def since(start: datetime | None, end: datetime | None) -> timedelta:
        return max(end - start, timedelta()) if start is not None and end is not None else timedelta()

    return Lasted(
        billed=since(asked, one.maybe_billed_from or one.billed_from),
        serving=since(asked, one.serving_at),
        gone=since(one.deletion_requested_at, one.billed_to),
        hourly=one.hourly,
    )


def _middle(spans: Sequence[timedelta]) -> timedelta:
    return timedelta(seconds=median(one.total_seconds() for one in spans))
