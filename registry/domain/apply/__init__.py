"""Fold events into states. `apply` never refuses: what was recorded has happened.

One handler per event type, found in a table, so that a rebuild of millions of events costs a dictionary look-up each.
"""

from __future__ import annotations

from collections.abc import Iterable

from registry.domain.apply import deployments, models, registry, versions
from registry.domain.apply.shared import Handlers
from registry.domain.events import Event
from registry.domain.ids import VersionRef
from registry.domain.states import ConnectionState, DeploymentState, ModelState, RegistryState, State, VersionState

_HANDLERS: Handlers = {**registry.HANDLERS, **models.HANDLERS, **versions.HANDLERS, **deployments.HANDLERS}


def new_state(stream: str) -> State:
    """The empty state of a stream, by the kind in its name. Raises ValueError for a kind that does not exist."""
    kind, _, key = stream.partition(":")
    match kind:
        case "version":
            ref = VersionRef.parse(key)
            return VersionState(model=ref.model, version=ref.number)
        case "deployment":
            return DeploymentState(id=key)
        case "model":
            return ModelState(name=key)
        case "connection":
            return ConnectionState(name=key)
        case "registry":
            return RegistryState()
        case _:
            raise ValueError(f"{stream!r} is not a stream of a kind that is known")


def apply(state: State, event: Event) -> None:
    """Change `state` to what it is after `event`, which must be the next one of its stream."""
    handler = _HANDLERS.get(type(event.payload))
    if handler is not None:
        handler(state, event.payload, event)
    state.stream_version = event.stream_version


def fold(stream: str, events: Iterable[Event]) -> State:
    state = new_state(stream)
    for event in events:
        apply(state, event)
    return state
