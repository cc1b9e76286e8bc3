"""Reads in a row that did not show a deployment: on record, because the next read may be another process's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry.application.ports import Clock, EventLog
from registry.application.unit import Command, Door, Unit
from registry.domain.events import DeploymentNotShown, DeploymentShownAgain, NewEvent
from registry.domain.ids import deployment_stream
from registry.domain.states import DeploymentState
from registry.domain.versions import Who


@dataclass(frozen=True, slots=True)
class Missed:
    """The first of the reads was at `since`."""

    since: datetime
    reads: int


class Misses:
    def __init__(self, log: EventLog, door: Door, clock: Clock) -> None:
        self._log = log
        self._door = door
        self._clock = clock
        self._seen: dict[str, datetime] = {}
        """When this process last saw each. About 100 bytes for each that it ever saw."""

    def miss(self, one: DeploymentState, *, needed: int) -> Missed:
        """One more. The last of those that are needed is not told by itself: what follows from it is."""
        known = self._log.deployment(one.id) or one
        missed = Missed(known.missed_since or self._clock(), known.missed_reads + 1)
        if missed.reads < needed:
            seen_at = None if known.missed_reads else self.last_seen(known)
            self._tell(one, DeploymentNotShown(deployment=one.id, reads=missed.reads, last_seen_at=seen_at))
        return missed

    def shown(self, one: DeploymentState) -> None:
        self.seen(one.id)
        if one.missed_reads:
            self._tell(one, DeploymentShownAgain(deployment=one.id))

    def seen(self, id: str) -> None:
        self._seen[id] = self._clock()

    def last_seen(self, one: DeploymentState) -> datetime | None:
        """Before reads began to miss it. As far as the log tells, where this process never saw it."""
        known = self._log.deployment(one.id) or one
        return known.last_seen_at or self._seen.get(one.id) or known.serving_at or known.billed_from

    def _tell(self, one: DeploymentState, payload: DeploymentNotShown | DeploymentShownAgain) -> None:
        who = Who(actor=f"provider:{one.connection}")

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            unit.deployment(one.id)
            return [who.says(deployment_stream(one.id), payload)], {}

        self._door.run(Command(name="missed", body={"id": one.id}, who=who), decide, because=one)
