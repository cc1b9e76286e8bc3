"""The resource's data plane: the openai SDK's client for it, and the address of a deployment's chats."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from providers.azure.credentials import DATA_SCOPE, credential_of
from providers.azure.resource import Resource
from providers.azure.settings import Settings
from providers.cloud_settings import REHEARSAL_KEY, secret
from providers.openai.client import TIMEOUT_S, Client
from providers.ports import Upstream

if TYPE_CHECKING:
    import openai
    from azure.core.credentials import TokenCredential


class DataPlane:
    """By key where one is named, else by Azure's credential, which keeps its tokens and renews them."""

    def __init__(self, settings: Settings, resource: Resource) -> None:
        self._settings = settings
        self._resource = resource
        self.client = Client(self._make, credential=lambda: self._key() or "")

    def upstream(self, deployment: str) -> Upstream:
        version = quote(self._settings.api_version, safe="")
        place = f"{self._resource.place().endpoint}/openai/deployments/{quote(deployment, safe='')}"
        key = self._key()
        return Upstream(
            url=f"{place}/chat/completions?api-version={version}",
            model=deployment,
            headers={"authorization": f"Bearer {self._token()}"} if key is None else {"api-key": key},
            ca_bundle=self._settings.ca_bundle,
        )

    @functools.cached_property
    def _credential(self) -> TokenCredential:
        return credential_of(self._settings)

    def _token(self) -> str:
        return str(self._credential.get_token(DATA_SCOPE).token)

    def _key(self) -> str | None:
        if self._settings.rehearsal:
            return REHEARSAL_KEY
        variable = self._settings.api_key_env
        return None if variable is None else secret(variable, operation="connect")

    def _make(self) -> openai.OpenAI:
        import httpx2
        import openai

        settings = self._settings
        options: dict[str, Any] = {
            "azure_endpoint": self._resource.place().endpoint,
            "api_version": settings.api_version,
        }
        key = self._key()
        if key is None:
            options["azure_ad_token_provider"] = self._token
        else:
            options["api_key"] = key
        if settings.ca_bundle is not None:
            options["http_client"] = httpx2.Client(verify=settings.ca_bundle)
        return openai.AzureOpenAI(**options, max_retries=0, timeout=TIMEOUT_S)
