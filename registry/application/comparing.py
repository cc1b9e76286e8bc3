"""Registry and provider side by side: what the log says of each deployment, what the provider shows, how they differ.

Only looks: one list per connection. A connection that does not answer says so in its rows, or in one of its own: that
nothing is shown of it must not look as if it had nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC

from providers.errors import ProviderError
from providers.ports import DeploymentReport
from registry.application.commands.shared import provider_errors
from registry.application.ports import DeploymentQuery, EventLog, Providers, VersionQuery
from registry.application.reading import Reading
from registry.application.views import DeploymentView, SideBySideView
from registry.domain import sweeping
from registry.domain.deploying import GONE, other_artifact
from registry.domain.errors import TenureError
from registry.domain.events import Json
from registry.domain.states import ConnectionState, DeploymentState
from registry.domain.versions import ref_of

FOREIGN = "foreign: not provably ours, never touched"
ORPHAN = "orphan: it bears our tag, and no intent of this registry names it"


class Comparing:
    def __init__(self, log: EventLog, providers: Providers, reading: Reading) -> None:
        self._log = log
        self._providers = providers
        self._reading = reading

    def side_by_side(self, *, billed: bool | None = None, model: str | None = None) -> list[SideBySideView]:
        """Every deployment that the log has; then, unless a model or what is billed is asked for, what only providers
        have.
        """
        ours = self._reading.deployments(billed=billed, model=model)
        rows: dict[str, SideBySideView] = {one.id: SideBySideView(deployment=one) for one in ours}
        only_there: list[SideBySideView] = []
        connections = self._log.connections()
        asked = [one for one in connections if not one.removed and self._asked(one, ours, billed, model)]
        every = self._log.deployments(DeploymentQuery()) if asked else ()
        for connection in asked:
            try:
                there = self._look(connection, *sweeping.parted(every, connection.name, connections), rows)
            except (ProviderError, TenureError) as error:
                why = f"cannot be compared: {error.message}"
                its = {key: row for key, row in rows.items() if row.value("connection") == connection.name}
                rows |= {key: dataclasses.replace(row, difference=why) for key, row in its.items()}
                there = [] if its else [SideBySideView.of(connection, None, why)]
            only_there += there
        return [*rows.values(), *(only_there if billed is None and model is None else ())]

    def importable(self, connection: str) -> list[Json]:
        """The tuned models that a connection's account has, each with the versions here that have it: nobody knows one
        that has none. Raises NotFoundError, and what a provider answers as `provider_errors` has it.
        """
        provider = self._providers.of(self._reading.connection_state(connection))
        with provider_errors():
            found = provider.artifacts.list()
        known: dict[str, list[str]] = {}
        for one in self._log.versions(VersionQuery(connection=connection)).items:
            if one.artifact_id is not None and one.state != "deleted":
                known.setdefault(one.artifact_id, []).append(str(ref_of(one)))
        keys = ("id", "digest", "base_model", "kind")
        return [
            {**{key: getattr(one, key) for key in keys}, "versions": sorted(known.get(one.id, ()))} for one in found
        ]

    def _asked(
        self, connection: ConnectionState, ours: Sequence[DeploymentView], billed: bool | None, model: str | None
    ) -> bool:
        """Whether there is anything to compare at this connection: the others are not even opened."""
        if billed is None and model is None:
            return True
        return any(one.connection == connection.name and one.state not in GONE for one in ours)

    def _look(
        self,
        connection: ConnectionState,
        known: Sequence[DeploymentState],
        elsewhere: Sequence[DeploymentState],
        rows: dict[str, SideBySideView],
    ) -> list[SideBySideView]:
        provider = self._providers.of(connection)
        if provider.capabilities.serving == "none":
            return []
        shown = provider.deployments.list()
        found = sweeping.compare(connection, known, shown, elsewhere=elsewhere, all_foreign=True)
        for owner, report in (*found.present, *found.reappeared):
            row = rows.get(owner.id)
            if row is not None:
                difference = _difference(owner.state, report) or _detail(owner, report)
                rows[owner.id] = dataclasses.replace(row, provider_status=report.status, difference=difference)
        seen = {owner.id for owner, _ in found.present}
        for owner in known:
            row = rows.get(owner.id)
            if row is not None and owner.state not in GONE | {"requested", "deleting"} and owner.id not in seen:
                rows[owner.id] = dataclasses.replace(row, difference="the provider does not show it")
        orphans = [SideBySideView.of(connection, report, ORPHAN) for report, _ in found.orphans]
        return [*orphans, *(SideBySideView.of(connection, report, FOREIGN) for report in found.foreign)]


def _difference(state: str, report: DeploymentReport) -> str | None:
    if state in GONE:
        return f"it is {state} here, and the provider shows it"
    if state == "requested":
        return "the provider has it already"
    if state == "deleting" or (state, report.outcome) in {("serving", "serving"), ("provisioning", "provisioning")}:
        return None
    if state == "serving" and report.outcome != "serving":
        return f"it serves here, and the provider says {report.status}"
    if state == "provisioning" and report.outcome == "serving":
        return "the provider says that it serves; it has not answered a probe yet"
    return f"it is {state} here, and the provider says {report.status}"


def _detail(owner: DeploymentState, report: DeploymentReport) -> str | None:
    """What keeps it from being deleted; or that somebody has moved it, past the registry."""
    if owner.state == "deleting":
        until = report.committed_until
        return until and f"it is committed, and billed, until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    other = other_artifact(owner, report.artifact_id)
    return other and f"it serves another model there: {other}"
