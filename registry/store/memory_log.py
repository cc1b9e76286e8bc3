"""The event log in memory, with the placing, folding and selecting of the one in DuckDB: for simulation and tests."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TypeVar, cast

from registry.application.ports import (
    Appended,
    Billed,
    BilledDay,
    Clock,
    DeploymentQuery,
    Idempotency,
    Ids,
    Metric,
    Motion,
    Trained,
    Usage,
    VersionPage,
    VersionQuery,
)
from registry.domain.apply import apply
from registry.domain.errors import BadInputError, UnavailableError
from registry.domain.events import Event, NewEvent
from registry.domain.ids import (
    VersionRef,
    connection_stream,
    deployment_stream,
    model_stream,
    registry_stream,
    version_stream,
)
from registry.domain.states import ConnectionState, DeploymentState, ModelState, RegistryState, State, VersionState
from registry.store import memory_ledger, tools
from registry.store import usage as usages
from registry.store.batches import Request, check_text, drafts_of, fits, metric_row
from registry.store.chain import GENESIS, event_of, line, row_of
from registry.store.journal import Tip
from registry.store.projection import copy_of, empty_state
from registry.store.reads import fold_events
from registry.store.selection import motion_of, select_deployments, select_versions, surplus_of
from registry.store.writer import Placing

S = TypeVar("S", ConnectionState, ModelState, VersionState, DeploymentState)


class MemoryLog:
    """See `EventLog` and `LogTools` for what each method means. Nothing survives `close()`."""

    def __init__(self, *, clock: Clock, ids: Ids) -> None:
        self.tip = Tip(0, 0, GENESIS)
        self.recorded_at = datetime.min  # noqa: DTZ901 -- naive, as the placing wants it
        self._clock = clock
        self._ids = ids
        self._lock = threading.RLock()
        self._grown = threading.Condition(self._lock)
        self._closed = False
        self._events: list[Event] = []
        self._streams: dict[str, list[Event]] = {}
        self._states: dict[str, State] = {}
        self._of_kind: dict[type[State], dict[str, State]] = {}
        """The same states, by what they are of."""
        self._keys: dict[str, Idempotency] = {}
        self._metrics: dict[VersionRef, dict[tuple[int, int, str], Metric]] = {}
        self._usage: dict[usages.UsageKey, usages.UsageRow] = {}

    # What the placing asks

    def head_of(self, stream: str) -> int:
        return len(self._streams.get(stream, ()))

    def key_taken(self, key: str) -> bool:
        return key in self._keys

    # Appending

    def append(
        self,
        events: Sequence[NewEvent],
        *,
        expected: Mapping[str, int],
        correlation_id: str | None = None,
        causation_id: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        check_text(correlation_id, causation_id)
        request = Request(
            drafts=drafts_of(events),
            expected=expected,
            correlation_id=correlation_id,
            causation_id=causation_id,
            idempotency=idempotency,
        )
        with self._lock:
            self._check()
            placing = Placing(self, self._clock, self._ids)
            if not placing.place(request):
                assert request.error is not None
                raise request.error
            self._take(placing.batch.events)
            self.recorded_at = placing.recorded_at
            if idempotency is not None:
                self._keys[idempotency.key] = idempotency
        return cast("Appended", request.answer)

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.append(event)
            self._streams.setdefault(event.stream, []).append(event)
            self.tip = Tip(self.tip.batch, event.position, event.hash)
            self._fold(event)
        self._grown.notify_all()

    def _fold(self, event: Event) -> None:
        state = self._states.get(event.stream) or empty_state(event.stream)
        if state is not None:
            apply(state, event)
            if event.stream_version == 1:
                self._keep(event.stream, state)

    def _keep(self, stream: str, state: State) -> None:
        self._states[stream] = state
        self._of_kind.setdefault(type(state), {})[stream] = state

    def record_metrics(self, ref: VersionRef, points: Sequence[Metric]) -> None:
        with self._lock:
            self._check()
            held = self._metrics.setdefault(ref, {})
            for point in points:
                if not fits(point.step, point.name):
                    continue
                metric_row(ref, point)
                held[point.attempt, point.step, point.name] = point

    def record_usage(self, usage: Sequence[Usage]) -> None:
        with self._lock:
            self._check()
            self._usage = usages.added([*self._usage.values(), *map(usages.usage_row, usage)])

    def usage(
        self, *, model: str | None = None, version: int | None = None, since: datetime | None = None
    ) -> Sequence[Usage]:
        with self._lock:
            self._check()
            return usages.selected(self._usage.values(), model=model, version=version, since=since)

    def last_used(self) -> Mapping[str, datetime]:
        with self._lock:
            self._check()
            return usages.last_used(self._usage.values())

    def _check(self) -> None:
        if self._closed:
            raise UnavailableError("the log is closed")

    # Events

    def answered(self, key: str) -> Idempotency | None:
        with self._lock:
            self._check()
            return self._keys.get(key)

    def head(self) -> int:
        with self._lock:
            self._check()
            return self.tip.position

    def position_at(self, time: datetime) -> int:
        with self._lock:
            self._check()
            return bisect_right(self._events, time, key=attrgetter("recorded_at"))

    def wait(self, after: int, timeout_s: float) -> int:
        with self._grown:
            self._check()
            self._grown.wait_for(lambda: self.tip.position > after, timeout_s)
            return self.tip.position

    def read(
        self,
        *,
        stream: str | None = None,
        streams: Sequence[str] | None = None,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        with self._lock:
            self._check()
            names = streams if stream is None else [stream]
            found = self._of(names, len(self._events) if until is None else until, after=after)
        return iter(found if limit is None else found[: max(limit, 0)])

    def _of(self, streams: Sequence[str] | None, until: int, *, after: int = 0) -> list[Event]:
        if streams is None:
            return self._events[max(after, 0) : max(until, 0)]
        found = [
            event
            for stream in set(streams)
            for event in self._streams.get(stream, ())
            if after < event.position <= until
        ]
        return sorted(found, key=attrgetter("position"))

    def model_streams(self, model: str) -> Sequence[str]:
        with self._lock:
            self._check()
            versions = sorted(state.version for state in self._kind(VersionState) if state.model == model)
            deployments = select_deployments(self._kind(DeploymentState), DeploymentQuery(model=model))
            own = model_stream(model)
            return (
                *((own,) if own in self._states else ()),
                *(version_stream(VersionRef(model, number)) for number in versions),
                *(deployment_stream(state.id) for state in deployments),
            )

    # States

    def load(self, stream: str) -> State | None:
        return self._state(stream, None)

    def _state(self, stream: str, at: int | None) -> State | None:
        with self._lock:
            self._check()
            if at is not None:
                return fold_events(self._of([stream], at)).get(stream)
            state = self._states.get(stream)
            return None if state is None else copy_of(state)

    def _kind(self, kind: type[S], at: int | None = None) -> list[S]:
        """The log's own, for reading with the lock held: whoever hands them out copies them."""
        self._check()
        if at is None:
            return cast("list[S]", list(self._of_kind.get(kind, {}).values()))
        return [state for state in fold_events(self._of(None, at)).values() if isinstance(state, kind)]

    def _all(self, kind: type[S], at: int | None) -> list[S]:
        with self._lock:
            return [copy_of(state) for state in sorted(self._kind(kind, at), key=attrgetter("name"))]

    def registry(self, *, at: int | None = None) -> RegistryState:
        return cast("RegistryState | None", self._state(registry_stream(), at)) or RegistryState()

    def connection(self, name: str, *, at: int | None = None) -> ConnectionState | None:
        return cast("ConnectionState | None", self._state(connection_stream(name), at))

    def connections(self, *, at: int | None = None) -> Sequence[ConnectionState]:
        return self._all(ConnectionState, at)

    def model(self, name: str, *, at: int | None = None) -> ModelState | None:
        return cast("ModelState | None", self._state(model_stream(name), at))

    def models(self, *, at: int | None = None) -> Sequence[ModelState]:
        return self._all(ModelState, at)

    def version(self, ref: VersionRef, *, at: int | None = None) -> VersionState | None:
        return cast("VersionState | None", self._state(version_stream(ref), at))

    def versions(self, query: VersionQuery, *, at: int | None = None) -> VersionPage:
        with self._lock:
            page = select_versions(self._kind(VersionState, at), query)
            return VersionPage(items=tuple(map(copy_of, page.items)), next=page.next)

    def deployment(self, id: str, *, at: int | None = None) -> DeploymentState | None:
        return cast("DeploymentState | None", self._state(deployment_stream(id), at))

    def deployments(self, query: DeploymentQuery, *, at: int | None = None) -> Sequence[DeploymentState]:
        with self._lock:
            return list(map(copy_of, select_deployments(self._kind(DeploymentState, at), query)))

    def billed(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Billed]:
        return memory_ledger.billed(self.deployments(DeploymentQuery(), at=at), from_=from_, to=to)

    def billed_by_day(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[BilledDay]:
        return memory_ledger.by_day(self.deployments(DeploymentQuery(), at=at), from_=from_, to=to)

    def trained(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Trained]:
        return memory_ledger.trained(self.read(until=at), self.version, from_=from_, to=to)

    def motion(self) -> Motion:
        with self._lock:
            found = motion_of(self._kind(VersionState), self._kind(DeploymentState), self._kind(ModelState))
            return Motion(
                versions=tuple(map(copy_of, found.versions)),
                deployments=tuple(map(copy_of, found.deployments)),
                models=tuple(map(copy_of, found.models)),
                serving=tuple(map(copy_of, found.serving)),
            )

    def surplus(self, keep: Mapping[str, int]) -> Sequence[VersionState]:
        with self._lock:
            return [copy_of(one) for one in surplus_of(self._kind(VersionState), keep)]

    def version_counts(self) -> Mapping[str, int]:
        with self._lock:
            return Counter(one.state for one in self._kind(VersionState))

    def metrics(self, ref: VersionRef, *, attempt: int | None = None) -> Sequence[Metric]:
        with self._lock:
            self._check()
            held = self._metrics.get(ref, {}).values()
            wanted = max((point.attempt for point in held), default=0) if attempt is None else attempt
            return sorted((point for point in held if point.attempt == wanted), key=attrgetter("name", "step"))

    # Tools

    def verify(self) -> int:
        with self._lock:
            self._check()
            walk = tools.Walk()
            for event in self._events:
                fault = walk.fault(row_of(event))
                if fault is not None:
                    raise tools.wrong(walk.position + 1, fault)
            return walk.position

    def rebuild(self) -> int:
        with self._lock:
            self._check()
            self._states, self._of_kind = {}, {}
            for stream, state in fold_events(self._events).items():
                self._keep(stream, state)
            return len(self._events)

    def export(self, target: Path) -> int:
        with self._lock:
            self._check()
            with tools.written(target) as out:
                out.writelines(line(row_of(event)) + "\n" for event in self._events)
            return len(self._events)

    def import_(self, source: Path) -> int:
        with self._lock:
            self._check()
            tools.check_empty(self.tip.position)
            events: list[Event] = []
            walk, _ = tools.import_rows(source, lambda rows: events.extend(map(event_of, rows)))
            self._take(events)
            self.recorded_at = walk.recorded_at
            return walk.position

    def backup(self, target: Path) -> int:
        """Refused: a log in memory has no home to copy."""
        raise BadInputError(f"a log in memory cannot be backed up to {target}", hint="export it")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._grown.notify_all()
