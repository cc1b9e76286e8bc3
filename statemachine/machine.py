"""One question, asked of `transitions`: where does this trigger lead from here? Nothing is moved or remembered."""

from __future__ import annotations

from typing import Any, cast

from transitions import Machine

from statemachine.errors import IllegalMoveError
from statemachine.tables import Lifecycle


def move(lifecycle: Lifecycle, state: str, trigger: str) -> str:
    """The state that `trigger` leads to. Raises IllegalMoveError, and ValueError for a state that does not exist."""
    if state not in lifecycle.states:
        raise ValueError(f"{state!r} is not a state of a {lifecycle.name}")
    found = _machine(lifecycle.name, lifecycle).get_transitions(trigger=trigger, source=state)
    if not found:
        legal = legal_moves(lifecycle, state)
        raise IllegalMoveError(lifecycle=lifecycle.name, state=state, trigger=trigger, legal=legal)
    return cast("str", found[0].dest)


def legal_moves(lifecycle: Lifecycle, state: str) -> tuple[str, ...]:
    """The triggers that may be used from a state, in the table's order; empty for a final state."""
    machine = _machine(lifecycle.name, lifecycle)
    return tuple(trigger for trigger in lifecycle.triggers if machine.get_transitions(trigger=trigger, source=state))


_machines: dict[str, Any] = {}


def _machine(name: str, lifecycle: Lifecycle) -> Any:  # noqa: ANN401 - `transitions` has no types
    if name not in _machines:
        _machines[name] = Machine(
            model=None,
            states=list(lifecycle.states),
            initial=next(iter(lifecycle.entries)),
            transitions=[
                {"trigger": one.trigger, "source": list(one.sources), "dest": one.target} for one in lifecycle.moves
            ],
            auto_transitions=False,
        )
    return _machines[name]
