"""What the log knows in memory between the journal, where things are durable, and the database, where they are applied.

Heads, the states of recently used streams, events that were acknowledged and not yet applied: enough to decide and to
load without waiting for DuckDB. One lock guards all of it, held for microseconds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice

from registry.domain.apply import apply
from registry.domain.errors import UnavailableError
from registry.domain.events import Event
from registry.domain.states import State
from registry.store.batches import Batch
from registry.store.database import Database
from registry.store.journal import Tip
from registry.store.keys import Keys
from registry.store.projection import copy_of, empty_state
from registry.store.statements import stored_states

STATES_MAX = 10_000
RECENT_MAX = 5_000
"""Events at the end of the log that are read from memory: who follows it would wait for the database after each."""
HEAD_MISSES_MAX = 32
"""So many single look-ups (1 ms each), then all heads are read at once (50,000 streams in 0.1 s)."""
FOLD_SLICE = 64
SETTLE_S = 30.0
LOAD_TRIES = 8


class Live:
    """Shared by the writer, the applier and every reader."""

    def __init__(self, database: Database, tip: Tip, recorded_at: datetime) -> None:
        self.lock = threading.Lock()
        self.grown = threading.Condition(self.lock)
        """Told when the head moves; waited on by followers."""
        self.settled = threading.Condition(self.lock)
        """Told when batches have been applied; waited on by readers."""
        self.hurry = threading.Event()
        """Set by whoever waits for the applier, which otherwise lets batches gather for a moment."""
        self.tip = tip
        self.recorded_at = recorded_at
        self.applied = tip.batch
        self.failing: str | None = None
        """Why the database cannot be written at the moment; the journal still can."""
        self._failures = 0
        self._database = database
        self._waiting = 0
        self._following = 0
        self._heads: dict[str, int] = {}
        self._heads_complete = False
        self._head_misses = 0
        self._pending: dict[str, deque[Event]] = {}
        self._backlog = 0
        self._recent: deque[Event] = deque(maxlen=RECENT_MAX)
        self._states: OrderedDict[str, State] = OrderedDict()
        self.keys = Keys(database)

    @property
    def backlog(self) -> int:
        """Events acknowledged and not yet folded."""
        return self._backlog

    @property
    def waited_for(self) -> bool:
        return self._waiting > 0

    # The writer's side

    def head_of(self, stream: str) -> int:
        """A stream's version by the last acknowledged event. Called by the writer only.

        A stream that is not in `_heads` has not been appended to since the log was opened, so the database is right
        about it however far it lags.
        """
        head = self._heads.get(stream)
        if head is None:
            if self._heads_complete:
                return 0
            head = self._look_up(stream)
        return head

    def _look_up(self, stream: str) -> int:
        self._head_misses += 1
        if self._head_misses > HEAD_MISSES_MAX:
            rows = self._database.query("SELECT stream, max(stream_version) FROM event GROUP BY stream")
            with self.lock:
                for name, version in rows:
                    self._heads.setdefault(name, version)
                self._heads_complete = True
            return self._heads.get(stream, 0)
        ((version,),) = self._database.query(
            "SELECT coalesce(max(stream_version), 0) FROM event WHERE stream = ?", [stream]
        )
        with self.lock:
            return self._heads.setdefault(stream, version)

    def key_taken(self, key: str) -> bool:
        return self.keys.taken(key)

    def publish(self, batch: Batch, heads: dict[str, int], tip: Tip, recorded_at: datetime) -> None:
        """The batch is durable: from now on everybody sees it."""
        if batch.keys:
            self.keys.recorded(batch.number, batch.keys)
        with self.lock:
            self._heads.update(heads)
            pending = self._pending
            for event in batch.events:
                waiting = pending.get(event.stream)
                if waiting is None:
                    pending[event.stream] = deque((event,))
                else:
                    waiting.append(event)
            self._backlog += len(batch.events)
            self._recent.extend(batch.events)
            self.tip = tip
            self.recorded_at = recorded_at
            if self._following:
                self.grown.notify_all()

    # The applier's side

    def unknown_bases(self, batches: Iterable[Batch]) -> set[str]:
        """Streams that these batches go on with and whose state is not in memory."""
        seen: set[str] = set()
        missing: set[str] = set()
        for batch in batches:
            for event in batch.events:
                if event.stream not in seen:
                    seen.add(event.stream)
                    if event.stream_version > 1 and event.stream not in self._states:
                        missing.add(event.stream)
        return missing

    def fold(self, batches: Sequence[Batch], bases: dict[str, State]) -> dict[str, State]:
        """Fold acknowledged events into the states in memory; answers the touched ones, which nobody else changes."""
        touched: dict[str, State] = {}
        for batch in batches:
            for start in range(0, len(batch.events), FOLD_SLICE):
                with self.lock:
                    for event in batch.events[start : start + FOLD_SLICE]:
                        self._fold_one(event, bases, touched)
        return touched

    def _fold_one(self, event: Event, bases: dict[str, State], touched: dict[str, State]) -> None:
        stream = event.stream
        state = self._states.get(stream)
        if state is None:
            state = bases.get(stream) or empty_state(stream)
            if state is not None:
                self._states[stream] = state
        if state is not None:
            apply(state, event)
            touched[stream] = state
        waiting = self._pending.get(stream)
        if waiting:
            waiting.popleft()
            if not waiting:
                del self._pending[stream]
            self._backlog -= 1

    def applied_to(self, batch: int) -> None:
        """The database holds everything up to a batch."""
        self.keys.applied_to(batch)
        with self.lock:
            self.applied = batch
            self.failing = None
            while len(self._states) > STATES_MAX:
                self._states.popitem(last=False)
            if self._waiting:
                self.settled.notify_all()

    def failed(self, why: str) -> None:
        with self.lock:
            self.failing = why
            self._failures += 1
            self.settled.notify_all()

    def restart(self, tip: Tip, recorded_at: datetime) -> None:
        """After an import: everything is in the database, nothing is pending."""
        with self.lock:
            self._states.clear()
            self._recent.clear()
            self._heads.clear()
            self._heads_complete = False
            self._head_misses = 0
            self.tip = tip
            self.applied = tip.batch
            self.recorded_at = recorded_at
            self.grown.notify_all()

    # The readers' side

    def settle(self) -> None:
        """Wait until everything that is acknowledged now has been applied. Raises UnavailableError if it cannot be."""
        target = self.tip.batch
        if self.applied >= target:
            return
        with self.lock:
            failures = self._failures
            self._wait_for_applier(lambda: self.applied >= target or self._failures > failures, SETTLE_S)
            if self.applied < target:
                why = self.failing or f"the database is still busy after {SETTLE_S:.0f} s"
                raise UnavailableError(
                    f"what was just recorded is safe in the journal and cannot be read yet: {why}", retry_after_s=1
                )

    def wait_for_backlog(self, events_max: int, timeout_s: float) -> bool:
        """Whether the database can be written and no more than so many events wait for it."""
        with self.lock:
            self._wait_for_applier(lambda: self.failing is not None or self._backlog <= events_max, timeout_s)
            return self.failing is None and self._backlog <= events_max

    def _wait_for_applier(self, until: Callable[[], bool], timeout_s: float) -> None:
        self._waiting += 1
        self.hurry.set()
        try:
            self.settled.wait_for(until, timeout_s)
        finally:
            self._waiting -= 1

    def wait(self, after: int, timeout_s: float) -> int:
        with self.lock:
            self._following += 1
            try:
                self.grown.wait_for(lambda: self.tip.position > after, timeout_s)
            finally:
                self._following -= 1
            return self.tip.position

    def recent(self, after: int, until: int) -> list[Event] | None:
        """The acknowledged events in (after, until]; None where memory does not reach back so far."""
        with self.lock:
            newest = self.tip.position
            if after < newest - len(self._recent):
                return None
            return list(islice(reversed(self._recent), newest - until, newest - after))[::-1]

    def load(self, stream: str) -> State | None:
        """A copy of the state as of everything acknowledged; None when the stream does not exist."""
        if empty_state(stream) is None:
            return None
        for _ in range(LOAD_TRIES):
            found, state = self._in_memory(stream)
            if found:
                return state
            if self._is_absent(stream, self.stored([stream]).get(stream)):
                return None
        self.settle()
        return self.stored([stream]).get(stream)

    def _in_memory(self, stream: str) -> tuple[bool, State | None]:
        """(whether memory can tell, the state)"""
        with self.lock:
            base = self._states.get(stream)
            waiting = tuple(self._pending.get(stream, ()))
            if base is not None:
                self._states.move_to_end(stream)
                state = copy_of(base)
            elif waiting and waiting[0].stream_version == 1:
                state = empty_state(stream)
            else:
                return (self._heads_complete or stream in self._heads) and not self._heads.get(stream), None
        assert state is not None
        for event in waiting:
            apply(state, event)
        return True, state

    def _is_absent(self, stream: str, state: State | None) -> bool:
        """Whether a stream that the database lacks does not exist.

        What the database has is kept, if with what is pending it makes the whole stream.
        """
        with self.lock:
            if stream in self._states:
                return False
            version = 0 if state is None else state.stream_version
            head = self._heads.get(stream)
            if head is None and version:
                self._heads[stream] = version
            elif version + len(self._pending.get(stream, ())) != (head or 0):
                return False
            if state is not None:
                self._states[stream] = state
            return state is None and not head

    def stored(self, streams: Iterable[str]) -> dict[str, State]:
        """States as the database has them, of streams that it has."""
        return self._database.asked(lambda cursor: stored_states(cursor, streams))
