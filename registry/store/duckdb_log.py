"""The event log in DuckDB behind a journal: `EventLog` and `LogTools` for one home, owned by one process.

append -> writer: placed, one record in the journal, fsync, acknowledged
                  -> applier: events and read models into DuckDB, many batches to a commit
reads wait until what was acknowledged before them has been applied; `load` answers from memory.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import duckdb

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
from registry.domain.errors import UnavailableError
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
from registry.store import opening, tools
from registry.store.applier import Applier, remove
from registry.store.batches import Request, check_text, drafts_of, fits, metric_row
from registry.store.home import Home
from registry.store.journal import Segment
from registry.store.ledger import Ledger
from registry.store.past import Past
from registry.store.reads import Reads
from registry.store.usage import read_last_used, read_usage, usage_row
from registry.store.writer import Writer

logger = logging.getLogger(__name__)


def open_log(home: Path, *, clock: Clock, ids: Ids) -> DuckDBLog:
    """Take the home and open its log, making both where they do not exist.

    Raises HomeInUseError, BadInputError (a home that cannot be written, or of a newer release), CorruptLogError.
    """
    held = Home(home, clock=clock)
    try:
        return DuckDBLog(held, clock=clock, ids=ids)
    except BaseException:
        held.close()
        raise


class DuckDBLog:
    """See `EventLog` and `LogTools` for what each method means."""

    def __init__(self, home: Home, *, clock: Clock, ids: Ids) -> None:
        """`home` is the log's from now on, and released by `close()`."""
        self.home = home
        opened = opening.open_files(home.path)
        self._database = opened.database
        self._live = opened.live
        self._database.catch_up = lambda cursor: opening.catch_up(cursor, home.path, until=opened.live.applied)
        self._reads = Reads(opened.database)
        self._past = Past(opened.database, self._reads)
        self._ledger = Ledger(opened.database)
        self._folder = home.path / opening.JOURNAL
        self._clean = opened.replayed == 0 and opened.segment.is_empty and not opened.finished
        self._pid = os.getpid()
        self._closed = False
        self._writer = Writer(
            opened.live,
            opened.segment,
            self._folder,
            clock=clock,
            ids=ids,
            hand_over=lambda batch: self._applier.take(batch),  # noqa: PLW0108 -- the applier is made after it
        )
        self._writer.finished.extend(opened.finished)
        self._applier = Applier(opened.live, opened.database, self._writer.finished)
        atexit.register(self.close)

    def _check(self) -> None:
        if self._closed:
            raise UnavailableError("the log is closed")
        if self._pid != os.getpid():
            raise UnavailableError(f"this log was opened by process {self._pid}: open one in this process")

    def _settle(self) -> None:
        self._check()
        self._live.settle()

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
        self._check()
        check_text(correlation_id, causation_id)
        request = Request(
            drafts=drafts_of(events),
            expected=expected,
            correlation_id=correlation_id,
            causation_id=causation_id,
            idempotency=idempotency,
        )
        self._writer.submit(request)
        return cast("Appended", request.answer)

    def record_metrics(self, ref: VersionRef, points: Sequence[Metric]) -> None:
        self._check()
        rows = [metric_row(ref, point) for point in points if fits(point.step, point.name)]
        if rows:
            self._writer.submit(Request(metrics=rows))

    def record_usage(self, usage: Sequence[Usage]) -> None:
        self._check()
        if usage:
            self._writer.submit(Request(usage=[usage_row(one) for one in usage]))

    # Events

    def answered(self, key: str) -> Idempotency | None:
        self._check()
        return self._live.keys.find(key)

    def head(self) -> int:
        self._check()
        return self._live.tip.position

    def position_at(self, time: datetime) -> int:
        self._settle()
        return self._reads.position_at(time)

    def wait(self, after: int, timeout_s: float) -> int:
        self._check()
        return self._live.wait(after, timeout_s)

    def read(
        self,
        *,
        stream: str | None = None,
        streams: Sequence[str] | None = None,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        self._check()
        names = streams if stream is None else [stream]
        end = self._live.tip.position if until is None else min(until, self._live.tip.position)
        if names is None and 0 < after <= end:
            recent = self._live.recent(after, end)
            if recent is not None:
                return iter(recent if limit is None else recent[: max(limit, 0)])
        self._live.settle()
        return self._reads.events(names, after=after, until=end, limit=limit)

    def model_streams(self, model: str) -> Sequence[str]:
        self._settle()
        return self._reads.model_streams(model)

    # States

    def load(self, stream: str) -> State | None:
        self._check()
        return self._live.load(stream)

    def _state(self, stream: str, at: int | None) -> State | None:
        return self.load(stream) if at is None else self._past.state(stream, self._reached(at))

    def _reached(self, at: int) -> int:
        """A position up to which everything has been applied: the head, where the log has not come so far."""
        head = self._live.tip.position
        self._settle()
        return min(at, head)

    def registry(self, *, at: int | None = None) -> RegistryState:
        return cast("RegistryState | None", self._state(registry_stream(), at)) or RegistryState()

    def connection(self, name: str, *, at: int | None = None) -> ConnectionState | None:
        return cast("ConnectionState | None", self._state(connection_stream(name), at))

    def connections(self, *, at: int | None = None) -> Sequence[ConnectionState]:
        return cast("Sequence[ConnectionState]", self._all("connection", at))

    def model(self, name: str, *, at: int | None = None) -> ModelState | None:
        return cast("ModelState | None", self._state(model_stream(name), at))

    def models(self, *, at: int | None = None) -> Sequence[ModelState]:
        return cast("Sequence[ModelState]", self._all("model", at))

    def _all(self, kind: str, at: int | None) -> Sequence[State]:
        if at is not None:
            return self._past.all_of(kind, self._reached(at))
        self._settle()
        return self._reads.all_of(kind)

    def version(self, ref: VersionRef, *, at: int | None = None) -> VersionState | None:
        return cast("VersionState | None", self._state(version_stream(ref), at))

    def versions(self, query: VersionQuery, *, at: int | None = None) -> VersionPage:
        if at is not None:
            return self._past.versions(query, self._reached(at))
        self._settle()
        return self._reads.versions(query)

    def deployment(self, id: str, *, at: int | None = None) -> DeploymentState | None:
        return cast("DeploymentState | None", self._state(deployment_stream(id), at))

    def deployments(self, query: DeploymentQuery, *, at: int | None = None) -> Sequence[DeploymentState]:
        if at is not None:
            return self._past.deployments(query, self._reached(at))
        self._settle()
        return self._reads.deployments(query)

    def billed(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Billed]:
        return self._ledger.billed(self._folds(at), from_=from_, to=to)

    def billed_by_day(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[BilledDay]:
        return self._ledger.by_day(self._folds(at), from_=from_, to=to)

    def trained(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Trained]:
        self._settle()
        return self._ledger.trained(from_=from_, to=to, at=self._live.tip.position if at is None else at)

    def _folds(self, at: int | None) -> Sequence[DeploymentState] | None:
        self._settle()
        return None if at is None else self._past.deployments(DeploymentQuery(), self._reached(at))

    def motion(self) -> Motion:
        self._settle()
        return self._reads.motion()

    def surplus(self, keep: Mapping[str, int]) -> Sequence[VersionState]:
        self._settle()
        return self._reads.surplus(keep)

    def version_counts(self) -> Mapping[str, int]:
        self._settle()
        return self._reads.version_counts()

    def metrics(self, ref: VersionRef, *, attempt: int | None = None) -> Sequence[Metric]:
        self._settle()
        return self._reads.metrics(ref, attempt)

    def usage(
        self, *, model: str | None = None, version: int | None = None, since: datetime | None = None
    ) -> Sequence[Usage]:
        self._settle()
        return read_usage(self._database, model=model, version=version, since=since)

    def last_used(self) -> Mapping[str, datetime]:
        self._settle()
        return read_last_used(self._database)

    # Tools

    def verify(self) -> int:
        self._settle()
        return tools.verify(self._database, until=self._live.tip.position)

    def rebuild(self) -> int:
        self._settle()
        with self._applier.paused():
            return tools.rebuild(self._database)

    def export(self, target: Path) -> int:
        self._settle()
        return tools.export(self._database, target, until=self._live.tip.position)

    def import_(self, source: Path) -> int:
        self._check()
        request = Request(job=lambda: self._import(source))
        self._writer.submit(request)
        return cast("int", request.answer)

    def _import(self, source: Path) -> int:
        """In the writer's place, so nothing is appended meanwhile."""
        self._live.settle()
        with self._applier.paused():
            tip, recorded_at, heads = tools.import_(self._database, source, tip=self._live.tip)
            segment = Segment.begin(self._folder, tip)
            before = self._writer.adopt(segment)
            before.close()
            remove((before.path,))
            self._live.restart(tip, recorded_at)
        return heads

    def backup(self, target: Path) -> int:
        self._settle()
        with self._applier.paused():
            return tools.backup(self._database, target)

    def close(self) -> None:
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        atexit.unregister(self.close)
        self._past.forget()
        segment = self._writer.stop()
        self._applier.stop()
        try:
            if not (self._clean and segment.is_empty) and self._live.applied == self._live.tip.batch:
                self._checkpoint(segment)
        except (duckdb.Error, OSError, UnavailableError) as exc:
            logger.warning("closed without a checkpoint, the next opening replays the journal: %s", exc)
        finally:
            segment.close()
            self._database.close()
            self.home.close()

    def _checkpoint(self, segment: Segment) -> None:
        self._database.checkpoint()
        if not segment.is_empty:
            Segment.begin(self._folder, self._live.tip).close()
            remove((segment.path,))
        with contextlib.suppress(IndexError):
            while True:
                remove((self._writer.finished.popleft()[1],))
