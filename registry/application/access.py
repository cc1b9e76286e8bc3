"""Who may do what: principals, their roles, and the tokens that prove who they are. Pure; files are the store's.

A role may be given on all models or on one. What spans models (the whole log, the audit, connections) needs it on all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast, get_args

from registry.application.views import iso
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
    """Who asks: `actor` is what events name, `grants` what it may do. `token`: the id of what proved it, if any;
    `rate_max`: its requests per second.

    `bounded`: has at most a share of the server at once. All tokens and sessions of one actor have it together.
    """

    actor: str
    grants: frozenset[Grant]
    token: str | None = None
    rate_max: float | None = None
    bounded: bool = True

    @property
    def bounded_as(self) -> str | None:
        return self.actor if self.bounded else None

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
    """Full rights: whoever sits at this machine, and has all of it anyway."""
    return Principal(actor=actor, grants=frozenset({Grant("admin")}), bounded=False)


ANONYMOUS = Principal(actor="anonymous", grants=frozenset(), bounded=False)
"""Nobody in particular: sees the sign-in page and whether the server is well."""


PREFIX = "tenure"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it is kept: its secret's digest, never the secret. `rate_max`: requests per second, if limited."""

    id: str
    actor: str
    grants: frozenset[Grant]
    digest: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    rate_max: float | None = None

    @property
    def principal(self) -> Principal:
        return Principal(actor=self.actor, grants=self.grants, token=self.id, rate_max=self.rate_max)

    def refusal(self, now: datetime) -> str | None:
        """Why it is no longer good; None when it is."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return None

    def as_json(self) -> dict[str, object]:
        """What may be shown: no digest."""
        return {
            "id": self.id,
            "actor": self.actor,
            "roles": sorted(str(one) for one in self.grants),
            "created_at": iso(self.created_at),
            "created_by": self.created_by,
            "expires_at": iso(self.expires_at) if self.expires_at else None,
            "last_used_at": iso(self.last_used_at) if self.last_used_at else None,
            "revoked_at": iso(self.revoked_at) if self.revoked_at else None,
            "rate_max": self.rate_max,
        }


ACTOR = re.compile(r"(?!policy:|provider:)[a-z]{1,20}:[\w.@+-]{1,100}", re.ASCII)
"""Whoever a token or a session is of: what events say of the registry's own doing is nobody's name."""


def check_actor(actor: str) -> str:
    """The actor itself. Raises BadInputError for what events would not name so."""
    if ACTOR.fullmatch(actor) is None:
        hint = "`policy:` and `provider:` are what events call the registry's own doing"
        raise BadInputError(f"{actor!r} is not an actor: write user:ana, or ci:release", hint=hint, field="actor")
    return actor


def mint(id: str, secret: bytes) -> str:
    """A token as its owner sees it, once: `tenure_<id>_<secret>`."""
    return f"{PREFIX}_{id}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def issue(
    actor: str,
    grants: frozenset[Grant],
    *,
    id: str,
    secret: bytes,
    now: datetime,
    by: str,
    expires_at: datetime | None = None,
    rate_max: float | None = None,
) -> tuple[Token, str]:
    """A new token as it is kept, and as its owner sees it, once. Raises BadInputError."""
    shown = mint(id, secret)
    kept = Token(
        id=id,
        actor=check_actor(actor),
        grants=grants,
        digest=digest(shown.rpartition(f"{id}_")[2]),
        created_at=now,
        created_by=by,
        expires_at=expires_at,
        rate_max=rate_max,
    )
    return kept, shown


def split(text: str) -> tuple[str, str] | None:
    """(id, secret) of something that looks like one of our tokens."""
    prefix, _, rest = text.partition("_")
    name, _, secret = rest.partition("_")
    return (name, secret) if prefix == PREFIX and name and secret else None


def digest(secret: str) -> str:
    """SHA-256 is enough for a secret of 256 random bits: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_right(token: Token, secret: str) -> bool:
    return hmac.compare_digest(token.digest, digest(secret))
