"""How a version begins with a training job: everything is checked, then the version is queued."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from providers.ports import DataSet, Estimate, Provider, TrainingRequest
from registry.application.commands.shared import Shared, answered_ref, provider_errors
from registry.application.ports import CheckedData, DataSource
from registry.application.unit import Command, Unit
from registry.domain import events as ev
from registry.domain import ledger, retirement, versions
from registry.domain.errors import BadInputError, RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, check_name
from registry.domain.states import VersionState
from registry.domain.versions import Who, ref_of

OWN_FORMS = frozenset({"dpo", "reinforcement"})
"""Methods whose rows are neither prompt and completion nor a chat, but what the provider defines."""
UNPRICED = "No price is known for training {} at {}: add a [[prices]] entry to your file and run `tenure apply`."

logger = logging.getLogger("tenure.data")
"""What is worth knowing of training data that are taken all the same."""


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


class Training(Shared):
    def fine_tune(self, command: FineTune, who: Who, key: str | None = None) -> VersionRef:
        """Check data, base model and hyperparameters, then record the version as queued; the reconciler submits it."""
        self.limits.check_space()
        prepared = self.prepare(command)
        estimate = self._estimated(command, prepared)
        for warning in prepared.checked.warnings:
            logger.warning("%s", warning)
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
            "reason": who.reason,
        }

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            connection = self._connection(unit, command.connection)
            model = unit.model(command.model)
            self._check_training(command.model, estimate.cost, estimate.currency)
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
                cost_estimated=estimate.cost,
                activate=command.activate,
            )
            ref, teller = VersionRef(command.model, number), Who(actor=f"provider:{connection.name}")
            told = retirement.announced(ref, command.base_model, prepared.retires_on, None, teller)
            return [*versions.begin(model, payload, who), *told], {"model": command.model, "version": number}

        with self.limits.money:
            return answered_ref(
                self._door.run(Command(name="fine-tune", body=body, who=who, idempotency_key=key), decide)
            )

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

    def estimate(self, command: FineTune) -> tuple[CheckedData, Estimate]:
        prepared = self.prepare(command)
        return prepared.checked, self._estimated(command, prepared)

    def _estimated(self, command: FineTune, prepared: Prepared) -> Estimate:
        """At the price of the price book, where the provider says how much it will be and not what that costs.

        Where no price is known, a note says how to make it known.
        """
        with provider_errors():
            estimate = prepared.provider.training.estimate(prepared.request)
        price = self.training_price(command.connection, command.base_model)
        if price is None and estimate.cost is None:
            return replace(estimate, notes=(*estimate.notes, UNPRICED.format(command.base_model, command.connection)))
        cost = ledger.training_cost(price, tokens=estimate.tokens, duration_s=estimate.duration_s)
        if estimate.cost is not None or price is None or cost is None:
            return estimate
        return replace(estimate, cost=cost, currency=price.currency)

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


def training_request(home: Path, version: VersionState, registry: str) -> TrainingRequest:
    """What the provider is asked for, from the version's record alone."""
    ref = ref_of(version)
    assert version.train is not None
    assert version.base_model is not None
    assert version.job_name is not None
    assert version.job_token is not None
    return TrainingRequest(
        name=version.job_name,
        token=version.job_token,
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
