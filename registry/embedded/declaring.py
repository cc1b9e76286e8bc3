"""Connections, models, policies, prices and the scheduler, as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from registry.application.declaring import read_toml
from registry.application.views import ChangeView, ConnectionView
from registry.domain.events import Json
from registry.embedded.questions import Questions


class Declaring(Questions):
    def apply(self, source: Path | str | Mapping[str, object], *, plan: bool = False) -> list[ChangeView]:
        """Connections, models, policies, prices and the scheduler from TOML; `plan` only says what would change."""
        document = source if isinstance(source, Mapping) else read_toml(Path(source))
        return self._registry.declaring.apply(document, self._who(None), plan=plan)

    def declare_connection(self, name: str, settings: Mapping[str, object]) -> ConnectionView:
        """Add it, or give it the settings that differ: the keys of its TOML table. Raises BadInputError."""
        self._registry.declaring.declare_connection(name, settings, self._who(None))
        return next(one for one in self.connections() if one.name == name)

    def remove_connection(self, name: str) -> None:
        """Forget it. Raises NotFoundError, and RefusedError while anything at it may be billed or is under way."""
        self._registry.reading.connection_state(name)
        self._registry.declaring.remove_connection(name, self._who(None))

    def set_policy(self, model: str, policy: Mapping[str, object]) -> Json:
        """Set the rules that are named; the others stay. Gives all rules. Raises NotFoundError for an unknown model."""
        self._registry.reading.model_state(model)
        self._registry.declaring.set_policy(model, policy, self._who(None))
        return self.policy(model)
