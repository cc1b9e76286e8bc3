"""The SDK's client, made when the first call needs it, and never retrying by itself.

The SDK would send a create again after a 500, with no key by which OpenAI could know it for the same one. The registry
decides what is asked again, because it can look first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from providers.cloud_settings import REHEARSAL_KEY, secret
from providers.extras import installed
from providers.openai.settings import Settings
from providers.ports import Upstream

if TYPE_CHECKING:
    import openai

TIMEOUT_S = 60.0
BASE_URL = "https://api.openai.com/v1"
"""The SDK's own, when neither the connection nor OPENAI_BASE_URL names another."""
_ACCOUNT = {"openai-organization": "OPENAI_ORG_ID", "openai-project": "OPENAI_PROJECT_ID"}


class Client:
    """`make` opens the SDK's client; `get` does so once, and again when the credential behind it has changed."""

    def __init__(self, make: Callable[[], openai.OpenAI], *, credential: Callable[[], str]) -> None:
        self._make = make
        self._credential = credential
        self._lock = threading.Lock()
        self._open: tuple[str, openai.OpenAI] | None = None
        self._replaced: list[openai.OpenAI] = []

    def get(self) -> openai.OpenAI:
        """Raises UnauthorizedError where the credential is missing."""
        credential = self._credential()
        with self._lock:
            if self._open is None or self._open[0] != credential:
                if self._open is not None:
                    self._replaced.append(self._open[1])  # another thread may be using it: closed with the others
                with installed("openai", "connect"):
                    self._open = (credential, self._make())
            return self._open[1]

    def close(self) -> None:
        with self._lock:
            for client in [*self._replaced, *([self._open[1]] if self._open else [])]:
                client.close()
            self._replaced.clear()
            self._open = None


def key_of(settings: Settings) -> str:
    return REHEARSAL_KEY if settings.rehearsal else secret(settings.api_key_env, operation="connect")


def upstream_of(settings: Settings, model: str) -> Upstream:
    """As the SDK would ask, by the same variables."""
    base = settings.base_url or os.environ.get("OPENAI_BASE_URL") or BASE_URL
    account = {header: value for header, variable in _ACCOUNT.items() if (value := os.environ.get(variable))}
    headers = {"authorization": f"Bearer {key_of(settings)}", **account}
    return Upstream(url=f"{base.rstrip('/')}/chat/completions", model=model, headers=headers)


def client_of(settings: Settings) -> Client:
    def key() -> str:
        return key_of(settings)

    def make() -> openai.OpenAI:
        import openai

        return openai.OpenAI(api_key=key(), base_url=settings.base_url, max_retries=0, timeout=TIMEOUT_S)

    return Client(make, credential=key)
