"""How a version begins: fine-tuned, imported, or trained in a `with` block."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.application.commands import FineTune, provider_errors
from registry.application.ports import DataSource
from registry.application.views import EstimateView
from registry.domain.errors import TenureError
from registry.domain.events import Json
from registry.embedded.version import NewVersion, Version
from registry.embedded.working import Working


class Training(Working):
    def fine_tune(
        self,
        model: str,
        *,
        connection: str,
        base_model: str,
        train: Path | str,
        validation: Path | str | None = None,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        system_column: str | None = None,
        system: str | None = None,
        method: str = "supervised",
        hyperparameters: Mapping[str, object] | None = None,
        code: Path | str | None = None,
        activate: bool = False,
        force: bool = False,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        """Check everything, then queue a new version. `force`: also of a base model that its provider soon takes away.

        Raises BadInputError with every fault, RefusedError, NotFoundError.
        """
        command = _fine_tune(
            model,
            connection,
            base_model,
            train,
            validation,
            prompt_column,
            completion_column,
            system_column,
            system,
            method,
            hyperparameters,
            code,
            activate,
            force,
        )
        ref = self._registry.commands.fine_tune(command, self._who(reason), idempotency_key)
        return Version(self, self.version(ref))

    def estimate(
        self,
        model: str,
        *,
        connection: str,
        base_model: str,
        train: Path | str,
        validation: Path | str | None = None,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        system_column: str | None = None,
        system: str | None = None,
        method: str = "supervised",
        hyperparameters: Mapping[str, object] | None = None,
        code: Path | str | None = None,
        activate: bool = False,
        force: bool = False,
    ) -> EstimateView:
        """What training would take and cost; starts nothing and records nothing."""
        command = _fine_tune(
            model,
            connection,
            base_model,
            train,
            validation,
            prompt_column,
            completion_column,
            system_column,
            system,
            method,
            hyperparameters,
            code,
            activate,
            force,
        )
        checked, estimate = self._registry.commands.estimate(command)
        return EstimateView(
            train={"rows": checked.train.rows, "tokens": checked.train.tokens, "sha256": checked.train.sha256},
            validation={"rows": checked.validation.rows, "tokens": checked.validation.tokens}
            if checked.validation
            else None,
            tokens=estimate.tokens,
            steps=estimate.steps,
            duration_s=estimate.duration_s,
            cost=estimate.cost,
            currency=estimate.currency,
            notes=estimate.notes,
            warnings=checked.warnings,
        )

    def import_version(
        self,
        model: str,
        *,
        connection: str,
        artifact: str,
        base_model: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        ref = self._registry.commands.import_version(
            model, connection, artifact, base_model, self._who(reason), idempotency_key
        )
        return Version(self, self.version(ref))

    def importable(self, connection: str) -> list[Json]:
        """The artifacts that a connection's account has."""
        provider = self._registry.providers.of(self._registry.reading.connection_state(connection))
        with provider_errors():
            found = provider.artifacts.list()
        return [{"id": one.id, "digest": one.digest, "base_model": one.base_model, "kind": one.kind} for one in found]

    @contextmanager
    def new_version(
        self, model: str, *, connection: str, base_model: str | None = None, reason: str | None = None
    ) -> Generator[NewVersion]:
        """Train it yourself: leave a model in safetensors in `.directory`.

        When the block ends without an error the folder has been checked and the version is durably `trained`; with an
        error it is `failed`, and the error goes on.
        """
        commands = self._registry.commands
        who = self._who(reason)
        ref, folder = commands.own_training(model, connection, base_model, who)
        try:
            yield NewVersion(str(ref), ref.number, folder)
        except BaseException as error:
            kind = type(error).__name__
            with suppress(TenureError):
                commands.own_training_ended(ref, folder, f"{kind} in the training code", who)
            raise
        commands.own_training_ended(ref, folder, None, who)


def _fine_tune(
    model: str,
    connection: str,
    base_model: str,
    train: Path | str,
    validation: Path | str | None,
    prompt: str,
    completion: str,
    system_column: str | None,
    system: str | None,
    method: str,
    hyperparameters: Mapping[str, object] | None,
    code: Path | str | None,
    activate: bool,
    force: bool,
) -> FineTune:
    return FineTune(
        model=model,
        connection=connection,
        base_model=base_model,
        data=DataSource(
            train=Path(train).expanduser(),
            validation=Path(validation).expanduser() if validation is not None else None,
            prompt=prompt,
            completion=completion,
            system=system_column,
            system_text=system,
        ),
        method=method,
        hyperparameters=dict(hyperparameters or {}),
        code=Path(code).expanduser() if code is not None else None,
        activate=activate,
        force=force,
    )
