"""What exists in the emulated clouds, since when it bills, and how often each call was made: the tests' yardstick.

A thing is a timeline, not a row: when it was there and what its status was at each moment. So a stale list is a look at
an earlier moment, a job moves without a thread that moves it, and one that is gone can still be asked what it cost.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast

Json = dict[str, Any]
Unit = Literal["hour", "month"]
CALLS_KEPT = 100_000
_MINUTE = timedelta(minutes=1)


def table(value: object) -> Json:
    """A JSON object as it came; empty if it is none."""
    return cast("Json", value) if isinstance(value, dict) else {}


def tables(value: object) -> list[Json]:
    """A JSON array of objects; empty if it is none, and what is no object is an empty one."""
    return [table(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledInterval:
    """Billed from, to (None: still), so many units (`hour`: by the hour times `quantity`, `month`: for storage)."""

    start: datetime
    end: datetime | None
    unit: Unit
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`status` 0: the caller got no answer. `fault`: the kind that was put in the way."""

    operation: str
    at: datetime
    status: int
    fault: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Thing:
    """`kind` is as `azure.deployment`; `account` is what holds it; `body` is the emulator's own bookkeeping."""

    kind: str
    id: str
    name: str
    account: str
    created_at: datetime
    serial: int = 0
    body: Json = field(default_factory=dict[str, Any])
    phases: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    spans: list[tuple[datetime, datetime | None]] = field(default_factory=list[tuple[datetime, "datetime | None"]])
    bills: tuple[Unit, int] | None = None
    last_used_at: datetime | None = None
    uses: int = 0
    used: Counter[datetime] = field(default_factory=Counter[datetime])
    """Calls by the minute in which they came."""

    def exists(self, at: datetime) -> bool:
        return any(start <= at and (end is None or at < end) for start, end in self.spans)

    def status(self, at: datetime) -> str:
        index = bisect_right(self.phases, at, key=lambda phase: phase[0])
        return self.phases[max(index - 1, 0)][1]

    def since(self, at: datetime) -> datetime:
        """When the status that it has at a moment began."""
        index = bisect_right(self.phases, at, key=lambda phase: phase[0])
        return self.phases[max(index - 1, 0)][0]

    def begin(self, at: datetime, word: str) -> None:
        """From this moment its status is this, and nothing that was planned for later happens."""
        self.phases = [phase for phase in self.phases if phase[0] < at] + [(at, word)]

    def end(self, at: datetime, *, back_at: datetime | None = None) -> None:
        """It is there no longer from this moment; `back_at`: and comes back, as a delete that did not last."""
        kept: list[tuple[datetime, datetime | None]] = [
            (start, at if end is None or end > at else end) for start, end in self.spans if start < at
        ]
        self.spans = [*kept, (back_at, None)] if back_at else kept

    def use(self, at: datetime) -> None:
        self.uses += 1
        self.last_used_at = at
        self.used[at.replace(second=0, microsecond=0)] += 1

    def used_by_hour(self, from_: datetime, to: datetime) -> dict[datetime, int]:
        """Calls in each hour in which there were any, of the minutes that ended by `to`."""
        found: Counter[datetime] = Counter()
        for minute, count in self.used.items():
            if from_ <= minute and minute + _MINUTE <= to:
                found[minute.replace(minute=0)] += count
        return dict(sorted(found.items()))

    def billed_intervals(self) -> tuple[BilledInterval, ...]:
        """In order; an end in the future is an end that is already certain (a deletion under way)."""
        if self.bills is None:
            return ()
        unit, quantity = self.bills
        return tuple(BilledInterval(start=start, end=end, unit=unit, quantity=quantity) for start, end in self.spans)


class Truth:
    """Everything that ever was, in order. Tests read it, and reach behind the registry's back with it."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._kinds: dict[str, list[Thing]] = {}
        self._index: dict[tuple[str, str], Thing] = {}
        self._serial = 0
        self.calls: Counter[str] = Counter()
        self.log: deque[Call] = deque(maxlen=CALLS_KEPT)

    def things(self, kind: str | None = None, *, at: datetime | None = None) -> list[Thing]:
        """What is there (now, or at a moment), oldest first."""
        moment = at or self._now()
        return [thing for thing in self.ever(kind) if thing.exists(moment)]

    def ever(self, kind: str | None = None) -> list[Thing]:
        """What is or was there, oldest first."""
        with self._lock:
            if kind is not None:
                return list(self._kinds.get(kind, ()))
            return sorted((thing for things in self._kinds.values() for thing in things), key=lambda t: t.serial)

    def billed(self, at: datetime | None = None) -> list[Thing]:
        """What costs money by the hour (now, or at a moment), whether or not anyone calls it."""
        return [thing for thing in self.things(at=at) if thing.bills is not None and thing.bills[0] == "hour"]

    def one(self, name_or_id: str) -> Thing:
        """The newest thing, gone or not, of this name or id. Raises KeyError."""
        for thing in reversed(self.ever()):
            if name_or_id in {thing.id, thing.name}:
                return thing
        raise KeyError(name_or_id)

    def vanish(self, name_or_id: str) -> Thing:
        """Delete it behind everyone's back."""
        thing = self.one(name_or_id)
        thing.end(self._now())
        return thing

    def fail(self, name_or_id: str, message: str, *, word: str | None = None) -> Thing:
        """From now on it has failed, in its provider's own word, and says why."""
        thing = self.one(name_or_id)
        now = self._now()
        thing.begin(now, word or ("failed" if thing.kind in {"openai.job", "azure.job"} else "Failed"))
        thing.body["failure"] = message
        for product in thing.body.get("products", ()):
            if not product.exists(now):
                product.end(now)
        return thing

    def add(self, thing: Thing) -> Thing:
        with self._lock:
            self._serial += 1
            thing.serial = self._serial
            thing.spans = thing.spans or [(thing.created_at, None)]
            self._kinds.setdefault(thing.kind, []).append(thing)
            self._index[thing.kind, thing.id] = thing
            return thing

    def find(self, kind: str, id: str, at: datetime) -> Thing | None:
        """By id, if it is there at that moment."""
        thing = self._index.get((kind, id))
        return thing if thing is not None and thing.exists(at) else None

    def find_named(self, kind: str, name: str, at: datetime, *, account: str | None = None) -> Thing | None:
        for thing in reversed(self._kinds.get(kind, ())):
            if thing.name == name and account in {None, thing.account} and thing.exists(at):
                return thing
        return None

    def newest_first(self, kind: str, at: datetime, *, below: int | None = None) -> Iterator[Thing]:
        """`below`: go on after the thing with this serial, as a page does that follows another."""
        things: Sequence[Thing] = self._kinds.get(kind, ())
        stop = len(things) if below is None else bisect_right(things, below - 1, key=lambda t: t.serial)
        return (things[i] for i in range(stop - 1, -1, -1) if things[i].exists(at))

    def record(self, call: Call) -> None:
        with self._lock:
            self.calls[call.operation] += 1
            self.log.append(call)
