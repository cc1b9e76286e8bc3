"""Every command, whoever sends it. May be repeated: what is already so is success, and a key repeats an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from providers.errors import ProviderError, RejectedError
from providers.errors import UnavailableError as ProviderUnavailableError
from providers.ports import Artifact, DataSet, DeploymentReport, Estimate, Provider, TrainingRequest
from registry.application.limits import Limits
from registry.application.ports import (
    CheckedData,
    Clock,
    DataSource,
    DeploymentQuery,
    EventLog,
    Providers,
    TrainingData,
    VersionQuery,
)
from registry.application.prices import hourly_price, region_of, serving_sku, training_price, training_sku
from registry.application.reading import Reading
from registry.application.unit import Command, Decision, Door, Outcome, Unit
from registry.domain import budget, deploying, retirement, sweeping, versions
from registry.domain import events as ev
from registry.domain.errors import BadInputError, NotFoundError, RefusedError, UnavailableError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, check_name, resource_name
from registry.domain.policy import Policy
from registry.domain.states import ConnectionState, DeploymentState, ModelState, VersionState
from registry.domain.versions import Who, ref_of

OWN_FORMS = frozenset({"dpo", "reinforcement"})
"""Methods whose rows are neither prompt and completion nor a chat, but what the provider defines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """What to train, on what, with which connection. `hyperparameters` by the provider's names or the common ones."""

    model: str
    connection: str
    base_model: str
    data: DataSource
    method: str = "supervised"
    hyperparameters: Mapping[str, object] = field(default_factory=dict[str, object])
    code: Path | None = None
    activate: bool = False
    force: bool = False
    """Also of a base model that will be gone before it could be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    checked: CheckedData
    code: ev.DataRef | None
    request: TrainingRequest
    provider: Provider
    retires_on: date | None


class Commands:
    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        providers: Providers,
        data: TrainingData,
        reading: Reading,
        door: Door,
        home: Path,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """`free_bytes`: how much room there is where the home lies; by default, what the file system says."""
        self._log = log
        self._clock = clock
        self._providers = providers
        self._data = data
        self._reading = reading
        self._door = door
        self.home = home
        self.training_here: set[VersionRef] = set()
        """Versions that this process trains itself (`new_version`)."""
        self.limits = Limits(log=log, clock=clock, home=home, free_bytes=free_bytes)

    # How a version begins

    def fine_tune(self, command: FineTune, who: Who, key: str | None = None) -> VersionRef:
        """Check data, base model and hyperparameters, then record the version as queued; the reconciler submits it."""
        self.limits.check_space()
        prepared = self.prepare(command)
        body = {
            "model": command.model,
            "connection": command.connection,
            "base_model": command.base_model,
            "train": prepared.checked.train.path,
            "validation": prepared.checked.validation.path if prepared.checked.validation else None,
            "hyperparameters": command.hyperparameters,
            "method": command.method,
            "activate": command.activate,
            "code": prepared.code.sha256 if prepared.code else None,
        }

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            connection = self._connection(unit, command.connection)
            model = unit.model(command.model)
            self._check_training(command.model, prepared)
            number = (model.last_version if model else 0) + 1
            payload = ev.FineTuneRequested(
                model=command.model,
                version=number,
                connection=connection.name,
                provider=connection.provider,
                base_model=command.base_model,
                method=command.method,
                train=prepared.checked.train,
                validation=prepared.checked.validation,
                hyperparameters=dict(command.hyperparameters),
                code=prepared.code,
                activate=command.activate,
            )
            ref, teller = VersionRef(command.model, number), Who(actor=f"provider:{connection.name}")
            told = retirement.announced(ref, command.base_model, prepared.retires_on, None, teller)
            return [*versions.begin(model, payload, who), *told], {"model": command.model, "version": number}

        with self.limits.money:
            return _ref(self._door.run(Command(name="fine-tune", body=body, who=who, idempotency_key=key), decide))

    def prepare(self, command: FineTune) -> Prepared:
        """Everything that can be checked before anything is sent or spent. Raises BadInputError, RefusedError."""
        check_name(command.model, "model")
        connection = self._reading.connection_state(command.connection)
        provider = self._providers.of(connection)
        if not provider.capabilities.fine_tuning or connection.settings.get("fine_tuning") is False:
            raise RefusedError(
                f"connection {connection.name!r} does not allow fine-tuning",
                hint="set fine_tuning = true for it and run tenure apply, or choose another --connection",
            )
        checked = self._data.prepare(_source(command), rows_min=1 if connection.provider == "huggingface" else 10)
        code = self._keep_code(command.code)
        request = TrainingRequest(
            name="estimate",
            token="estimate",  # noqa: S106 - names an attempt, protects nothing
            model=command.model,
            version=1,
            base_model=command.base_model,
            train=_data_set(self.home, checked.train),
            validation=_data_set(self.home, checked.validation) if checked.validation else None,
            method=command.method,
            hyperparameters=command.hyperparameters,
            code=self.home / str(code.path) if code else None,
        )
        with provider_errors():
            provider.training.validate(request)
            retires_on = provider.retires_on(command.base_model)
            if retires_on is not None and not command.force:
                duration_s = provider.training.estimate(request).duration_s
                retirement.check_usable(command.base_model, retires_on, self._clock(), duration_s=duration_s)
        return Prepared(checked=checked, code=code, request=request, provider=provider, retires_on=retires_on)

    def _check_training(self, model: str, prepared: Prepared) -> None:
        """Raises RefusedError where the month has no room for it."""
        policy, spending = self.limits.spending(model)
        if policy.max_monthly_cost is None:
            return
        with provider_errors():
            estimate = prepared.provider.training.estimate(prepared.request)
        budget.check_training(policy, estimate.cost, estimate.currency or "USD", spending)

    def estimate(self, command: FineTune) -> tuple[CheckedData, Estimate]:
        prepared = self.prepare(command)
        with provider_errors():
            return prepared.checked, prepared.provider.training.estimate(prepared.request)

    def import_version(
        self, model: str, connection: str, artifact: str, base_model: str | None, who: Who, key: str | None = None
    ) -> VersionRef:
        """Adopt a model that was tuned elsewhere, after the provider showed that it is there."""
        check_name(model, "model")
        provider = self._providers.of(self._reading.connection_state(connection))
        with provider_errors():
            found = provider.artifacts.get(artifact)
        if found is None:
            raise NotFoundError(f"connection {connection!r} has no artifact {artifact!r}")
        base = base_model or found.base_model
        with provider_errors():
            retires_on = provider.retires_on(base) if base is not None else None
        return self._adopt(model, connection, found, base, retires_on, who, key)

    def _adopt(
        self,
        model: str,
        connection: str,
        found: Artifact,
        base_model: str | None,
        retires_on: date | None,
        who: Who,
        key: str | None,
    ) -> VersionRef:
        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            declared = self._connection(unit, connection)
            state = unit.model(model)
            number = (state.last_version if state else 0) + 1
            payload = ev.VersionImported(
                model=model,
                version=number,
                connection=connection,
                provider=declared.provider,
                base_model=base_model,
                artifact=ev.ArtifactRef(id=found.id, digest=found.digest),
            )
            ref, teller = VersionRef(model, number), Who(actor=f"provider:{connection}")
            told = retirement.announced(ref, base_model, retires_on, None, teller)
            return [*versions.begin(state, payload, who), *told], {"model": model, "version": number}

        body = {"model": model, "connection": connection, "artifact": found.id, "base_model": base_model}
        return _ref(self._door.run(Command(name="import", body=body, who=who, idempotency_key=key), decide))

    def own_training(self, model: str, connection: str, base_model: str | None, who: Who) -> tuple[VersionRef, Path]:
        """`new_version(...)`: a version that somebody trains in a folder of ours."""
        check_name(model, "model")
        declared = self._reading.connection_state(connection)
        if declared.provider != "huggingface":
            raise BadInputError(
                f"connection {connection!r} is at {declared.provider}: only a huggingface connection serves folders",
                field="connection",
            )

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.model(model)
            number = (state.last_version if state else 0) + 1
            directory = own_directory(connection, VersionRef(model, number))
            self.training_here.add(VersionRef(model, number))
            payload = ev.OwnTrainingStarted(
                model=model,
                version=number,
                connection=connection,
                provider=declared.provider,
                base_model=base_model,
                directory=directory,
            )
            return versions.begin(state, payload, who), {"model": model, "version": number}

        ref = _ref(self._door.run(Command(name="new-version", body={"model": model}, who=who), decide))
        folder = self.home / own_directory(connection, ref)
        folder.mkdir(parents=True, exist_ok=True)
        return ref, folder

    def own_training_ended(self, ref: VersionRef, folder: Path, error: str | None, who: Who) -> None:
        """The folder is checked as any artifact is before it is deployed; a fault fails the version."""
        artifact: Artifact | None = None
        if error is None:
            state = self._reading.version_state(ref)
            provider = self._providers.of(self._reading.connection_state(state.connection))
            try:
                artifact = provider.artifacts.get(str(folder))
                error = None if artifact else f"{folder} holds no model"
            except RejectedError as refusal:
                error = refusal.message

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            version = self._version(unit, ref)
            if artifact is None:
                return versions.failed(version, error or "nothing was saved", who), {}
            result = versions.Finished(
                outcome="succeeded",
                status="succeeded",
                artifact=ev.ArtifactRef(id=artifact.id, digest=artifact.digest),
            )
            return versions.finished(version, result, who), {}

        self._door.run(Command(name="trained", body={"ref": str(ref)}, who=who), decide)
        self.training_here.discard(ref)
        if artifact is None:
            raise BadInputError(f"{ref} has failed: {error}", field="directory")

    # Moves of a version

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
            raise RefusedError(f"{ref_of(version)}: its connection {version.connection!r} is no longer declared")
        provider = self._providers.of(connection)
        if provider.capabilities.serving == "none":
            return
        mine = self._log.deployments(DeploymentQuery(model=version.model, version=version.version, live=True))
        if deploying.usable(mine) is not None:
            return
        if policy.deploy == "manual":
            raise RefusedError(
                f"{ref_of(version)} has no deployment, and the policy of {version.model} says deploy = manual",
                state=version.state,
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
        self._run("retry", ref, lambda unit: (versions.retry(self._version(unit, ref), who), {}), who, key, expected)

    def approve(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        """One person's word for an activation. The last word that was missing lets the policy go on."""
        from registry.application import finishing

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            return finishing.approved(unit, self, self._version(unit, ref), who), {}

        with self.limits.money:
            self._run("approve", ref, decide, who, key, expected)

    def delete(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        self._run("delete", ref, lambda unit: (versions.delete(self._version(unit, ref), who), {}), who, key, expected)

    # Deployments

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
            raise RefusedError(
                f"{connection.provider} serves a tuned model as it is: there is nothing to deploy",
                state=version.state,
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
        events = deploying.request(version, mine, registry=self.registry_id(), price=price, purpose=purpose, who=who)
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

        command = Command(name="undeploy", body={"id": known.id}, who=who, idempotency_key=key, expected=expected or {})
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
        since = report.created_at or self._clock()

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            current = self._version(unit, ref)
            owner = self._known(version.connection, {report.name, report.id})
            if owner is not None and (owner.model, owner.version) == (ref.model, ref.number):
                return [], {"deployment": owner.id}
            if owner is not None and owner.orphan:
                found = self._deployment(unit, owner.id)
                return sweeping.adopt(found, current, who), {"deployment": owner.id}
            if owner is not None:
                raise RefusedError(f"{report.name} is {owner.id} already, of {owner.model}@{owner.version}")
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
            raise RefusedError(f"{version.provider} has no deployments to attach", state=version.state)
        with provider_errors():
            report = provider.deployments.get(name_or_id)
        if report is None:
            raise NotFoundError(f"connection {version.connection!r} has no deployment {name_or_id!r}")
        if report.artifact_id != version.artifact_id:
            raise RefusedError(
                f"{report.name} serves {report.artifact_id or 'something unknown'},"
                f" not {ref_of(version)}'s {version.artifact_id}",
                state=version.state,
            )
        if report.outcome != "serving":
            raise RefusedError(f"{report.name} is {report.status}: only one that serves can be attached")
        return report

    # What commands share

    def registry_id(self) -> str:
        """Part of every name that is given to something at a provider."""
        state = self._log.registry()
        assert state.registry is not None
        return state.registry

    def price(
        self, connection: ConnectionState, report: DeploymentReport | None = None, base_model: str | None = None
    ) -> ev.Price:
        """What an hour of a deployment at a connection costs: of one that is there (`report`), or of a new one."""
        sku, units = serving_sku(connection)
        return hourly_price(
            self._log.registry().prices,
            provider=connection.provider,
            sku=report.sku if report and report.sku else sku,
            units=report.hourly_units if report and report.hourly_units else units,
            now=self._clock(),
            model=base_model,
            region=region_of(connection),
        )

    def training_price(self, version: VersionState) -> ev.UnitPrice | None:
        connection = self._log.connection(version.connection)
        if connection is None:
            return None
        return training_price(
            self._log.registry().prices,
            provider=connection.provider,
            sku=training_sku(connection),
            now=self._clock(),
            model=version.base_model,
            region=region_of(connection),
        )

    def _run(
        self,
        name: str,
        ref: VersionRef,
        decide: Decision,
        who: Who,
        key: str | None,
        expected: Mapping[str, int] | None,
    ) -> Outcome:
        command = Command(
            name=name,
            body={"ref": str(ref), "reason": who.reason},
            who=who,
            idempotency_key=key,
            expected=expected or {},
        )
        return self._door.run(command, decide)

    def _connection(self, unit: Unit, name: str) -> ConnectionState:
        state = unit.connection(name)
        return state if state is not None and not state.removed else self._reading.connection_state(name)

    def _model(self, unit: Unit, name: str) -> ModelState:
        return unit.model(name) or self._reading.model_state(name)

    def _version(self, unit: Unit, ref: VersionRef) -> VersionState:
        return unit.version(ref) or self._reading.version_state(ref)

    def _deployment(self, unit: Unit, id: str) -> DeploymentState:
        return unit.deployment(id) or self._reading.deployment_state(id)

    def _keep_code(self, code: Path | None) -> ev.DataRef | None:
        """A copy of the user's own training code by digest, so that a retry runs what was asked for."""
        if code is None:
            return None
        try:
            text = code.read_bytes()
        except OSError as error:
            raise BadInputError(f"{code}: {error.strerror}", field="code") from error
        digest = hashlib.sha256(text).hexdigest()
        kept = self.home / "code" / f"{digest}.py"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            temporary = kept.with_suffix(".tmp")
            temporary.write_bytes(text)
            temporary.replace(kept)
        return ev.DataRef(sha256=digest, rows=text.count(b"\n"), name=code.name, path=f"code/{digest}.py")


def own_directory(connection: str, ref: VersionRef) -> str:
    """Below the home, where the local provider keeps artifacts that are its own to delete."""
    return f"connections/{connection}/artifacts/{ref.model}-{ref.number}/model"


@contextmanager
def provider_errors() -> Generator[None]:
    """A provider's answer to something that a person asked for, as what the person is told."""
    try:
        yield
    except RejectedError as refusal:
        raise BadInputError(refusal.message) from refusal
    except ProviderUnavailableError as error:
        raise UnavailableError(error.message, retry_after_s=error.retry_after_s) from error
    except ProviderError as error:
        raise UnavailableError(f"{error.message} ({error.operation}: outcome unknown)") from error


def training_request(home: Path, version: VersionState, registry: str) -> TrainingRequest:
    """What the provider is asked for, from the version's record alone."""
    ref = ref_of(version)
    name = version.job_name or resource_name(registry, ref, version.attempt)
    assert version.train is not None
    assert version.base_model is not None
    return TrainingRequest(
        name=name,
        token=version.job_token or name,
        model=version.model,
        version=version.version,
        base_model=version.base_model,
        train=_data_set_of(home, version.train),
        validation=_data_set_of(home, version.validation) if version.validation else None,
        method=version.method,
        hyperparameters=version.hyperparameters,
        code=home / str(version.code["path"]) if version.code else None,
        tags={"tenure": registry, "tenure-version": str(ref)},
    )


def _source(command: FineTune) -> DataSource:
    return replace(command.data, as_is=command.method in OWN_FORMS)


def _data_set(home: Path, data: ev.DataRef) -> DataSet:
    return DataSet(
        path=home / str(data.path), sha256=data.sha256, rows=data.rows, tokens=data.tokens, name=data.name or ""
    )


def _data_set_of(home: Path, data: Mapping[str, object]) -> DataSet:
    tokens = data["tokens"]
    return DataSet(
        path=home / str(data["path"]),
        sha256=str(data["sha256"]),
        rows=int(str(data["rows"])),
        tokens=None if tokens is None else int(str(tokens)),
        name=str(data.get("name") or ""),
    )


def _ref(outcome: Outcome) -> VersionRef:
    return VersionRef(str(outcome.answer["model"]), int(str(outcome.answer["version"])))
