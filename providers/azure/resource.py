"""Which Azure OpenAI resource a connection means: named directly, or found through an Azure ML workspace connection."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from providers.azure.credentials import credential_of, transport_options
from providers.azure.errors import translated
from providers.azure.settings import RESOURCE_MANAGER, Settings
from providers.errors import RejectedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`endpoint`: of the data plane, without a slash at its end."""

    resource_group: str
    account: str
    endpoint: str


class Resource:
    """Finds the resource once, and opens the management client."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._lock = threading.RLock()
        self._place: Place | None = None
        self._client: CognitiveServicesManagementClient | None = None

    def client(self) -> CognitiveServicesManagementClient:
        from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient

        with self._lock:
            if self._client is None:
                credential = credential_of(self._settings)
                self._client = CognitiveServicesManagementClient(
                    credential,
                    self._settings.subscription_id,
                    base_url=self._settings.resource_manager,
                    **transport_options(self._settings, credential),
                )
            return self._client

    def place(self) -> Place:
        with self._lock:
            if self._place is None:
                self._place = self._found()
            return self._place

    def account_id(self) -> str:
        place = self.place()
        return (
            f"/subscriptions/{self._settings.subscription_id}/resourceGroups/{place.resource_group}"
            f"/providers/Microsoft.CognitiveServices/accounts/{place.account}"
        )

    def deployment_id(self, name: str) -> str:
        return f"{self.account_id()}/deployments/{name}"

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def from_workspace(self) -> Place:
        """Through the workspace's connection. Raises RejectedError where that is none to Azure OpenAI."""
        settings = self._settings
        with translated("find-resource", now=self._now), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # azure-ai-ml warns about its own dependencies
            client: Any = _ml_client(settings)
            found: Any = client.connections.get(str(settings.workspace_connection))
        told: dict[str, str] = found.metadata or {}
        resource_id = told.get("ResourceId") or ""
        parts = resource_id.strip("/").split("/")
        if len(parts) < 8:  # noqa: PLR2004 - subscriptions/S/resourceGroups/G/providers/P/accounts/A
            raise RejectedError(
                f"the workspace connection {settings.workspace_connection} names no Azure OpenAI account",
                operation="find-resource",
            )
        return Place(
            resource_group=parts[3], account=parts[7], endpoint=settings.endpoint or str(found.target).rstrip("/")
        )

    def _found(self) -> Place:
        settings = self._settings
        if settings.account is None:
            return self.from_workspace()
        endpoint = settings.endpoint
        if endpoint is None:
            with translated("find-resource", now=self._now):
                account = self.client().accounts.get(settings.resource_group, settings.account)
            endpoint = str(account.properties.endpoint).rstrip("/") if account.properties else ""
        return Place(resource_group=settings.resource_group, account=settings.account, endpoint=endpoint)


def _ml_client(settings: Settings) -> MLClient:
    """azure-ai-ml discards `base_url`; another endpoint is a cloud of its own, with a name of its own."""
    from azure.ai.ml import MLClient

    credential = credential_of(settings)
    options = transport_options(settings, credential)
    manager = settings.resource_manager
    if manager != RESOURCE_MANAGER:
        names = "azure_portal", "resource_manager", "active_directory", "aml_resource_id", "registry_discovery_endpoint"
        options["cloud"] = f"tenure-{hashlib.sha256(manager.encode()).hexdigest()[:12]}"
        options["cloud_metadata"] = {**dict.fromkeys(names, manager), "storage_endpoint": "core.windows.net"}
    return MLClient(credential, settings.subscription_id, settings.resource_group, settings.workspace, **options)
