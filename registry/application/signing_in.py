"""Whom people at an OpenID Connect provider are here: settings from the TOML file, and what their claims let them do.

Pure. The conversation with the provider is `transport/oidc.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

from registry.application.access import ACTOR, Grant, NotAllowedError, Principal
from registry.domain.errors import BadInputError

CALLBACK = "/session/callback"
SIGNED_IN = "oidc"
"""What proved who somebody is, in place of a token's id."""
DEFAULTS: Mapping[str, object] = {
    "issuer": None,
    "client_id": None,
    "client_secret_env": None,
    "url": None,
    "scopes": ["openid", "email", "profile"],
    "name_claim": "email",
    "groups_claim": "groups",
    "groups": {},
    "emails": {},
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Roles = Mapping[str, frozenset[Grant]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """`client_secret_env`: None for a public client. `groups` and `emails`: which roles each one gives."""

    issuer: str
    client_id: str
    client_secret_env: str | None
    url: str
    scopes: tuple[str, ...]
    name_claim: str
    groups_claim: str
    groups: _Roles
    emails: _Roles

    @classmethod
    def of(cls, written: Mapping[str, object]) -> SignIn:
        """From the table `[oidc]`. Raises BadInputError naming the key."""
        for key in written:
            if key == "client_secret":
                raise _bad(key, "is a secret: name the variable that holds it, client_secret_env")
            if key not in DEFAULTS:
                raise _bad(key, f"is not known; known: {', '.join(DEFAULTS)}")
        values = {**DEFAULTS, **written}
        variable = values["client_secret_env"]
        if variable is not None and not (isinstance(variable, str) and _VARIABLE.fullmatch(variable)):
            raise _bad("client_secret_env", "is not the name of an environment variable")
        scopes = values["scopes"]
        if not isinstance(scopes, list | tuple) or "openid" not in scopes:
            raise _bad("scopes", 'is not a list with "openid" in it')
        return cls(
            issuer=_address(values, "issuer"),
            client_id=_text(values, "client_id"),
            client_secret_env=variable,
            url=_address(values, "url"),
            scopes=tuple(str(one) for one in cast("list[object]", scopes)),
            name_claim=_text(values, "name_claim"),
            groups_claim=_text(values, "groups_claim"),
            groups=_roles(values, "groups"),
            emails=_roles(values, "emails"),
        )

    @property
    def redirect_uri(self) -> str:
        """Registered with the provider, which compares it letter by letter."""
        return f"{self.url}{CALLBACK}"

    def principal(self, claims: Mapping[str, object]) -> Principal:
        """Who someone with these claims is. Raises NotAllowedError for whom no event could name, or without a role.

        An address counts only where the provider says that it has verified it: elsewhere anyone may claim any.
        """
        email = str(claims.get("email", "")).lower() if claims.get("email_verified") is True else None
        name = email if self.name_claim == "email" else claims.get(self.name_claim)
        actor = f"user:{name}"
        if not isinstance(name, str) or ACTOR.fullmatch(actor) is None:
            what = "a verified email" if self.name_claim == "email" else f"a claim {self.name_claim!r} that names one"
            hint = "an admin may choose another claim: name_claim in [oidc]"
            raise NotAllowedError(f"{_subject(claims)} has not {what}", hint=hint)
        groups = claims.get(self.groups_claim)
        found = {str(one) for one in cast("list[object]", groups)} if isinstance(groups, list) else {str(groups)}
        grants = {one for group in found for one in self.groups.get(group, ())}
        grants |= self.emails.get(email, frozenset()) if email is not None else frozenset()
        if not grants:
            hint = "an admin gives one to a group or an address: groups and emails in [oidc]"
            raise NotAllowedError(f"{actor} has no role here", hint=hint)
        return Principal(actor=actor, grants=frozenset(grants), token=SIGNED_IN)


def _subject(claims: Mapping[str, object]) -> str:
    return f"the person {str(claims.get('sub', ''))[:100]!r}"


def _bad(key: str, why: str) -> BadInputError:
    return BadInputError(f"oidc.{key} {why}", field=f"oidc.{key}")


def _text(values: Mapping[str, object], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip():
        raise _bad(key, "is needed" if value is None else "is not a text")
    return value


def _address(values: Mapping[str, object], key: str) -> str:
    text = _text(values, key)
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        raise _bad(key, "is not an address") from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or parts.username:
        raise _bad(key, "is not an address: write https://…")
    if parts.scheme == "http" and not is_loopback(host):
        raise _bad(key, "has plain http, which is accepted for loopback only")
    return text if key == "issuer" else text.rstrip("/")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _roles(values: Mapping[str, object], key: str) -> _Roles:
    table = values[key]
    if not isinstance(table, Mapping):
        raise _bad(key, f"is not a table: write [oidc.{key}]")
    found: dict[str, frozenset[Grant]] = {}
    for name, roles in cast("Mapping[str, object]", table).items():
        if not isinstance(roles, list | tuple):
            raise _bad(f"{key}.{name}", 'is not a list of roles: write ["developer", "approver:support-bot"]')
        found[name.lower() if key == "emails" else name] = frozenset(
            Grant.parse(str(one)) for one in cast("list[object]", roles)
        )
    return found
