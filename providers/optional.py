"""What parts of some providers can do besides: whoever needs it asks with `isinstance`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Completing(Protocol):
    """Artifacts that are folders, which somebody's own code may leave without all that serving needs."""

    def complete(self, id: str, base_model: str | None) -> None:
        """Add what a model needs of its base model (None: the one that it fits) and does not have. Idempotent.

        Nothing happens where the base model is not known, or is not there.
        """
        ...


@runtime_checkable
class Interruptible(Protocol):
    def interrupt(self) -> None:
        """From another thread: whoever waits for a piece waits no longer; what comes then is an error, or the end."""
        ...
