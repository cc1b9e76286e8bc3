"""OpenAI: jobs, tuned models and chat. A tuned model serves as it is, so there is nothing to deploy.

The SDK is imported when the first call needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from providers.openai.provider import OpenAIProvider
from providers.ports import Connection


def connect(connection: Connection, *, now: Callable[[], datetime]) -> OpenAIProvider:
    """The `ProviderFactory` of `openai`. Raises RejectedError for settings that are unknown or make no sense."""
    return OpenAIProvider(connection, now=now)
