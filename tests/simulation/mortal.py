"""A log whose process may be killed at each commit, in front of the real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from registry.application.ports import EventLog, LogTools
from tests.simulation.sky import Sky

ASKED = {name for name in (*vars(EventLog), *vars(LogTools)) if not name.startswith("_")} - {"append"}
"""What a log can be asked for, but for an append."""


class MortalLog:
    """A log whose process may be killed right before or right after an append is durable."""

    def __init__(self, log: Any, sky: Sky, *, forgets: bool = False) -> None:
        self._sky = sky
        self.rate = 0.0
        self.forgets = forgets
        """A planted bug: acknowledges, now and then, what it did not keep."""
        self.acknowledged: dict[int, str] = {}
        self.stand_before(log)

    def stand_before(self, log: Any) -> None:
        """From now on everything is asked of this one; all but appends, without a detour."""
        self._log = log
        for name in ASKED:
            setattr(self, name, getattr(log, name))

    def append(self, events: Any, **options: Any) -> Any:
        lot = self._sky.random.random()
        if lot < self.rate / 2:
            self._sky.tell("    log    killed before the commit")
            self._sky.die()
        if self.forgets and events and lot > 1 - self.rate:
            return _Acknowledged(self._log.head(), ())
        appended = self._log.append(events, **options)
        for event in appended.events:
            self._sky.tell(f"    event  {event.position} {event.stream} {event.type}  by {event.actor}")
        if lot < self.rate:
            self._sky.tell("    log    killed after the commit")
            self._sky.die()
        for event in appended.events:
            self.acknowledged[event.position] = event.hash
        return appended


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    position: int
    events: tuple[Any, ...]
