"""Does what `plan` asks for, provider call by provider call, and records what happened."""

from registry.reconciler.reconciler import Reconciler

__all__ = ["Reconciler"]
