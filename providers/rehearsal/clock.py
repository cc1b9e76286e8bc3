"""The emulators' time: real by default, and the test's to freeze, set and advance.

`now` orders what happens and what is billed, and is never moved backwards by a jump. `told` is what the emulators
write into their answers; a jump moves only that, as a provider's clock would that is wrong.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """`speed`: virtual seconds for each real one; 0 stands still. Calling the clock is asking for `now`."""

    def __init__(self, start: datetime | None = None, *, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._real = time.monotonic()
        self._base = start or datetime.fromtimestamp(time.time(), UTC)
        self._speed = speed
        self._skew = timedelta()

    def now(self) -> datetime:
        with self._lock:
            return self._now()

    __call__ = now

    def told(self, at: datetime | None = None) -> datetime:
        """A moment (by default now) as the emulators tell it, wrong by as much as the clock has jumped."""
        return (at or self.now()) + self._skew

    def freeze(self, at: datetime | None = None) -> None:
        self._rebase(at, speed=0.0)

    def set(self, at: datetime) -> None:
        """Stand at a moment, and still; earlier than now is refused, because what was billed stays billed."""
        if at < self.now():
            raise ValueError(f"{at} is earlier than the clock's {self.now()}; use `jump` for a clock that is wrong")
        self._rebase(at, speed=0.0)

    def advance(self, seconds: float) -> datetime:
        if seconds < 0:
            raise ValueError("time only goes forward; use `jump` for a clock that is wrong")
        return self._rebase(self.now() + timedelta(seconds=seconds), speed=self._speed)

    def run(self, *, speed: float = 1.0) -> None:
        self._rebase(None, speed=speed)

    def jump(self, seconds: float) -> None:
        """From here on, every date in an answer is wrong by so much more, either way."""
        self._skew += timedelta(seconds=seconds)

    def _rebase(self, at: datetime | None, *, speed: float) -> datetime:
        with self._lock:
            self._base = at or self._now()
            self._real = time.monotonic()
            self._speed = speed
            return self._base

    def _now(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._real) * self._speed)
