"""How a version begins: fine-tuned, imported, or trained in a `with` block."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Required, TypedDict, Unpack

from registry.application.commands import FineTune
from registry.application.ports import DataSource
from registry.application.views import EstimateView, VersionView
from registry.domain.errors import RefusedError, TenureError
from registry.domain.events import Json
from registry.embedded.version import NewVersion, Version
from registry.embedded.working import Working


class Wanted(TypedDict, total=False):
    """What a fine-tune is made of, here and over HTTP. Paths may begin with `~`."""

    connection: Required[str]
    base_model: Required[str]
    train: Required[Path | str]
    """CSV, JSON Lines or Parquet."""
    validation: Path | str | None
    """Its loss is drawn beside the training loss."""
    prompt_column: str
    completion_column: str
    system_column: str | None
    system: str | None
    """One system text for every row."""
    method: str
    hyperparameters: Mapping[str, object] | None
    code: Path | str | None
    """A training script to run instead of ours; it leaves safetensors in the folder it is given."""
    activate: bool
    """Make it active when it is trained."""
    force: bool
    """Also of a base model that its provider soon takes away."""


class Training(Working):
    def fine_tune(
        self, model: str, *, reason: str | None = None, idempotency_key: str | None = None, **wanted: Unpack[Wanted]
    ) -> Version:
        """Check everything, then queue a new version; `.wait()` until it is trained, and active if that is asked for.

        Takes what `Wanted` names: connection, base_model, train; validation, prompt_column, completion_column,
        system_column, system, method, hyperparameters, code, activate, force. Raises BadInputError with every fault of
        the data, RefusedError, NotFoundError. Under an `idempotency_key` it is done once, however often it is said.
        """
        ref = self._registry.commands.fine_tune(fine_tune(model, **wanted), *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref))

    def estimate(self, model: str, **wanted: Unpack[Wanted]) -> EstimateView:
        """What training would take and cost; starts nothing and records nothing."""
        return EstimateView.of(*self._registry.commands.estimate(fine_tune(model, **wanted)))

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
        """A model that was tuned elsewhere, by its id at the provider, as a new version: it is `trained` at once.

        Raises NotFoundError where the account has no such model.
        """
        ref = self._registry.commands.import_version(
            model, connection, artifact, base_model, *self._asked(reason, idempotency_key)
        )
        return Version.of(self, self.version(ref))

    def importable(self, connection: str) -> list[Json]:
        """The tuned models that a connection's account has, each with the versions here that have it."""
        return self._registry.comparing.importable(connection)

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
        check_trained(self.version(ref))


def check_trained(version: VersionView) -> None:
    """Raises RefusedError for one that somebody has stopped while it was trained by its own code."""
    if version.state in {"failed", "cancelled"}:
        raise RefusedError(f"{version.ref} is {version.state}: {version.error or 'its training was stopped'}")


def fine_tune(
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
) -> FineTune:
    """What is asked for in these words. Raises TypeError for one that there is not, or that is missing."""
    return FineTune(
        model=model,
        connection=connection,
        base_model=base_model,
        data=DataSource(
            train=Path(train).expanduser(),
            validation=Path(validation).expanduser() if validation is not None else None,
            prompt=prompt_column,
            completion=completion_column,
            system=system_column,
            system_text=system,
        ),
        method=method,
        hyperparameters=dict(hyperparameters or {}),
        code=Path(code).expanduser() if code is not None else None,
        activate=activate,
        force=force,
    )
