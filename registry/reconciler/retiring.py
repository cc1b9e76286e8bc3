"""When base models are taken away, asked of each connection once a day: a new date is an event of each version."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date

from registry.application.ports import VersionQuery
from registry.application.unit import Command, Unit
from registry.domain import retirement
from registry.domain.events import NewEvent
from registry.domain.plan import Action, Step
from registry.domain.states import VersionState
from registry.domain.versions import Who, ref_of
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import Done, Waiting

logger = logging.getLogger("tenure.retirement")

CONCERNED = frozenset({"queued", "training", "trained", "deploying", "active", "retired"})
"""States of a version that somebody may still want to serve."""


class Retiring(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._warned: set[tuple[str, date, int]] = set()
        self.performers: dict[Action, Callable[[Step], Done]] = {Action.READ_RETIREMENTS: self.read}

    def read(self, step: Step) -> Done:
        connection = self._log.connection(step.connection)
        if connection is None or connection.removed:
            return Waiting()
        concerned = self._log.versions(VersionQuery(connection=step.connection, states=CONCERNED)).items
        provider = self._providers.of(connection)
        names = {one.base_model for one in concerned if one.base_model is not None}
        days = {name: provider.retires_on(name) for name in sorted(names)}
        changed = [one for one in concerned if one.base_model in days and one.retires_on != days[one.base_model]]
        for version in changed:
            self._announce(version, days[version.base_model or ""])
        self._warn(days)
        return f"{len(changed)} versions have another day of retirement" if changed else Waiting()

    def _announce(self, version: VersionState, retires_on: date | None) -> None:
        ref, who = ref_of(version), Who(actor=f"provider:{version.connection}")

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            now = unit.version(ref)
            if now is None:
                return [], {}
            return retirement.announced(ref, now.base_model, retires_on, now.retires_on, who), {}

        self._door.run(Command(name="retirement", body={"ref": str(ref)}, who=who), decide, because=version)

    def _warn(self, days: dict[str, date | None]) -> None:
        now = self._clock()
        for name, retires_on in days.items():
            if retires_on is None:
                continue
            left = retirement.days_left(retires_on, now)
            crossed = next((days for days in retirement.WARNED_DAYS if left <= days), None)
            if crossed is not None and (name, retires_on, crossed) not in self._warned:
                self._warned.add((name, retires_on, crossed))
                logger.warning("%s is taken away by its provider in %d days", name, left)
