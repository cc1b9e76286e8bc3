"""When to try again: exponential with full jitter, per subject and action; a provider's Retry-After comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

BASE_S = 1.0
CAP_S = 300.0
EXPONENT_MAX = 16


@dataclass(slots=True)
class _Held:
    failures: int = 0
    not_before: datetime | None = None
    next_look: datetime | None = None
    error: str | None = None


class Backoff:
    """Remembers failures in memory only: after a restart everything is tried at once, which is safe and soon known."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._held: dict[tuple[str, str], _Held] = {}

    def wait_until(self, subject: str, action: str, *, looks: bool) -> datetime | None:
        """Not to be done before this; `looks` False leaves out the pace of looking, for a pass asked for now."""
        held = self._held.get((subject, action))
        if held is None:
            return None
        if held.not_before is None or held.next_look is None or not looks:
            return held.not_before or (held.next_look if looks else None)
        return max(held.not_before, held.next_look)

    def why(self, subject: str, action: str) -> str:
        """What is held has failed, and with what."""
        held = self._held.get((subject, action))
        told = "it failed and is tried again"
        return told if held is None or held.error is None else f"{held.error}; {told}"

    def failed(
        self, subject: str, action: str, now: datetime, *, error: str | None = None, retry_after_s: float | None = None
    ) -> None:
        held = self._of(subject, action)
        held.failures += 1
        held.error = error
        spread = min(CAP_S, BASE_S * 2 ** min(held.failures - 1, EXPONENT_MAX)) * self._jitter()
        held.not_before = now + timedelta(seconds=max(retry_after_s or 0.0, spread))

    def later(self, subject: str, action: str, not_before: datetime) -> None:
        """Not a failure: the next look at something that takes its time."""
        self._of(subject, action).next_look = not_before

    def went_back(self, by: timedelta) -> None:
        """The clock did: what was to wait for a minute does not wait for an hour."""
        for held in list(self._held.values()):
            held.not_before = held.not_before and held.not_before - by
            held.next_look = held.next_look and held.next_look - by

    def succeeded(self, subject: str, action: str) -> None:
        self._held.pop((subject, action), None)

    def _of(self, subject: str, action: str) -> _Held:
        held = self._held.get((subject, action))
        if held is None:
            held = self._held[subject, action] = _Held()
        return held
