"""The refusal of a move, with what is legal instead."""

from __future__ import annotations


class IllegalMoveError(Exception):
    """`lifecycle` names the table; `legal` are the triggers that may be used from `state`, in the table's order."""

    def __init__(self, *, lifecycle: str, state: str, trigger: str, legal: tuple[str, ...]) -> None:
        moves = ", ".join(legal) if legal else "none, it is final"
        super().__init__(f"a {lifecycle} that is {state} cannot {trigger}; legal moves from {state}: {moves}")
        self.lifecycle = lifecycle
        self.state = state
        self.trigger = trigger
        self.legal = legal
