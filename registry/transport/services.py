"""What every HTTP shell is given. Shells never import each other; the server puts them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from starlette.requests import HTTPConnection

from registry.application.access import Action, Principal, refusal
from registry.composition import Registry
from registry.domain.versions import Who
from registry.transport.gate import Gate
from registry.transport.meters import Meters
from registry.transport.oidc import Oidc
from registry.transport.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`registry` holds `reading`, `commands`, `declaring`, `reconciler`, `providers`, `log`: call these from threads
    (a plain `def` route runs in one), never on the event loop: they may block.
    """

    registry: Registry
    gate: Gate = field(default_factory=lambda: Gate(open_to="user:local"))
    watch: Watch = field(init=False)
    meters: Meters = field(init=False)
    oidc: Oidc = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", Watch(self.registry.log))
        object.__setattr__(self, "meters", Meters(self.registry))
        object.__setattr__(self, "oidc", Oidc(self.registry.log, self.registry.clock))
        self.gate.people = self.oidc.settings


def principal_of(request: HTTPConnection) -> Principal:
    """Who asks: put there by the guard, which has refused whoever is not known."""
    return cast("Principal", request.state.principal)


def address_of(request: HTTPConnection) -> str:
    return request.client.host if request.client else "unknown"


def who(request: HTTPConnection, reason: str | None = None) -> Who:
    """On whose word a command is given."""
    return Who(actor=principal_of(request).actor, reason=reason)


def check(request: HTTPConnection, action: Action, model: str | None = None) -> Principal:
    """The principal, if it may. Raises NotAllowedError, which the server tells as 403."""
    principal = principal_of(request)
    principal.check(action, model)
    return principal


def check_somewhere(request: HTTPConnection, action: Action) -> Principal:
    """For lists that are cut to what the principal may see."""
    principal = principal_of(request)
    if not principal.may_somewhere(action):
        raise refusal(principal, action)
    return principal
