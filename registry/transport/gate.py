"""Who asks: a bearer token, a browser's session, or whoever sits at this machine where no token is required."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from registry.application.access import (
    ACTOR,
    ANONYMOUS,
    NotAllowedError,
    NotSignedInError,
    Principal,
    Token,
    everything,
    is_right,
    split,
)
from registry.application.ports import Clock
from registry.application.signing_in import SIGNED_IN, SignIn
from registry.domain.errors import UnavailableError

SESSION_COOKIE = "tenure_session"
SESSION_S = 12 * 3600.0
SESSIONS_MAX = 10_000
FAILURES_MAX = 10
FAILURES_WINDOW_S = 60.0
ADDRESSES_MAX = 10_000
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Tokens(Protocol):
    def all(self) -> list[Token]: ...
    def find(self, id: str) -> Token | None: ...
    def used(self, id: str, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's who showed a token, or who came from the sign-in provider with these claims."""

    token: str | None
    claims: Mapping[str, object]
    until: float


class TooManyError(UnavailableError):
    status = 429
    title = "Too many requests"


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate` a second, bursts of as many."""

    rate: float
    burst: float
    left: float
    at: float

    def wait_s(self, now: float) -> float:
        """0 when one may go now; else how long until one may."""
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / self.rate


@dataclass(slots=True)
class Buckets:
    """One bucket per key, the least recently used forgotten first."""

    held: OrderedDict[str, Bucket] = field(default_factory=OrderedDict[str, Bucket])

    def wait_s(self, key: str, rate: float, burst: float) -> float:
        now = time.monotonic()
        bucket = self.held.pop(key, None)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, burst, burst, now)
        self.held[key] = bucket
        if len(self.held) > ADDRESSES_MAX:
            self.held.popitem(last=False)
        return bucket.wait_s(now)


class Gate:
    """`open_to`: who everybody is taken for that shows no token; None where a token is required."""

    def __init__(self, *, open_to: str | None, tokens: Tokens | None = None, clock: Clock | None = None) -> None:
        self.open_to = open_to
        self.local_secret = secrets.token_urlsafe(32)
        """Full rights for whoever can read this server's `server.json`, for as long as it runs."""
        self.tokens = tokens
        self._clock = clock
        self.people: Callable[[], SignIn | None] = _nobody
        """What roles people have, now: a change counts in sessions that are open."""
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._failures = Buckets()
        self._rates = Buckets()

    def principal(self, headers: Mapping[str, str], cookies: Mapping[str, str], address: str) -> Principal:
        """Who makes this request. Raises NotSignedInError for a token that is not good, TooManyError."""
        found = self.known(headers, cookies, address)
        if found.token not in {None, SIGNED_IN}:
            self._count(found)
        return found

    def known(self, headers: Mapping[str, str], cookies: Mapping[str, str], address: str) -> Principal:
        """The same, and not counted as a request: for streams, which outlive tokens, sessions and roles."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        shown = shown.strip() if scheme.lower() == "bearer" else ""
        if shown and hmac.compare_digest(shown.encode(), self.local_secret.encode()):
            return everything(_named(headers) or self.open_to or "user:local")
        parts = split(shown)
        if parts is not None:
            return self._by_token(*parts, address).principal
        held = self._held(cookies.get(SESSION_COOKIE, ""))
        if held is not None:
            return held
        if self.open_to is not None:
            return everything(_named(headers) or self.open_to)
        if shown:
            self.failed(address)
            raise NotSignedInError(
                "this is not a token of this registry", hint="an admin makes one: tenure tokens create"
            )
        return ANONYMOUS

    def sign_in(self, shown: str, address: str) -> str:
        """A session for a token. Raises NotSignedInError, TooManyError."""
        parts = split(shown.strip())
        if parts is None:
            self.failed(address)
            raise NotSignedInError(
                "this is not a token of this registry", hint="an admin makes one: tenure tokens create"
            )
        return self._begun(self._by_token(*parts, address).id, {})

    def sign_in_person(self, claims: Mapping[str, object]) -> tuple[Principal, str]:
        """Who somebody with these verified claims is, and a session. Raises NotAllowedError for one without a role."""
        people = self.people()
        if people is None:
            raise NotAllowedError("people sign in with tokens here")
        return people.principal(claims), self._begun(None, claims)

    def _begun(self, token: str | None, claims: Mapping[str, object]) -> str:
        session = secrets.token_urlsafe(32)
        self._sessions[session] = Session(token, claims, time.monotonic() + SESSION_S)
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return session

    def _held(self, session: str) -> Principal | None:
        """Whose session it is, as long as the token is good or the claims give a role."""
        found = self._sessions.get(session)
        if found is None or found.until <= time.monotonic():
            return None
        if found.token is not None:
            token = self._good(found.token)
            return token.principal if token is not None else None
        people = self.people()
        try:
            return people.principal(found.claims) if people is not None else None
        except NotAllowedError:
            return None

    def sign_out(self, session: str) -> None:
        self._sessions.pop(session, None)

    def _by_token(self, id: str, secret: str, address: str) -> Token:
        token = self.tokens.find(id) if self.tokens is not None else None
        if token is None or not is_right(token, secret):
            self.failed(address)
            raise NotSignedInError("this token is not known here", hint="`tenure tokens list` shows those that are")
        why = token.refusal(self._now())
        if why is not None:
            raise NotSignedInError(f"the token {token.id} of {token.actor} is {why}", hint="an admin makes a new one")
        return token

    def _good(self, id: str) -> Token | None:
        token = self.tokens.find(id) if self.tokens is not None else None
        return token if token is not None and token.refusal(self._now()) is None else None

    def _count(self, found: Principal) -> None:
        assert self.tokens is not None
        assert found.token is not None
        if found.rate_max is not None:
            wait_s = self._rates.wait_s(found.token, found.rate_max, max(found.rate_max, 1.0))
            if wait_s > 0:
                message = f"token {found.token} may ask {found.rate_max:g} times a second"
                raise TooManyError(message, retry_after_s=wait_s)
        self.tokens.used(found.token, self._now())

    def failed(self, address: str) -> None:
        """Slows down whoever tries: so many failures at once, then one every few seconds. Raises TooManyError."""
        wait_s = self._failures.wait_s(address, FAILURES_MAX / FAILURES_WINDOW_S, FAILURES_MAX)
        if wait_s > 0:
            raise TooManyError("too many failures to sign in from this address", retry_after_s=wait_s)

    def _now(self) -> datetime:
        assert self._clock is not None
        return self._clock()


def _nobody() -> None:
    pass


def _named(headers: Mapping[str, str]) -> str | None:
    """Whoever has full rights here may say for whom they act, as `TENURE_ACTOR` does without a server."""
    name = headers.get("tenure-actor", "")
    return name if ACTOR.fullmatch(name) else None


def local_path(path: str | None) -> str:
    """A page of this server, for whoever has signed in; never another site.

    Browsers take a backslash for a slash, and pass over tabs and line breaks.
    """
    elsewhere = not path or not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable()
    return "/" if elsewhere else str(path)


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """No other site may act with what a browser holds for this one. Raises NotAllowedError.

    Browsers say where a request comes from (Sec-Fetch-Site, or Origin); what says nothing is no browser. A request with
    an Authorization header was not made by a foreign form.
    """
    if method in {"GET", "HEAD", "OPTIONS"} or "authorization" in headers:
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in {"same-origin", "none"}:
            return
        raise NotAllowedError("this request comes from another site", hint="open the pages of this registry itself")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise NotAllowedError("this request comes from another site", hint="open the pages of this registry itself")


def check_loopback(headers: Mapping[str, str]) -> None:
    """Where everyone has full rights, only this machine may ask, by its own name. Raises NotAllowedError.

    A foreign name in Host is a page that had its own name point here; a forwarding header is a proxy in front of a
    server that believes nobody is there.
    """
    host = headers.get("host", "").rsplit(":", 1)[0] if not headers.get("host", "").endswith("]") else headers["host"]
    host = host.strip("[]").lower()
    if host not in LOOPBACK_NAMES and not host.endswith(".localhost"):
        raise NotAllowedError(
            f"this server answers as localhost, not as {host!r}: tokens are not required here",
            hint="start it with `tenure serve --auth` to use it under another name",
        )
    if "x-forwarded-for" in headers or "forwarded" in headers:
        raise NotAllowedError(
            "this request came through a proxy, and tokens are not required here",
            hint="start it with `tenure serve --auth`",
        )
