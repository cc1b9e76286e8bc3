"""Tuned models that an OpenAI account has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from providers.openai.client import Client
from providers.openai.errors import absent, translated
from providers.openai.lists import models, thing
from providers.ports import Artifact


class OpenAIArtifacts:
    """`providers.ports.Artifacts`: ids as `ft:<base>:<organisation>:<suffix>:<id>`, checkpoints among them."""

    def __init__(self, client: Client, *, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now

    def get(self, id: str) -> Artifact | None:
        with translated("get-model", now=self._now):
            import openai

            try:
                return _artifact(str(thing(self._client.get().models.retrieve(id).to_dict(), "id")["id"]))
            except openai.NotFoundError as exc:
                return absent(exc)

    def list(self) -> Sequence[Artifact]:
        ids = [str(model["id"]) for model in models(self._client, now=self._now)]
        return [_artifact(one) for one in ids if one.startswith("ft:")]

    def delete(self, id: str) -> None:
        with translated("delete-model", now=self._now, effect=True):
            import openai

            try:
                self._client.get().models.delete(id)
            except openai.NotFoundError as exc:
                absent(exc)


def _artifact(id: str) -> Artifact:
    parts = id.split(":")
    base = parts[1] if parts[0] == "ft" and len(parts) > 1 else None
    return Artifact(id=id, base_model=base, kind="checkpoint" if ":ckpt-step-" in id else "model")
