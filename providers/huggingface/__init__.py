"""The local provider: trains and serves on this machine with Hugging Face's libraries, in processes of their own.

Nothing here imports torch or transformers: they are in the connection's interpreter, which may be another one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from providers.huggingface.provider import LocalProvider
from providers.ports import Connection


def connect(connection: Connection, *, now: Callable[[], datetime]) -> LocalProvider:
    """The `ProviderFactory` of `huggingface`. Raises RejectedError for settings that are unknown or make no sense."""
    return LocalProvider(connection, now=now)
