"""Histories: `given(queued(), training()).when(activate()).refuses(state="training", legal={"fail", …})`.

A step is a decision of the domain on the states so far; `given` insists that each is taken, `when` shows what comes of
the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

import pytest

from registry.domain import deploying, versions
from registry.domain import events as ev
from registry.domain.apply import apply, new_state
from registry.domain.errors import TenureError
from registry.domain.events import DomainEvent, Event, NewEvent
from registry.domain.ids import VersionRef, deployment_stream, model_stream, version_stream
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, ModelState, State, VersionState
from registry.domain.versions import Finished, Who

MODEL = "bot"
START = datetime(2026, 11, 1, tzinfo=UTC)
ANA = Who(actor="user:ana")
BEN = Who(actor="user:ben")
CLOUD = Who(actor="provider:cloud")
PRICE = ev.Price(hourly=Decimal("1.80"), currency="USD", source="test price list")


class Past:
    """The states after everything that was appended, as a log would fold them; one second goes by with each event."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.events: list[Event] = []
        self.now = START

    def append(self, new: Sequence[NewEvent], *, causation_id: str | None = None) -> None:
        correlation = f"e{len(self.events) + 1}"
        for one in new:
            self.now += timedelta(seconds=1)
            state = self.states.setdefault(one.stream, new_state(one.stream))
            event = Event(
                position=len(self.events) + 1,
                stream=one.stream,
                stream_version=state.stream_version + 1,
                id=f"e{len(self.events) + 1}",
                type=type(one.payload).__name__,
                schema_version=1,
                recorded_at=self.now,
                actor=one.actor,
                reason=one.reason,
                correlation_id=correlation,
                causation_id=causation_id,
                payload=one.payload,
                data={},
                hash="",
            )
            apply(state, event)
            self.events.append(event)

    @property
    def model(self) -> ModelState | None:
        return cast("ModelState | None", self.states.get(model_stream(MODEL)))

    @property
    def known(self) -> ModelState:
        assert self.model is not None
        return self.model

    def version(self, number: int = 1) -> VersionState:
        return cast("VersionState", self.states[version_stream(VersionRef(MODEL, number))])

    @property
    def versions(self) -> list[VersionState]:
        return [one for one in self.states.values() if isinstance(one, VersionState)]

    def deployments(self, number: int = 1) -> list[DeploymentState]:
        all_of_them = [one for one in self.states.values() if isinstance(one, DeploymentState)]
        return [one for one in all_of_them if one.version == number]

    def deployment(self, number: int = 1) -> DeploymentState:
        """The newest of a version."""
        return self.deployments(number)[-1]


Step = Callable[[Past], Sequence[NewEvent]]


class Outcome:
    def __init__(self, past: Past, step: Step) -> None:
        self.past = past
        self._step = step

    def gives(self, *types: type[DomainEvent]) -> Past:
        """Exactly these events, in this order; answers the states after them."""
        events = self._step(self.past)
        assert [type(one.payload) for one in events] == list(types)
        self.past.append(events)
        return self.past

    def changes_nothing(self) -> None:
        assert list(self._step(self.past)) == []

    def refuses(self, *, match: str | None = None, state: str | None = None, legal: set[str] | None = None) -> None:
        with pytest.raises(TenureError, match=match) as refusal:
            self._step(self.past)
        if state is not None:
            assert getattr(refusal.value, "state", None) == state
        if legal is not None:
            assert set(getattr(refusal.value, "legal", ())) == legal


class Given:
    def __init__(self, past: Past) -> None:
        self.past = past

    def when(self, step: Step) -> Outcome:
        return Outcome(self.past, step)


def given(*steps: Step) -> Given:
    past = Past()
    for step in steps:
        past.append(step(past), causation_id=_cause(past))
    return Given(past)


def _cause(past: Past) -> str | None:
    return past.events[-1].id if past.events else None


# Steps of a version


def queued(*, activate: bool = False, who: Who = ANA) -> Step:
    def step(past: Past) -> Sequence[NewEvent]:
        number, _ = versions.number(past.model, MODEL, who)
        payload = ev.FineTuneRequested(
            model=MODEL,
            version=number,
            connection="cloud",
            provider="azure-openai",
            base_model="base",
            method="supervised",
            train=ev.DataRef(sha256="00", rows=20, path="data/00"),
            activate=activate,
        )
        return versions.begin(past.model, payload, who)

    return step


def imported(artifact: str = "ft:other", who: Who = ANA) -> Step:
    def step(past: Past) -> Sequence[NewEvent]:
        number, _ = versions.number(past.model, MODEL, who)
        payload = ev.VersionImported(
            model=MODEL,
            version=number,
            connection="cloud",
            provider="azure-openai",
            base_model=None,
            artifact=ev.ArtifactRef(id=artifact),
        )
        return versions.begin(past.model, payload, who)

    return step


def own(who: Who = ANA) -> Step:
    def step(past: Past) -> Sequence[NewEvent]:
        number, _ = versions.number(past.model, MODEL, who)
        payload = ev.OwnTrainingStarted(
            model=MODEL,
            version=number,
            connection="local",
            provider="huggingface",
            base_model=None,
            directory=f"own/bot-{number}",
        )
        return versions.begin(past.model, payload, who)

    return step


def submitted(number: int = 1) -> Step:
    return lambda past: versions.submit(past.version(number), "test12", CLOUD)


def started(number: int = 1, job: str = "job-1") -> Step:
    return lambda past: versions.started(
        past.version(number), ev.JobRef(id=job, name="tenure-test12-bot-1-1", status="running"), CLOUD
    )


