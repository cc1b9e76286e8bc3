"""Azure's credentials: a ready token from a variable, or Azure's own chain; and plain http for loopback.

Azure's SDKs refuse to send a token over plain http. Where the endpoint is loopback (the settings let no other be
plain), a policy of our own sets the same header.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from providers.azure.settings import Settings
from providers.cloud_settings import REHEARSAL_TOKEN, secret

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential
    from azure.core.pipeline import PipelineRequest
    from azure.core.pipeline.policies import SansIOHTTPPolicy

ARM_SCOPE = "/.default"
DATA_SCOPE = "https://cognitiveservices.azure.com/.default"
LIFE_S = 300
"""How long a token from a variable is believed before the variable is read again."""


class ReadyToken:
    """A token that is there. What `told` raises, asking for a token raises."""

    def __init__(self, told: Callable[[], str]) -> None:
        self._told = told

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's own signature
        from azure.core.credentials import AccessToken

        del scopes, options
        return AccessToken(self._told(), int(time.time()) + LIFE_S)


def credential_of(settings: Settings) -> TokenCredential:
    if settings.rehearsal:
        return ReadyToken(lambda: REHEARSAL_TOKEN)
    if (variable := settings.token_env) is not None:
        return ReadyToken(lambda: secret(variable, operation="connect"))
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def transport_options(settings: Settings, credential: TokenCredential) -> dict[str, Any]:
    """What both management SDKs are given beside the credential."""
    options: dict[str, Any] = {"retry_total": 0}
    if settings.ca_bundle is not None:
        options["connection_verify"] = settings.ca_bundle
    if settings.resource_manager.startswith("http://"):
        options["authentication_policy"] = _plain_bearer(
            lambda: str(credential.get_token(settings.resource_manager + ARM_SCOPE).token)
        )
    return options


def _plain_bearer(token: Callable[[], str]) -> SansIOHTTPPolicy[Any, Any]:
    from azure.core.pipeline.policies import SansIOHTTPPolicy

    class PlainBearer(SansIOHTTPPolicy[Any, Any]):
        def on_request(self, request: PipelineRequest[Any]) -> None:
            request.http_request.headers["Authorization"] = f"Bearer {token()}"
            request.context.options.pop("enforce_https", None)

    return PlainBearer()
