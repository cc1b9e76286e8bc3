"""Time and ids that are set by hand."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from registry import system

EPOCH = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Stands still but for `tick`, which every question moves it on by, so that no two times are the same."""

    def __init__(self, start: datetime = EPOCH, *, tick: timedelta = timedelta(milliseconds=1)) -> None:
        self.time = start
        self._tick = tick
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self.time += self._tick
            return self.time

    def advance(self, **span: float) -> datetime:
        with self._lock:
            self.time += timedelta(**span)
            return self.time


class RealClock(FakeClock):
    """The real time, for what waits in real time."""

    def __call__(self) -> datetime:
        return system.now()


class SequentialIds:
    """1, 2, 3 … as 32 hex digits."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self._last += 1
            return f"{self._last:032x}"
