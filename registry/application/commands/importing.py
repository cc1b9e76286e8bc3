"""How a version begins without a training job: tuned elsewhere and imported, or trained by one's own code."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from providers.errors import RejectedError
from providers.optional import Completing
from providers.ports import Artifact
from registry.application.commands.shared import Shared, answered_ref, provider_errors
from registry.application.unit import Command, Unit
from registry.domain import events as ev
from registry.domain import retirement, versions
from registry.domain.errors import BadInputError, NotFoundError, RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, check_name
from registry.domain.versions import Who


class Importing(Shared):
    def import_version(
        self, model: str, connection: str, artifact: str, base_model: str | None, who: Who, key: str | None = None
    ) -> VersionRef:
        """Adopt a model that was tuned elsewhere, after the provider showed that it is there."""
        check_name(model, "model")
        if not artifact:
            raise BadInputError("the artifact has no id: name a model of the account", field="artifact")
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

        body = {
            "model": model,
            "connection": connection,
            "artifact": found.id,
            "base_model": base_model,
            "reason": who.reason,
        }
        return answered_ref(self._door.run(Command(name="import", body=body, who=who, idempotency_key=key), decide))

    def own_training(
        self, model: str, connection: str, base_model: str | None, who: Who, key: str | None = None
    ) -> tuple[VersionRef, Path]:
        """`new_version(...)`: a version that somebody trains in a folder of ours; in this process, until it is heard
        from another (`trainers.heard`).
        """
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
            self.trainers.here(VersionRef(model, number))
            payload = ev.OwnTrainingStarted(
                model=model,
                version=number,
                connection=connection,
                provider=declared.provider,
                base_model=base_model,
                directory=directory,
            )
            return versions.begin(state, payload, who), {"model": model, "version": number}

        command = Command(name="new-version", body={"model": model}, who=who, idempotency_key=key)
        ref = answered_ref(self._door.run(command, decide))
        folder = self.home / own_directory(connection, ref)
        folder.mkdir(parents=True, exist_ok=True)
        return ref, folder

    def own_folder(self, ref: VersionRef) -> Path:
        """Where a version that is being trained by somebody's own code is left. Raises RefusedError for any other."""
        state = self._reading.version_state(ref)
        if state.method != "own":
            raise RefusedError(f"{ref} is not trained by your own code: nothing can be left for it", state=state.state)
        if state.state != "training":
            raise RefusedError(f"{ref} is {state.state}: its training is over", state=state.state)
        return self.home / own_directory(state.connection, ref)

    def own_training_ended(self, ref: VersionRef, folder: Path, error: str | None, who: Who) -> None:
        """The folder is checked as any artifact is before it is deployed; a fault fails the version."""
        artifact: Artifact | None = None
        if error is None:
            state = self._reading.version_state(ref)
            provider = self._providers.of(self._reading.connection_state(state.connection))
            try:
                if isinstance(provider.artifacts, Completing):
                    provider.artifacts.complete(str(folder), state.base_model)
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
        self.trainers.ended(ref)
        if artifact is None:
            raise BadInputError(f"{ref} has failed: {error}", field="directory")


def own_directory(connection: str, ref: VersionRef) -> str:
    """Below the home, where the local provider keeps artifacts that are its own to delete."""
    return f"connections/{connection}/artifacts/{ref.model}-{ref.number}/model"
