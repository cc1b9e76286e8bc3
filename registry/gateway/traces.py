"""One provider's answer as a span: which version and deployment, how many tokens; never what was asked and said."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from registry.application import tracing
from registry.gateway.relay import Answer
from registry.gateway.table import Replica


@contextmanager
def traced(replica: Replica, answer: Answer) -> Generator[None]:
    known = {
        "gen_ai.operation.name": "chat",
        "tenure.version": str(replica.ref),
        "tenure.deployment": replica.deployment,
        "tenure.connection": replica.connection.name,
        "tenure.provider": replica.connection.provider,
    }
    with tracing.span(f"chat {replica.ref}", known, kind="client") as span:
        try:
            yield
        finally:
            span.set_attribute("http.response.status_code", answer.status)
            if answer.tokens is not None:
                span.set_attribute("gen_ai.usage.input_tokens", answer.tokens[0])
                span.set_attribute("gen_ai.usage.output_tokens", answer.tokens[1])
