"""Every command, whoever sends it. May be repeated: what is already so is success, and a key repeats an answer."""

from __future__ import annotations

from registry.application.commands.finishing import Finishing
from registry.application.commands.importing import Importing
from registry.application.commands.shared import provider_errors
from registry.application.commands.training import FineTune, Training, training_request


class Commands(Training, Importing, Finishing):
    """Each subject in its own module; `Shared` is what they have in common."""


__all__ = ["Commands", "FineTune", "provider_errors", "training_request"]
