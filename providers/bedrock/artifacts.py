"""Custom models that an AWS account has in one region. Each costs a little every month while it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from providers.bedrock.clients import Clients
from providers.bedrock.errors import is_missing, translated
from providers.bedrock.pages import items_of
from providers.errors import RejectedError
from providers.ports import Artifact


class BedrockArtifacts:
    """`providers.ports.Artifacts`: ids are ARNs. A model that something serves is not deleted by AWS: RejectedError."""

    def __init__(self, clients: Clients, *, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._now = now

    def get(self, id: str) -> Artifact | None:
        try:
            with translated("get-model", now=self._now):
                return _artifact(self._clients.get("bedrock").get_custom_model(modelIdentifier=id))
        except RejectedError as error:
            if is_missing(error):
                return None
            raise

    def list(self) -> Sequence[Artifact]:
        with translated("list-models", now=self._now):
            found = items_of(self._clients.get("bedrock").list_custom_models, "modelSummaries")
        return [_artifact(one) for one in found]

    def delete(self, id: str) -> None:
        try:
            with translated("delete-model", now=self._now, effect=True):
                self._clients.get("bedrock").delete_custom_model(modelIdentifier=id)
        except RejectedError as error:
            if not is_missing(error):
                raise


def _artifact(model: dict[str, Any]) -> Artifact:
    base = str(model.get("baseModelArn") or "").rsplit("/", 1)[-1]  # one that was imported has none
    return Artifact(id=str(model["modelArn"]), base_model=base or None)
