"""Tuned models that an Azure OpenAI resource has, as its data plane lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from providers.openai.client import Client
from providers.openai.errors import absent, translated
from providers.openai.lists import Json, models, thing
from providers.ports import Artifact


class AzureArtifacts:
    """`providers.ports.Artifacts`. A model that a deployment serves is not deleted by Azure: RejectedError."""

    def __init__(self, client: Client, *, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now

    def get(self, id: str) -> Artifact | None:
        with translated("get-model", now=self._now):
            import openai

            try:
                return _artifact(thing(self._client.get().models.retrieve(id).to_dict(), "id"))
            except openai.NotFoundError as exc:
                return absent(exc)

    def list(self) -> Sequence[Artifact]:
        return [_artifact(model) for model in models(self._client, now=self._now) if ".ft-" in model["id"]]

    def delete(self, id: str) -> None:
        with translated("delete-model", now=self._now, effect=True):
            import openai

            try:
                self._client.get().delete(f"/models/{id}", cast_to=object)
            except openai.NotFoundError as exc:
                absent(exc)


def _artifact(model: Json) -> Artifact:
    id_ = str(model["id"])
    return Artifact(id=id_, base_model=model.get("model"), kind="checkpoint" if ":ckpt-step-" in id_ else "model")
