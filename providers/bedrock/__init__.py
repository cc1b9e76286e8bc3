"""AWS Bedrock: customization jobs with their data in S3, provisioned throughput or on-demand deployments, Converse.

boto3 is imported when the first call needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from providers.bedrock.provider import BedrockProvider
from providers.ports import Connection


def connect(connection: Connection, *, now: Callable[[], datetime]) -> BedrockProvider:
    """The `ProviderFactory` of `bedrock`. Raises RejectedError for settings that are unknown or make no sense."""
    return BedrockProvider(connection, now=now)
