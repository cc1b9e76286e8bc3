"""Azure OpenAI: jobs and chat on its data plane, deployments (billed by the hour) through Azure Resource Manager.

The SDKs are imported when the first call needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from providers.azure.provider import AzureProvider
from providers.ports import Connection


def connect(connection: Connection, *, now: Callable[[], datetime]) -> AzureProvider:
    """The `ProviderFactory` of `azure-openai`. Raises RejectedError for settings that are unknown or make no sense."""
    return AzureProvider(connection, now=now)
