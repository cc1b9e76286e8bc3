"""Commands on deployments: a standby, what an activation needs, undeploy, attach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providers.ports import DeploymentReport, Provider
from registry.application.commands.shared import Shared, provider_errors
from registry.application.ports import DeploymentQuery
from registry.application.unit import Command, Unit
from registry.domain import budget, deploying, sweeping
from registry.domain.errors import NotFoundError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.domain.states import ConnectionState, DeploymentState, VersionState
from registry.domain.versions import Who, ref_of, refused


class Deployments(Shared):
    def deploy(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> str:
        """A standby, or what is there already. Answers the deployment's id."""

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            return self.standby(unit, self._version(unit, ref), who)

        with self.limits.money:
            outcome = self._run("deploy", ref, decide, who, key, expected)
        return str(outcome.answer["deployment"])

    def standby(self, unit: Unit, version: VersionState, who: Who) -> tuple[Sequence[NewEvent], dict[str, object]]:
        """The decision to deploy without activating. Raises RefusedError."""
        connection = self._reading.connection_state(version.connection)
        if self._providers.of(connection).capabilities.serving == "none":
            raise refused(
                version,
                f"{connection.provider} serves a tuned model as it is: there is nothing to deploy",
                hint=f"run: tenure activate {ref_of(version)}",
            )
        return self._request(unit, version, connection, "standby", who)

    def request_for_activation(self, activation: VersionState, who: Who) -> str | None:
        """The reconciler's: the intent to deploy what is to become active. None when it no longer is."""
        ref = ref_of(activation)

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            version = self._version(unit, ref)
            if version.state != "deploying":
                return [], {"deployment": None}
            connection = self._reading.connection_state(version.connection)
            return self._request(unit, version, connection, "activation", who)

        command = Command(name="request-deployment", body={"ref": str(ref)}, who=who)
        with self.limits.money:
            answer = self._door.run(command, decide, because=activation).answer["deployment"]
        return None if answer is None else str(answer)

    def _request(
        self, unit: Unit, version: VersionState, connection: ConnectionState, purpose: str, who: Who
    ) -> tuple[Sequence[NewEvent], dict[str, object]]:
        mine = self._log.deployments(DeploymentQuery(model=version.model, version=version.version))
        existing = deploying.usable(mine)
        if existing is not None:
            return [], {"deployment": existing.id}
        model = self._model(unit, version.model)
        self.limits.check_space()
        price = self.price(connection, base_model=version.base_model)
        policy, spending = self.limits.spending(model.name, activating=version if purpose == "activation" else None)
        budget.check_deployment(policy, price, spending)
        live = self._log.deployments(DeploymentQuery(connection=version.connection, live=True))
        events = deploying.request(
            version,
            mine,
            registry=self.registry_id(),
            price=price,
            purpose=purpose,
            who=who,
            taken={one.name for one in live if one.orphan},
        )
        for event in events:
            unit.deployment(event.stream.partition(":")[2])
        return events, {"deployment": events[0].stream.partition(":")[2]}

    def undeploy(
        self, name_or_id: str, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> str:
        known = self._reading.deployment_state(name_or_id)

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            deployment = self._deployment(unit, known.id)
            version = unit.version(VersionRef(deployment.model, deployment.version))
            others = self._log.deployments(DeploymentQuery(model=deployment.model, version=deployment.version))
            return deploying.undeploy(deployment, version, others, who), {}

        body = {"id": known.id, "reason": who.reason}
        command = Command(name="undeploy", body=body, who=who, idempotency_key=key, expected=expected or {})
        self._door.run(command, decide)
        return known.id

    def attach(
        self,
        ref: VersionRef,
        name_or_id: str,
        who: Who,
        key: str | None = None,
        expected: Mapping[str, int] | None = None,
    ) -> str:
        """Take over a deployment that exists, after checking that it serves this version's artifact."""
        version = self._reading.version_state(ref)
        connection = self._reading.connection_state(version.connection)
        known = self._known(version.connection, {name_or_id})
        if known is not None and name_or_id == known.id:
            name_or_id = known.name
        report = self._attachable(self._providers.of(connection), version, name_or_id)
        now = self._clock()
        since = min(report.created_at or now, now)  # a provider's clock may be ahead of ours

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            current = self._version(unit, ref)
            owner = self._known(version.connection, {report.name, report.id})
            if owner is not None and (owner.model, owner.version) == (ref.model, ref.number):
                return [], {"deployment": owner.id}
            if owner is not None and owner.orphan:
                found = self._deployment(unit, owner.id)
                return sweeping.adopt(found, current, who), {"deployment": owner.id}
            if owner is not None:
                # Whoever asks about this model may perhaps not know of others.
                whose = f"{owner.id} already, of {owner.model}@{owner.version}"
                raise refused(
                    current, f"{report.name} is {whose if owner.model == ref.model else 'of another model already'}"
                )
            events = deploying.attach(
                current,
                self._log.deployments(DeploymentQuery(model=ref.model, version=ref.number)),
                name=report.name,
                provider_id=report.id,
                endpoint=report.endpoint,
                price=self.price(connection, report, version.base_model),
                billed_from=since,
                who=who,
                committed_until=report.committed_until,
            )
            deployment = events[0].stream.partition(":")[2]
            unit.deployment(deployment)
            return events, {"deployment": deployment}

        body = {"ref": str(ref), "deployment": report.id, "reason": who.reason}
        command = Command(name="attach", body=body, who=who, idempotency_key=key, expected=expected or {})
        outcome = self._door.run(command, decide)
        return str(outcome.answer["deployment"])

    def _known(self, connection: str, names: set[str]) -> DeploymentState | None:
        """The live deployment that the registry has under one of these names or ids."""
        live = self._log.deployments(DeploymentQuery(connection=connection, live=True))
        return next((one for one in live if names & {one.id, one.name, one.provider_id}), None)

    def _attachable(self, provider: Provider, version: VersionState, name_or_id: str) -> DeploymentReport:
        if provider.capabilities.serving == "none":
            raise refused(version, f"{version.provider} has no deployments to attach")
        with provider_errors():
            report = provider.deployments.get(name_or_id)
        if report is None:
            raise NotFoundError(f"connection {version.connection!r} has no deployment {name_or_id!r}")
        if not deploying.same(report.artifact_id, version.artifact_id):
            raise refused(
                version,
                f"{report.name} serves {report.artifact_id or 'something unknown'},"
                f" not {ref_of(version)}'s {version.artifact_id}",
            )
        if report.outcome != "serving":
            raise refused(version, f"{report.name} is {report.status}: only one that serves can be attached")
        return report
