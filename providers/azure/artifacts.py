"""Tuned models that an Azure OpenAI resource has, as its data plane lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from providers.openai.client import Client
from providers.openai.errors import translated
from providers.ports import Artifact


class AzureArtifacts:
    """`providers.ports.Artifacts`. A model that a deployment serves is not deleted by Azure: RejectedError."""

    def __init__(self, client: Client, *, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now

    def get(self, id: str) -> Artifact | None:
        import openai

        with translated("get-model", now=self._now):
            try:
                return _artifact(self._client.get().models.retrieve(id).to_dict())
            except openai.NotFoundError:
                return None

    def list(self) -> Sequence[Artifact]:
        with translated("list-models", now=self._now):
            listed: list[dict[str, Any]] = [model.to_dict() for model in self._client.get().models.list()]
        return [_artifact(model) for model in listed if ".ft-" in model["id"]]

    def delete(self, id: str) -> None:
        import openai

        with translated("delete-model", now=self._now, effect=True):
            try:
                self._client.get().delete(f"/models/{id}", cast_to=object)
            except openai.NotFoundError:
                return


def _artifact(model: dict[str, Any]) -> Artifact:
    id_ = str(model["id"])
    return Artifact(id=id_, base_model=model.get("model"), kind="checkpoint" if ":ckpt-step-" in id_ else "model")
