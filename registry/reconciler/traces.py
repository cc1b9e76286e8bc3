"""Steps as spans: what is done about something belongs to the request it began with, a look is a trace of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from registry.application import tracing
from registry.application.tracing import Span
from registry.domain.plan import Step
from registry.reconciler.performing import Done


def began_with(step: Step) -> str | None:
    """The correlation id of the events that the step follows from."""
    subject = step.deployment or step.version
    return subject.correlation_id if subject is not None else None


def performed(step: Step, perform: Callable[[Step], Done], *, alone: bool) -> Done:
    """`alone`: it may be repeated for days, which no request's trace should hold."""
    if not tracing.active():
        return perform(step)
    began = began_with(step)
    known = {"tenure.connection": step.connection, "tenure.subject": step.subject, "tenure.correlation_id": began}
    with tracing.span(step.action.value, known, since=None if alone else began):
        return perform(step)


def looking_once(step: Step, steps: int) -> AbstractContextManager[Span]:
    """One look at a provider that serves so many steps."""
    return tracing.span(step.action.value, {"tenure.connection": step.connection, "tenure.steps": steps})
