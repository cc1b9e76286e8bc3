"""Spans from a request to the provider's call, where somebody asked for them; else one costs a microsecond, no import.

What makes spans is put in by the server (`transport/telemetry.py`). Attributes are names, ids and outcomes: never a
prompt, a completion, a secret, or an error's text, which may quote one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Literal, Protocol

Attribute = str | int | float | bool
Kind = Literal["internal", "server", "client"]

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""What the work at hand began with: the `correlation_id` of its events, and of every line that is logged meanwhile."""

asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)
"""The correlation ids of what a request asked for, gathered for the line that is logged about it."""
ASKED_MAX = 20


class Span(Protocol):
    def set_attribute(self, key: str, value: Attribute, /) -> None: ...
    def update_name(self, name: str, /) -> None: ...


class Tracer(Protocol):
    def span(
        self,
        name: str,
        *,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        since: str | None,
        carrier: Mapping[str, str] | None,
    ) -> AbstractContextManager[Span]:
        """A span below the current one; else below the request that `since`, a correlation id, came from; else below
        what a caller's headers (`carrier`) name; else the first of a trace.
        """
        ...

    def began(self, correlation_id: str) -> None:
        """What follows from these events, in whatever thread and however late, belongs to the current trace."""
        ...

    def headers(self) -> Mapping[str, str]:
        """The current span as W3C trace context, for whoever is asked next."""
        ...

    def trace_id(self) -> str | None: ...


class _Nothing:
    """A span that nobody sees. One object is entered any number of times at once."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_attribute(self, key: str, value: Attribute, /) -> None:
        pass

    def update_name(self, name: str, /) -> None:
        pass


_NOTHING = _Nothing()
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """From now on, in this process. None: no traces."""
    global _tracer  # noqa: PLW0603 - as logging's handlers, it is the process's
    _tracer = tracer


def active() -> bool:
    return _tracer is not None


def span(
    name: str,
    attributes: Mapping[str, Attribute | None],
    *,
    kind: Kind = "internal",
    since: str | None = None,
    carrier: Mapping[str, str] | None = None,
) -> AbstractContextManager[Span]:
    """Attributes that are None are left out. An error that passes through marks the span with its class."""
    if _tracer is None:
        return _NOTHING
    known = {key: value for key, value in attributes.items() if value is not None}
    return _tracer.span(name, kind=kind, attributes=known, since=since, carrier=carrier)


def began(id: str) -> None:
    """A command was recorded; what follows from it bears this correlation id."""
    told = asked.get()
    if told is not None and len(told) < ASKED_MAX:
        told.append(id)
    if _tracer is not None:
        _tracer.began(id)


def headers() -> Mapping[str, str]:
    return _tracer.headers() if _tracer is not None else {}


def trace_id() -> str | None:
    return _tracer.trace_id() if _tracer is not None else None
