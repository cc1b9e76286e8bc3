"""The one writer: takes what waits, places it, makes it durable with one fsync, and only then answers.

While it syncs, the next callers queue up, so the more there are the more each sync carries (group commit).
"""

from __future__ import annotations

import errno
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from registry.application.ports import Appended, Clock, Ids
from registry.domain.errors import ConflictError, IdempotencyConflictError, UnavailableError
from registry.domain.events import Event
from registry.store.batches import Batch, Request, event_line, key_line, metric_line, payload_of
from registry.store.chain import digest, halves
from registry.store.journal import Segment, Tip, Witness
from registry.store.live import Live
from registry.store.usage import usage_line
from registry.store.values import naive_utc

REQUESTS_PER_BATCH_MAX = 1_024
SEGMENT_BYTES = 8 << 20
BACKLOG_MAX = 20_000
"""Events that may wait for the database before appends do."""
BACKLOG_WAIT_S = 30.0
GATHER_S = 0.0003
"""How long to wait for callers that were answered together to come back together."""
WAKE_S = 0.5

logger = logging.getLogger(__name__)


class HandOver(Protocol):
    def __call__(self, batch: Batch) -> None: ...


class Writer:
    def __init__(
        self, live: Live, segment: Segment, folder: Path, *, clock: Clock, ids: Ids, hand_over: HandOver
    ) -> None:
        self._live = live
        self._segment = segment
        self._folder = folder
        self._witness = Witness(folder)
        self._clock = clock
        self._ids = ids
        self._hand_over = hand_over
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        self._company = 1
        """How many callers may be expected to append next."""
        self.finished: deque[tuple[int, Path]] = deque()
        """Segments that are full, each with its last batch: they go when a checkpoint has made them needless."""
        self._thread = threading.Thread(target=self._run, name="tenure-writer", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Blocks until it is durable or refused; raises what it was refused with."""
        done = threading.Lock()
        done.acquire()
        request.wake = done.release
        with self._gate:
            if not self._open:
                raise UnavailableError("the log is closed")
            self._queue.put(request)
        try:
            while not done.acquire(timeout=WAKE_S) and not request.settled:
                pass
        finally:
            if request.wake_next is not None:
                request.wake_next()
        if request.error is not None:
            raise request.error

    def stop(self) -> Segment:
        """Answer what waits, take nothing more. The segment is the caller's from now on."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)
        self._thread.join()
        self._witness.close()
        return self._segment

    def _run(self) -> None:
        going = True
        while going:
            requests, job, going = self._gathered()
            if requests:
                self._guarded(requests, lambda taken=requests: self._write(taken))
            if job is not None:
                self._guarded([job], lambda taken=job: self._perform(taken))

    def _gathered(self) -> tuple[list[Request], Request | None, bool]:
        """(what is written together, a job to do after it, whether to go on)

        Callers that were answered together mostly come back together: with those that queued up meanwhile they share
        a sync, if they come soon. Else 64 callers went in three groups of 22, and the disk's time was all there was.
        """
        requests: list[Request] = []
        item = self._queue.get()
        before = 0
        while True:
            if item is None:
                return requests, None, False
            if item.job is not None:
                return requests, item, True
            requests.append(item)
            if len(requests) >= REQUESTS_PER_BATCH_MAX:
                return requests, None, True
            if self._queue.empty() and before < len(requests) < self._company:
                before = len(requests)
                time.sleep(GATHER_S)
            try:
                item = self._queue.get_nowait()
            except Empty:
                return requests, None, True

    def _guarded(self, requests: list[Request], work: Callable[[], None]) -> None:
        """Callers are answered whatever happens: a bug here is theirs to see, not a hang.

        Each wakes the next. Woken all at once they would fight for the interpreter's lock: 40 % more switches and 20 %
        more CPU with 64 callers. One that is interrupted may leave those behind it to notice after WAKE_S.
        """
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 -- handed to those who wait
            for request in requests:
                request.answer, request.error = None, exc
        self._company = self._queue.qsize() + len(requests)
        for request, following in itertools.pairwise(requests):
            request.wake_next = following.wake
            request.settled = True
        requests[-1].settled = True
        requests[0].wake()

    def _perform(self, request: Request) -> None:
        assert request.job is not None
        request.answer = request.job()

    def adopt(self, segment: Segment) -> Segment:
        """Go on in another segment; answers the one before. For jobs."""
        before, self._segment = self._segment, segment
        return before

    def _write(self, requests: list[Request]) -> None:
        self._wait_for_room()
        self._rotate()
        live = self._live
        placing = Placing(live, self._clock, self._ids)
        placed = [request for request in requests if placing.place(request)]
        if not placing.lines:
            return
        batch = placing.batch
        try:
            self._segment.append(batch.number, payload_of(batch, placing.lines))
        except OSError as exc:
            for request in placed:
                request.answer, request.error = None, refused(exc)
            return
        tip = Tip(batch.number, batch.position, batch.hash, self._segment.link)
        self._witness.saw(batch.number)
        live.publish(batch, placing.heads, tip, placing.recorded_at)
        self._hand_over(batch)

    def _wait_for_room(self) -> None:
        live = self._live
        if live.failing is None and live.backlog <= BACKLOG_MAX:
            return
        if not live.wait_for_backlog(BACKLOG_MAX, BACKLOG_WAIT_S):
            raise UnavailableError(
                f"nothing can be recorded: {live.failing or 'the database does not keep up'}",
                retry_after_s=1,
                hint="make room on the disk of TENURE_HOME",
            )

    def _rotate(self) -> None:
        """Begin a new segment when this one is full, so that the applier can checkpoint and drop the old."""
        if self._segment.length < SEGMENT_BYTES:
            return
        try:
            segment = Segment.begin(self._folder, self._live.tip)
        except OSError as exc:
            logger.warning("the journal goes on in %s: a new segment cannot be made: %s", self._segment.path, exc)
            return
        full = self.adopt(segment)
        full.close()
        self.finished.append((self._live.tip.batch, full.path))


class Tail(Protocol):
    """What placing has to know about the log so far."""

    @property
    def tip(self) -> Tip: ...
    @property
    def recorded_at(self) -> datetime: ...
    def head_of(self, stream: str) -> int: ...
    def key_taken(self, key: str) -> bool: ...


class Placing:
    """Gives requests their places, one after another, on top of what is acknowledged; forgotten if the write fails."""

    def __init__(self, log: Tail, clock: Clock, ids: Ids) -> None:
        self.batch = Batch(log.tip.batch + 1, log.tip.position, log.tip.hash)
        self.heads: dict[str, int] = {}
        self.lines: list[str] = []
        self.recorded_at = log.recorded_at
        self._keys: set[str] = set()
        self._log = log
        self._clock = clock
        self._ids = ids

    def place(self, request: Request) -> bool:
        """False when it is refused; its error says why, and it leaves nothing behind."""
        key = request.idempotency
        try:
            self._check(request)
        except (ConflictError, IdempotencyConflictError, UnavailableError) as exc:
            request.error = exc
            return False
        events: tuple[Event, ...] = ()
        if request.drafts:
            events = self._events(request)
        if key is not None:
            self._keys.add(key.key)
            self.batch.keys.append(key)
            self.lines.append(key_line(key))
        for row in request.metrics:
            self.batch.metrics.append(row)
            self.lines.append(metric_line(row))
        for row in request.usage:
            self.batch.usage.append(row)
            self.lines.append(usage_line(row))
        request.answer = Appended(position=self.batch.position, events=events)
        return True

    def _check(self, request: Request) -> None:
        key = request.idempotency
        if key is not None and (key.key in self._keys or self._log.key_taken(key.key)):
            raise key_conflict(key.key)
        for stream, expected in request.expected.items():
            actual = self._head(stream)
            if actual != expected:
                raise conflict(stream, expected, actual)
        for draft in request.drafts:
            self._head(draft.stream)

    def _head(self, stream: str) -> int:
        head = self.heads.get(stream)
        return self._log.head_of(stream) if head is None else head

    def _events(self, request: Request) -> tuple[Event, ...]:
        """The hot loop of the writer: 8 µs an event, half of them for its bytes and their hash."""
        batch, heads, lines = self.batch, self.heads, self.lines
        ids = [self._ids() for _ in request.drafts]
        correlation, causation = request.correlation_id or ids[0], request.causation_id
        naive = self.recorded_at = max(self.recorded_at, naive_utc(self._clock()))
        recorded_at = naive.replace(tzinfo=UTC)
        events: list[Event] = []
        for draft, id_ in zip(request.drafts, ids, strict=True):
            stream, type_, schema = draft.stream, draft.type, draft.schema_version
            actor, reason = draft.actor, draft.reason
            version = heads[stream] = self._head(stream) + 1
            position = batch.position + 1
            row = (
                position, stream, version, id_, type_, schema, naive, actor, reason, correlation, causation, draft.text,
            )  # fmt: skip
            first, second = halves(row)
            hash_ = digest(batch.hash, first, second)
            event = Event(
                position=position,
                stream=stream,
                stream_version=version,
                id=id_,
                type=type_,
                schema_version=schema,
                recorded_at=recorded_at,
                actor=actor,
                reason=reason,
                correlation_id=correlation,
                causation_id=causation,
                payload=draft.payload,
                data=draft.data,
                hash=hash_,
            )
            events.append(event)
            batch.rows.append((*row, hash_))
            batch.position, batch.hash = position, hash_
            lines.append(event_line(first, second, hash_))
        batch.events.extend(events)
        return tuple(events)


def conflict(stream: str, expected: int, actual: int) -> ConflictError:
    return ConflictError(
        f"{stream} is at version {actual}, not {expected}: somebody changed it first",
        stream=stream,
        expected=expected,
        actual=actual,
    )


def key_conflict(key: str) -> IdempotencyConflictError:
    return IdempotencyConflictError(f"the idempotency key {key!r} is taken")


def refused(exc: OSError) -> UnavailableError:
    """A write to the journal that did not happen, and left nothing."""
    full = exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return UnavailableError(
        f"nothing was recorded: the journal cannot be written: {exc.strerror or exc}",
        hint="make room on the disk of TENURE_HOME" if full else None,
    )
