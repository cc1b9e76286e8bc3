"""What every HTTP shell is given. Shells never import each other; the server puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import HTTPConnection

from registry.application.access import Action, Principal
from registry.composition import Registry
from registry.domain.versions import Who


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`registry` holds `reading`, `commands`, `declaring`, `reconciler`, `providers`, `log`: call these from threads
    (a plain `def` route runs in one), never on the event loop: they may block.
    """

    registry: Registry
    settings: Mapping[str, object] = field(default_factory=dict[str, object])


def principal_of(request: HTTPConnection) -> Principal:
    """Who asks: put there by the guard, which has refused whoever is not known."""
    return cast("Principal", request.state.principal)


def who(request: HTTPConnection, reason: str | None = None) -> Who:
    """On whose word a command is given."""
    return Who(actor=principal_of(request).actor, reason=reason)


def check(request: HTTPConnection, action: Action, model: str | None = None) -> Principal:
    """The principal, if it may. Raises NotAllowedError, which the server tells as 403."""
    principal = principal_of(request)
    principal.check(action, model)
    return principal
