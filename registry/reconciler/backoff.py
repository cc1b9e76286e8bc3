"""When to try again: exponential with full jitter, per subject and action; a provider's Retry-After comes first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

BASE_S = 1.0
CAP_S = 300.0
EXPONENT_MAX = 16


class Backoff:
    """Remembers failures in memory only: after a restart everything is tried at once, which is safe and soon known."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures: dict[tuple[str, str], int] = {}
        self._not_before: dict[tuple[str, str], datetime] = {}
        self._next_look: dict[tuple[str, str], datetime] = {}

    def wait_until(self, subject: str, action: str, *, looks: bool) -> datetime | None:
        """Not to be done before this; `looks` False leaves out the pace of looking, for a pass asked for now."""
        key = (subject, action)
        held = self._not_before.get(key)
        look = self._next_look.get(key) if looks else None
        if held is None or look is None:
            return held or look
        return max(held, look)

    def failed(self, subject: str, action: str, now: datetime, *, retry_after_s: float | None = None) -> None:
        key = (subject, action)
        count = self._failures[key] = self._failures.get(key, 0) + 1
        spread = min(CAP_S, BASE_S * 2 ** min(count - 1, EXPONENT_MAX)) * self._jitter()
        self._not_before[key] = now + timedelta(seconds=max(retry_after_s or 0.0, spread))

    def later(self, subject: str, action: str, not_before: datetime) -> None:
        """Not a failure: the next look at something that takes its time."""
        self._next_look[subject, action] = not_before

    def went_back(self, by: timedelta) -> None:
        """The clock did: what was to wait for a minute does not wait for an hour."""
        for times in (self._not_before, self._next_look):
            for key, time in list(times.items()):
                times[key] = time - by

    def succeeded(self, subject: str, action: str) -> None:
        self._failures.pop((subject, action), None)
        self._not_before.pop((subject, action), None)
        self._next_look.pop((subject, action), None)
