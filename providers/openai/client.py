"""The SDK's client, made when the first call needs it, and never retrying by itself.

The SDK would send a create again after a 500, with no key by which OpenAI could know it for the same one. The registry
decides what is asked again, because it can look first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from providers.cloud_settings import REHEARSAL_KEY, secret
from providers.openai.settings import Settings

if TYPE_CHECKING:
    import openai

TIMEOUT_S = 60.0


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
                self._open = (credential, self._make())
            return self._open[1]

    def close(self) -> None:
        with self._lock:
            for client in [*self._replaced, *([self._open[1]] if self._open else [])]:
                client.close()
            self._replaced.clear()
            self._open = None


def client_of(settings: Settings) -> Client:
    def key() -> str:
        return REHEARSAL_KEY if settings.rehearsal else secret(settings.api_key_env, operation="connect")

    def make() -> openai.OpenAI:
        import openai

        return openai.OpenAI(api_key=key(), base_url=settings.base_url, max_retries=0, timeout=TIMEOUT_S)

    return Client(make, credential=key)
