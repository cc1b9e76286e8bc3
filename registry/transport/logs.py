"""Structured logs: one JSON object per line on stderr, each with the id of the request that it belongs to.

Never in a log: tokens, cookies, bodies, query strings, prompts.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import cast

from providers.redaction import without_secrets
from registry.application.tracing import correlation_id, trace_id

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

logger = logging.getLogger("tenure.http")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = request_id.get()
        if current is not None:
            line["request_id"] = current
        ids = {"correlation_id": correlation_id.get(), "trace_id": trace_id()}
        line |= {name: one for name, one in ids.items() if one is not None}
        line.update(cast("dict[str, object]", getattr(record, "fields", {})))
        if record.exc_info:
            line["trace"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str = "INFO") -> None:
    """For the process of a server: everything that is logged anywhere goes to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it tells each of its repetitions, for ever
    for name in ("tenure", "registry", "providers", "uvicorn"):
        logging.getLogger(name).setLevel(level)


def note(level: int, message: str, **fields: object) -> None:
    logger.log(level, message, extra={"fields": fields})
