"""When each deployment was last called: what the chat path recorded, and what providers tell of their own metrics."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from registry.application.ports import Clock, EventLog

FRESH = timedelta(seconds=30)
"""How old an answer may be that only plans; whoever deletes asks again."""


class Uses:
    """What providers told is remembered only here: after a restart it is told again by the next sweep."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[str, datetime] = {}
        self._settled: dict[str, datetime] = {}
        self._recorded: tuple[datetime, Mapping[str, datetime]] | None = None

    def told(self, deployment: str, at: datetime | None, *, until: datetime) -> None:
        """The provider says that nobody called it after `at`; None: it does not say. It knows of calls `until` then."""
        with self._lock:
            self._settled[deployment] = until
            if at is not None:
                self._told[deployment] = max(at, self._told.get(deployment, at))

    def settled(self, deployment: str, at: datetime) -> bool:
        """Whether its provider has been asked for calls up to this moment."""
        with self._lock:
            until = self._settled.get(deployment)
        return until is not None and until >= at

    def all(self) -> Mapping[str, datetime]:
        now = self._clock()
        with self._lock:
            known = self._recorded
            if known is None or not known[0] <= now <= known[0] + FRESH:
                known = self._recorded = (now, self._log.last_used())
            return _later(known[1], self._told)

    def of(self, deployment: str) -> datetime | None:
        """As it is now."""
        recorded = self._log.last_used()
        with self._lock:
            return _later(recorded, self._told).get(deployment)


def _later(recorded: Mapping[str, datetime], told: Mapping[str, datetime]) -> Mapping[str, datetime]:
    if not told:
        return recorded
    both = dict(recorded)
    for deployment, at in told.items():
        both[deployment] = max(at, both.get(deployment, at))
    return both
