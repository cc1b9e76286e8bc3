"""The sweep: one list of what a connection's account has, compared with the log; what is new becomes events.

It decides nothing about what it finds: that is the plan's, by policy. Each finding is an append of its own, and finding
it again gives nothing, so a sweep that was killed half-way is simply made again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from providers.errors import ProviderError, RejectedError
from providers.ports import DeploymentReport
from registry.application.ports import DeploymentQuery, VersionQuery
from registry.application.unit import Command, Unit
from registry.domain import deploying, sweeping
from registry.domain.events import NewEvent
from registry.domain.ids import numbers_in
from registry.domain.plan import Action, Step
from registry.domain.states import ConnectionState, DeploymentState, VersionState
from registry.domain.sweeping import Sweep, compare, parted
from registry.domain.versions import Who
from registry.reconciler.curves import Curves
from registry.reconciler.idling import Idling
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import Done, Waiting
from registry.reconciler.sweeping_jobs import SweepingJobs

logger = logging.getLogger("tenure.reconciler")


class Sweeping(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.jobs = SweepingJobs(parts)
        self._idling = Idling(parts)
        self._curves = Curves(parts)
        self.performers: dict[Action, Callable[[Step], Done]] = {Action.SWEEP: self.sweep, **self.jobs.performers}

    def sweep(self, step: Step) -> Done:
        connection, found = self.look(step.connection)
        self._clean_up(connection)
        self._curves.read_late(connection)
        self._idling.ask(connection, found.present)
        for owner, report in found.present:
            if owner.orphan:
                self._misses.shown(owner)
                self._commit(owner, report)
        for owner, report in found.accepted:
            self._accept(owner, report)
        for report, original in found.orphans:
            self._record_orphan(connection, report, original)
        for owner, report in found.reappeared:
            self._reopen(owner, report)
        if found.foreign or found.foreign_gone:
            self._record_foreign(connection.name, found)
        lost = [one for one in found.missing if self._miss(one)]
        jobs = self.jobs.sweep(connection)
        if not (found.is_news or found.missing or jobs):
            return Waiting()
        told = "; ".join([*sentences(found), *jobs])
        return told if found.is_news or lost or jobs else Waiting(told)

    def look(self, name: str) -> tuple[ConnectionState, Sweep]:
        """One list, then the log; changes nothing. Strays are read once more by themselves: a list may be stale."""
        provider = self._providers.of(self._connection(name))
        shown = provider.deployments.list()
        connection = self._connection(name)
        found = compare(connection, self._log.deployments(DeploymentQuery(connection=name, live=True)), shown)
        if found.orphans or found.foreign:
            mine, elsewhere = parted(self._log.deployments(DeploymentQuery()), name, self._log.connections())
            found = compare(connection, mine, shown, elsewhere=elsewhere)
        if not (found.orphans or found.reappeared or found.missing):
            return connection, found
        doors = provider.deployments
        return connection, replace(
            found,
            orphans=tuple(one for one in found.orphans if doors.get(one[0].id) is not None),
            reappeared=tuple(one for one in found.reappeared if doors.get(one[1].id) is not None),
            missing=tuple(one for one in found.missing if doors.get(one.provider_id or one.name) is None),
        )

    def _clean_up(self, connection: ConnectionState) -> None:
        """Training data that no job needs any more. What could not be deleted is tried at the next sweep."""
        name, provider = connection.name, self._providers.of(connection)
        if not provider.capabilities.fine_tuning:
            return
        try:
            for gone in provider.training.clean_up():
                logger.info("%s: deleted %s, which no job needs any more", name, gone)
        except ProviderError as error:
            logger.warning("%s: training data is not cleaned up: %s", name, error.message)

    def _accept(self, owner: DeploymentState, report: DeploymentReport) -> None:
        assert owner.requested_at is not None
        since = min(max(report.created_at or owner.requested_at, owner.requested_at), self._clock())
        who = Who(actor=f"provider:{owner.connection}", reason="found under the name of its intent")

        def decide(current: DeploymentState) -> list[NewEvent]:
            if current.state != "requested":
                return []
            return deploying.accepted(
                current, provider_id=report.id, billed_from=since, who=who, committed_until=report.committed_until
            )

        self._append(owner.id, decide)

    def _commit(self, orphan: DeploymentState, report: DeploymentReport) -> None:
        """Nobody else looks at an orphan. Its commitment may show late, or be renewed."""
        if report.committed_until in {None, orphan.committed_until}:
            return
        since, until = orphan.billed_from or self._clock(), report.committed_until
        who = Who(actor=f"provider:{orphan.connection}", reason="it is committed")

        def decide(current: DeploymentState) -> list[NewEvent]:
            return deploying.accepted(current, provider_id=report.id, billed_from=since, who=who, committed_until=until)

        self._append(orphan.id, decide)

    def _record_orphan(
        self, connection: ConnectionState, report: DeploymentReport, original: DeploymentState | None
    ) -> None:
        who = Who(actor=f"provider:{connection.name}", reason="it bears our tag, and no intent of ours names it")
        events = sweeping.orphan_found(
            connection,
            report,
            price=self._commands.price(connection, report),
            suspected=self._suspected(connection.name, report),
            duplicate_of=original,
            now=self._clock(),
            who=who,
        )
        found = events[0].stream.partition(":")[2]

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            return (events if unit.deployment(found) is None else []), {}

        self._door.run(Command(name="orphan-found", body={"id": report.id}, who=who), decide)
        self._misses.seen(found)

    def _suspected(self, connection: str, report: DeploymentReport) -> VersionState | None:
        """The version of the number in its name whose artifact serves there."""
        numbers = numbers_in(report.name)
        if numbers is None or report.artifact_id is None:
            return None
        served = self._log.versions(VersionQuery(connection=connection, artifact=report.artifact_id)).items
        return next((one for one in served if one.version == numbers[0]), None)

    def _reopen(self, owner: DeploymentState, report: DeploymentReport) -> None:
        who = Who(actor=f"provider:{owner.connection}", reason="it was gone, and is there again")
        self._append(owner.id, lambda current: sweeping.reappeared(current, report, who))

    def _record_foreign(self, name: str, found: Sweep) -> None:
        who = Who(actor=f"provider:{name}", reason="not provably ours: shown, never touched")

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            current = unit.connection(name)
            return ([] if current is None else sweeping.strangers(current, found, who)), {}

        self._door.run(Command(name="foreign", body={"name": name}, who=who), decide)

    def _miss(self, one: DeploymentState) -> bool:
        """One more read that does not show it. An orphan is watched by the sweep alone: whether it is lost now."""
        if not one.orphan or self._misses.miss(one, needed=self._looks.absence).reads < self._looks.absence:
            return False
        who = Who(actor=f"provider:{one.connection}")
        seen_at = self._misses.last_seen(one)
        self._append(one.id, lambda current: deploying.lost(current, None, last_seen_at=seen_at, who=who))
        return True

    def _append(self, id: str, decide: Callable[[DeploymentState], list[NewEvent]]) -> None:
        def decision(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            current = unit.deployment(id)
            return ([] if current is None else decide(current)), {}

        command = Command(name="sweep", body={"id": id}, who=Who(actor="scheduler"))
        self._door.run(command, decision, because=self._log.deployment(id))

    def _connection(self, name: str) -> ConnectionState:
        connection = self._log.connection(name)
        if connection is None or connection.removed:
            raise RejectedError(f"connection {name!r} is not declared", operation="connect")
        return connection


def sentences(found: Sweep) -> list[str]:
    """What a sweep found, for people."""
    return [
        *(f"{one.name} is there: the create of {owner.id} has happened" for owner, one in found.accepted),
        *(
            f"{one.name} bears our tag and has no owner ({one.status})"
            if original is None
            else f"{one.id} is a second {one.name}, beside {original.id}"
            for one, original in found.orphans
        ),
        *(f"{one.name} is back, and {owner.id} was {owner.state}" for owner, one in found.reappeared),
        *(f"{one.name} is not ours ({one.status})" for one in found.foreign),
        *(f"{one.name} is no longer there as a foreign one" for one in found.foreign_gone),
        *(f"{one.name} is not shown, and {one.id} serves" for one in found.missing),
    ]