def job_over(number: int = 1, outcome: str = "succeeded", **changes: object) -> Step:
    def step(past: Past) -> Sequence[NewEvent]:
        artifact = ev.ArtifactRef(id=f"ft:{number}", digest="sha256:00") if outcome == "succeeded" else None
        known: dict[str, object] = {
            "outcome": outcome,
            "status": outcome,
            "artifact": artifact,
            "metrics": {"valid_loss": 1.0},
        }
        result = Finished(**{**known, **changes})  # pyright: ignore[reportArgumentType] - the caller knows the fields
        return versions.finished(past.version(number), result, CLOUD)

    return step


def failed(number: int = 1, error: str = "quota") -> Step:
    return lambda past: versions.failed(past.version(number), error, CLOUD)


def cancel(number: int = 1, who: Who = ANA) -> Step:
    return lambda past: versions.cancel(past.version(number), who)


def retry(number: int = 1, who: Who = ANA) -> Step:
    return lambda past: versions.retry(past.version(number), who)


def approve(number: int = 1, who: Who = BEN, **policy: object) -> Step:
    return lambda past: versions.approve(past.version(number), Policy.of(policy), who)


def activate(number: int = 1, who: Who = ANA, **policy: object) -> Step:
    return lambda past: versions.activate(
        past.known,
        past.version(number),
        Policy.of(policy),
        [one for one in past.versions if one.state == "deploying"],
        who,
    )


def switch(number: int = 1, *, deployed: bool = True) -> Step:
    def step(past: Past) -> Sequence[NewEvent]:
        previous = None
        if past.known.active is not None and past.known.active != number:
            previous = past.version(past.known.active)
        deployment = past.deployment(number) if deployed else None
        return versions.serve(past.known, past.version(number), previous, deployment, ANA)

    return step


def abandon(number: int = 1, error: str = "it did not come up") -> Step:
    return lambda past: versions.abandon(past.known, past.version(number), error, CLOUD)


def retire(number: int = 1, who: Who = ANA) -> Step:
    return lambda past: versions.retire(past.known, past.version(number), who)


def delete(number: int = 1, who: Who = ANA) -> Step:
    return lambda past: versions.delete(past.version(number), who)


def gone(number: int = 1) -> Step:
    return lambda past: versions.deleted(past.version(number), CLOUD)


# Steps of its newest deployment


def requested(number: int = 1, *, purpose: str = "standby", who: Who = ANA, taken: Collection[str] = ()) -> Step:
    return lambda past: deploying.request(
        past.version(number),
        past.deployments(number),
        registry="test12",
        price=PRICE,
        purpose=purpose,
        who=who,
        taken=taken,
    )


def attached(number: int = 1, provider_id: str = "srv-9") -> Step:
    return lambda past: deploying.attach(
        past.version(number),
        past.deployments(number),
        name="theirs",
        provider_id=provider_id,
        endpoint=None,
        price=PRICE,
        billed_from=START,
        who=ANA,
    )


def unsure(number: int = 1) -> Step:
    return lambda past: deploying.outcome_unknown(
        past.deployment(number), called_at=past.now, error="time-out", who=CLOUD
    )


def accepted(number: int = 1, provider_id: str = "srv-1") -> Step:
    return lambda past: deploying.accepted(
        past.deployment(number), provider_id=provider_id, billed_from=past.now, who=CLOUD
    )


def serving(number: int = 1) -> Step:
    return lambda past: deploying.serving(past.deployment(number), endpoint="http://127.0.0.1:1", who=CLOUD)


def repointed(number: int = 1, artifact: str = "ft:somebody-elses") -> Step:
    return lambda past: deploying.shown_with(past.deployment(number), artifact, CLOUD)


def broken(number: int = 1, *, exists: bool = True) -> Step:
    return lambda past: deploying.failed(past.deployment(number), error="no capacity", exists=exists, who=CLOUD)


def lost(number: int = 1, *, exists: bool = False) -> Step:
    return lambda past: deploying.lost(
        past.deployment(number), past.version(number), last_seen_at=START, exists=exists, who=CLOUD
    )


def undeploy(number: int = 1, who: Who = ANA) -> Step:
    return lambda past: deploying.undeploy(past.deployment(number), past.version(number), past.deployments(number), who)


def delete_accepted(number: int = 1) -> Step:
    return lambda past: deploying.deletion_accepted(past.deployment(number), CLOUD)


def seen_gone(number: int = 1) -> Step:
    return lambda past: deploying.deleted(past.deployment(number), billed_to=past.now, reads=3, who=CLOUD)


TRAINED: tuple[Step, ...] = (queued(), submitted(), started(), job_over())
"""Version 1 is trained."""
STANDBY: tuple[Step, ...] = (*TRAINED, requested(), accepted(), serving())
"""Version 1 is trained and has a deployment that serves."""
DEPLOYING: tuple[Step, ...] = (*TRAINED, activate(), requested(purpose="activation"))
ACTIVE: tuple[Step, ...] = (*DEPLOYING, accepted(), serving(), switch())
"""Version 1 is active on a deployment of its own."""


def says(stream: str, payload: DomainEvent, who: Who = ANA) -> Step:
    """An event as it is, without a decision."""
    return lambda _: [who.says(stream, payload)]


def of_version(payload: DomainEvent, number: int = 1) -> Step:
    return says(version_stream(VersionRef(MODEL, number)), payload, CLOUD)


def of_deployment(payload: DomainEvent, number: int = 1) -> Step:
    return lambda past: [CLOUD.says(deployment_stream(past.deployment(number).id), payload)]
