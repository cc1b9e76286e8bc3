"""Moves of a version that exists: activate, retire, cancel, retry, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry.application.commands.shared import Shared
from registry.application.ports import DeploymentQuery, VersionQuery
from registry.application.unit import Unit
from registry.domain import budget, deploying, versions
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.domain.policy import Policy
from registry.domain.states import VersionState
from registry.domain.versions import Who, ref_of, refused


class Moves(Shared):
    def activate(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            return self.activation(unit, self._version(unit, ref), who), {}

        with self.limits.money:
            self._run("activate", ref, decide, who, key, expected)

    def activation(self, unit: Unit, version: VersionState, who: Who) -> Sequence[NewEvent]:
        """The decision to activate, with what stands against it. Raises RefusedError."""
        model = self._model(unit, version.model)
        policy = self.limits.policy(model)
        moving = self._log.versions(VersionQuery(model=version.model, states=frozenset({"deploying"}))).items
        others = [self._version(unit, ref_of(one)) for one in moving if one.version != version.version]
        events = versions.activate(model, version, policy, others, who)
        if events and version.state not in {"active", "deploying"}:
            self._check_activation(version, policy)
        return events

    def _check_activation(self, version: VersionState, policy: Policy) -> None:
        """Refuse now what could only be abandoned later: a deployment that nobody may make, or that costs too much."""
        connection = self._log.connection(version.connection)
        if connection is None or connection.removed:
            raise refused(version, f"{ref_of(version)}: its connection {version.connection!r} is no longer declared")
        provider = self._providers.of(connection)
        if provider.capabilities.serving == "none":
            return
        mine = self._log.deployments(DeploymentQuery(model=version.model, version=version.version, live=True))
        if deploying.usable(mine) is not None:
            return
        if policy.deploy == "manual":
            raise refused(
                version,
                f"{ref_of(version)} has no deployment, and the policy of {version.model} says deploy = manual",
                hint=f"run: tenure deploy {ref_of(version)}",
            )
        self.limits.check_space()
        _, spending = self.limits.spending(version.model, activating=version)
        budget.check_deployment(policy, self.price(connection, base_model=version.base_model), spending)

    def retire(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            return versions.retire(self._model(unit, ref.model), self._version(unit, ref), who), {}

        self._run("retire", ref, decide, who, key, expected)

    def cancel(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        self._run("cancel", ref, lambda unit: (versions.cancel(self._version(unit, ref), who), {}), who, key, expected)

    def retry(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            version = self._version(unit, ref)
            events = versions.retry(version, who)
            if events:
                price = self.training_price(version.connection, version.base_model)
                self._check_training(ref.model, version.cost_estimated, price.currency if price is not None else None)
            return events, {}

        with self.limits.money:
            self._run("retry", ref, decide, who, key, expected)

    def delete(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        self._run("delete", ref, lambda unit: (versions.delete(self._version(unit, ref), who), {}), who, key, expected)
