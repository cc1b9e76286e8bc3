"""One command as a unit: what it read, with the versions it read, so that its append is conditional on all of it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from registry.application import tracing
from registry.application.ports import Appended, EventLog, Idempotency
from registry.application.views import to_json
from registry.domain import events as ev
from registry.domain.errors import ConflictError, IdempotencyConflictError
from registry.domain.events import NewEvent
from registry.domain.ids import (
    VersionRef,
    connection_stream,
    deployment_stream,
    model_stream,
    registry_stream,
    version_stream,
)
from registry.domain.states import ConnectionState, DeploymentState, ModelState, RegistryState, VersionState
from registry.domain.versions import Who

ATTEMPTS_MAX = 20
"""How often a command is decided again because somebody else changed a stream first; repetitions take turns."""


class Unit:
    """Loads states and remembers each stream's version; `expected` is what the append is conditional on.

    Raises ConflictError where one is not at the version that the caller insists on, before anything is decided: who
    looked at something else is told that, and not what a move from here would be refused with.
    """

    def __init__(self, log: EventLog, insists: Mapping[str, int]) -> None:
        self._log = log
        self._insists = insists
        self.expected: dict[str, int] = {}

    def _load(self, stream: str) -> object:
        state = self._log.load(stream)
        actual = self.expected[stream] = state.stream_version if state else 0
        expected = self._insists.get(stream, actual)
        if state is not None and expected != actual:
            message = f"{stream} has changed: it is at {actual}, not {expected}"
            raise ConflictError(message, stream=stream, expected=expected, actual=actual)
        return state

    def model(self, name: str) -> ModelState | None:
        return cast("ModelState | None", self._load(model_stream(name)))

    def version(self, ref: VersionRef) -> VersionState | None:
        return cast("VersionState | None", self._load(version_stream(ref)))

    def deployment(self, id: str) -> DeploymentState | None:
        return cast("DeploymentState | None", self._load(deployment_stream(id)))

    def connection(self, name: str) -> ConnectionState | None:
        return cast("ConnectionState | None", self._load(connection_stream(name)))

    def registry(self) -> RegistryState | None:
        return cast("RegistryState | None", self._load(registry_stream()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is asked, by whom. `body` is digested, so that a repeated key with another body is noticed.

    `expected`: stream versions that the caller insists on (If-Match).
    """

    name: str
    body: Mapping[str, object]
    who: Who
    idempotency_key: str | None = None
    expected: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def fingerprint(self) -> str:
        text = json.dumps([self.name, to_json(self.body)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`answer` is what a repetition with the same key is given; `repeated` tells that this was one."""

    answer: Mapping[str, object]
    repeated: bool = False
    appended: Appended | None = None


Caused = VersionState | DeploymentState
Decision = Callable[[Unit], tuple[Sequence[NewEvent], Mapping[str, object]]]


class Door:
    """Where every command goes through: load, decide, append; decided again when somebody was faster."""

    def __init__(self, log: EventLog, registry_id: Callable[[], str]) -> None:
        self._log = log
        self._registry_id = registry_id
        self._again = threading.Lock()
        self.on_append: Callable[[float], None] = _unobserved
        """Told how long each append took to be durable, in seconds."""

    def run(self, command: Command, decide: Decision, *, because: Caused | None = None) -> Outcome:
        """`because`: whose cause this command follows from; None for what somebody asked for.

        Raises what `decide` raises, ConflictError for a caller's own expectation, IdempotencyConflictError.
        """
        since = because.correlation_id if because else None
        with tracing.span(f"command {command.name}", {"tenure.command": command.name}, since=since) as span:
            outcome = self._run(command, decide, because)
            if outcome.appended is not None and outcome.appended.events:
                began = outcome.appended.events[0].correlation_id
                span.set_attribute("tenure.correlation_id", began)
                span.set_attribute("tenure.position", outcome.appended.position)
                if because is None:
                    tracing.began(began)
            return outcome

    def _run(self, command: Command, decide: Decision, because: Caused | None) -> Outcome:
        repeated = self._answered(command)
        if repeated is not None:
            return repeated
        try:
            return self._attempt(command, decide, because)
        except ConflictError as conflict:
            if conflict.stream in command.expected:
                raise
        with self._again:
            for _ in range(ATTEMPTS_MAX - 2):
                try:
                    return self._attempt(command, decide, because)
                except ConflictError as conflict:
                    if conflict.stream in command.expected:
                        raise
            return self._attempt(command, decide, because)

    def _attempt(self, command: Command, decide: Decision, because: Caused | None) -> Outcome:
        unit = Unit(self._log, command.expected)
        events, answer = decide(unit)
        try:
            appended = self._append(command, unit, events, answer, because)
        except IdempotencyConflictError:
            repeated = self._answered(command)
            if repeated is None:
                raise
            return repeated
        return Outcome(answer=answer, appended=appended)

    def _append(
        self,
        command: Command,
        unit: Unit,
        events: Sequence[NewEvent],
        answer: Mapping[str, object],
        because: Caused | None,
    ) -> Appended | None:
        record = None
        if command.idempotency_key is not None:
            record = Idempotency(key=command.idempotency_key, fingerprint=command.fingerprint, answer=dict(answer))
        if not events:
            if record is not None:
                return self._log.append([], expected={}, idempotency=record)
            return None
        first = self._first_event(unit, command.who) if self._log.head() == 0 else []
        began = time.perf_counter()
        with tracing.span("append", {"tenure.events": len(first) + len(events)}):
            appended = self._log.append(
                [*first, *events],
                expected=unit.expected,
                correlation_id=because.correlation_id if because else None,
                causation_id=because.cause_id if because else None,
                idempotency=record,
            )
        self.on_append(time.perf_counter() - began)
        return appended

    def _first_event(self, unit: Unit, who: Who) -> list[NewEvent]:
        """A home gets its identity with its first command, in the same append: looking at one writes nothing."""
        if unit.registry() is not None:
            return []
        return [who.says(registry_stream(), ev.RegistryCreated(registry=self._registry_id()))]

    def _answered(self, command: Command) -> Outcome | None:
        if command.idempotency_key is None:
            return None
        before = self._log.answered(command.idempotency_key)
        if before is None:
            return None
        if before.fingerprint != command.fingerprint:
            raise IdempotencyConflictError(
                f"the idempotency key {command.idempotency_key!r} was used for another command"
            )
        return Outcome(answer=before.answer, repeated=True)


def _unobserved(_: float) -> None:
    pass
