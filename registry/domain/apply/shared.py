"""What the handlers of several streams need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from registry.domain.events import Event
from registry.domain.states import DeploymentState, VersionState

Handlers = dict[type[object], Callable[[Any, Any, Event], None]]
"""By the payload's type. pyright cannot pair a handler with its payload; `Any` stands for "what this key names"."""


def asked(state: VersionState | DeploymentState, event: Event) -> None:
    """What follows is done because of this event."""
    state.cause_id = event.id
    state.correlation_id = event.correlation_id
