"""A provider whose every call is a span: which connection, what was asked, about which version, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from providers.errors import (
    OutcomeUnknownError,
    ProviderError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.ports import Connection, DeploymentRequest, Provider, TrainingRequest
from registry.application import tracing

PARTS = frozenset({"training", "artifacts", "deployments", "chat"})
UNTRACED = frozenset({"close", "capabilities", "stream"})
"""`stream` answers an iterator at once; the gateway's own span is around all of it."""


def traced(provider: Provider, connection: Connection) -> Provider:
    return cast("Provider", _Traced(provider, connection, ""))


class _Traced:
    def __init__(self, inner: object, connection: Connection, part: str) -> None:
        self._inner = inner
        self._connection = connection
        self._part = part

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._inner, name)
        if not self._part and name in PARTS:
            return _Traced(found, self._connection, f"{name}.")
        if name in UNTRACED or not callable(found):
            return found
        return self._around(f"{self._part}{name}", found)

    def _around(self, operation: str, call: Callable[..., object]) -> Callable[..., object]:
        def ask(*given: object, **named: object) -> object:
            request = next((one for one in given if isinstance(one, TrainingRequest | DeploymentRequest)), None)
            with tracing.span(
                f"{self._connection.provider} {operation}",
                {
                    "tenure.connection": self._connection.name,
                    "tenure.provider": self._connection.provider,
                    "tenure.operation": operation,
                    "tenure.version": f"{request.model}@{request.version}" if request else None,
                    "tenure.name": request.name if request else None,
                    "tenure.correlation_id": tracing.correlation_id.get(),
                },
                kind="client",
            ) as span:
                try:
                    answer = call(*given, **named)
                except ProviderError as error:
                    span.set_attribute("tenure.outcome", outcome_of(error))
                    raise
                span.set_attribute("tenure.outcome", "done")
                return answer

        return ask


def outcome_of(error: ProviderError) -> str:
    match error:
        case UnauthorizedError():
            return "unauthorized"
        case RejectedError():
            return "rejected"
        case UnavailableError():
            return "unavailable"
        case OutcomeUnknownError():
            return "unknown"
        case _:
            return "failed"
