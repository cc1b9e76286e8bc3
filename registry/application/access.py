"""Who may do what: principals, their roles, and the tokens that prove who they are. Pure; files are the store's.

A role may be given on all models or on one. What spans models (the whole log, the audit, connections) needs it on all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from registry.domain.errors import BadInputError, TenureError
from registry.domain.ids import check_name

Role = Literal["viewer", "user", "developer", "approver", "admin"]
Action = Literal["read", "chat", "develop", "approve", "administer"]

ROLES: Mapping[Role, frozenset[Action]] = {
    "viewer": frozenset({"read"}),
    "user": frozenset({"chat"}),
    "developer": frozenset({"read", "chat", "develop"}),
    "approver": frozenset({"read", "chat", "approve"}),
    "admin": frozenset({"read", "chat", "develop", "approve", "administer"}),
}
"""`develop`: make, move, deploy, delete versions. `administer`: connections, policies, prices, the scheduler."""


class NotAllowedError(TenureError):
    """Known, and not permitted. The message says which role would be."""

    exit_code = 3
    status = 403
    title = "Not allowed"


class NotSignedInError(TenureError):
    """Nobody that is known: no token, or one that is unknown, expired or revoked."""

    exit_code = 3
    status = 401
    title = "Not signed in"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on all models (`model` None) or on one."""

    role: Role
    model: str | None = None

    def __str__(self) -> str:
        return self.role if self.model is None else f"{self.role}:{self.model}"

    @classmethod
    def parse(cls, text: str) -> Grant:
        """`developer`, or `developer:support-bot`. Raises BadInputError."""
        role, colon, model = text.partition(":")
        if role not in ROLES:
            raise BadInputError(f"{role!r} is not a role; known: {', '.join(get_args(Role))}", field="role")
        return cls(cast("Role", role), check_name(model, "model") if colon else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: `actor` is what events name, `grants` what it may do. `token`: the id of what proved it, if any."""

    actor: str
    grants: frozenset[Grant]
    token: str | None = None

    def may(self, action: Action, model: str | None = None) -> bool:
        """Whether it may do this to a model; with None, to everything."""
        return any(action in ROLES[one.role] and one.model in {None, model} for one in self.grants)

    def may_somewhere(self, action: Action) -> bool:
        """Whether there is any model to which it may do this: for lists, which are then cut to those."""
        return any(action in ROLES[one.role] for one in self.grants)

    def check(self, action: Action, model: str | None = None) -> None:
        """Raises NotAllowedError."""
        if not self.may(action, model):
            raise refusal(self, action, model)


def refusal(principal: Principal, action: Action, model: str | None = None) -> NotAllowedError:
    roles = " or ".join(role for role, actions in ROLES.items() if action in actions)
    where = f"model {model!r}" if model else "all models"
    have = ", ".join(sorted(str(one) for one in principal.grants)) or "none"
    return NotAllowedError(
        f"{principal.actor} may not {action} on {where}", hint=f"it needs the role {roles}; the roles held are: {have}"
    )


def everything(actor: str) -> Principal:
    """Full rights: whoever sits at this machine, where no token is required."""
    return Principal(actor=actor, grants=frozenset({Grant("admin")}))
