"""The one middleware in front of every shell: who asks, from where, how much; and what every answer carries.

Plain ASGI, so that it costs microseconds and streams pass untouched.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.application import tracing
from registry.application.access import ANONYMOUS, NotSignedInError, Principal
from registry.application.signing_in import CALLBACK
from registry.domain.errors import TenureError
from registry.system import TimeOrderedIds
from registry.transport.gate import Gate, TooManyError, check_loopback, check_origin, local_path
from registry.transport.line import Shares, share_of
from registry.transport.logs import note, request_id
from registry.transport.problems import is_openai, respond

BODY_BYTES_MAX = 1 << 20
CHAT_BYTES_MAX = 32 << 20
UPLOAD_BYTES_MAX = 2 << 30
UPLOADS = "/api/v1/datasets"
EVENTS = "/api/v1/events/stream"
MODEL_FILES = re.compile(r"/api/v1/models/[^/]+/versions/[0-9]+/files")

CLIENT_GONE = 499
"""As nginx counts those who did not wait for their answer. It stands in the log alone."""

OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/login", "/session", "/session/begin", CALLBACK, "/session/end", "/favicon.ico"}
)
OPEN_PREFIXES = ("/static/",)
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, by machines: not traced."""

WORK_WAITING_MAX = 1_000
WORK_WAITING_S_MAX = 30.0
"""How many requests of one person may wait for those that they have under way, and how long."""

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),  # what was seen signed in is not to be had afterwards, nor from a proxy between
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_ORIGIN = re.compile(r"[a-z]+://[^/]*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """`loopback`: everyone has full rights, so that only this machine, by its own name, may ask.

    `threads`, `connections`: what there is for all, of which one person has a share at once. Chats and event streams
    hold no thread, and may be as many as connections; at a deployment the gateway bounds them.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, threads: int, connections: int, loopback: bool = False) -> None:
        self._apps = {
            size: RequestBodyLimitMiddleware(app, max_body_size=size)
            for size in (BODY_BYTES_MAX, CHAT_BYTES_MAX, UPLOAD_BYTES_MAX)
        }
        self._plain = app
        self._gate = gate
        self._loopback = loopback
        self._work = Shares(places=share_of(threads), waiting_max=WORK_WAITING_MAX, waiting_s_max=WORK_WAITING_S_MAX)
        self._held = Shares(places=share_of(connections), waiting_max=0, waiting_s_max=0.0)
        self._new_id = TimeOrderedIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._plain(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        headers = _headers(scope)
        given = headers.get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else self._new_id()
        bound, asked = request_id.set(name), tracing.asked.set([])
        exchange = _Exchange(scope, send, name)
        try:
            if tracing.active() and scope["path"] not in PROBES:
                with exchange.traced(headers):
                    await self._answer(scope, receive, exchange, headers)
            else:
                await self._answer(scope, receive, exchange, headers)
        finally:
            tracing.asked.reset(asked)
            request_id.reset(bound)

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange, headers: Mapping[str, str]) -> None:
        try:
            refused = self._refusal(scope, headers)
            if refused is None:
                # A body that says its length was refused if it is too large, and HTTP reads no more of it than that.
                counted = "transfer-encoding" in headers
                app = self._apps[_bytes_max(scope["path"])] if counted else self._plain
                await self._in_turn(app, scope, receive, exchange.send)
            else:
                await refused(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except Exception:
            logging.getLogger("tenure.http").exception("a bug: %s %s", scope["method"], scope["path"])
            if exchange.status:
                raise
            hint = f"its log has more under request_id {request_id.get()}"
            bug = TenureError("something is wrong in the server", hint=hint)
            await respond(bug, openai=is_openai(scope["path"]))(scope, receive, exchange.send)
        finally:
            exchange.told()

    async def _in_turn(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """As soon as whoever asks has a place for it: nobody takes all threads, or all connections."""
        principal: Principal = scope["state"]["principal"]
        who = principal.bounded_as
        if who is None:
            await app(scope, receive, send)
            return
        path: str = scope["path"]
        shares = self._held if path == EVENTS or is_openai(path) else self._work
        try:
            await shares.enter(who)
        except TooManyError as error:
            _tell(scope, principal, error)
            await respond(error, openai=is_openai(path))(scope, receive, send)
            return
        try:
            await app(scope, receive, send)
        finally:
            shares.leave(who)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Puts the principal in the scope; or answers what whoever asks is told instead."""
        state = scope.setdefault("state", {})
        state["principal"] = ANONYMOUS
        path: str = scope["path"]
        try:
            check_size(path, headers)
            check_origin(scope["method"], headers)
            if self._loopback:
                check_loopback(headers)
            principal = self._gate.principal(headers, _cookies(headers), _address(scope))
        except TenureError as error:
            _tell(scope, ANONYMOUS, error)
            return respond(error, openai=is_openai(path))
        state["principal"] = principal
        if principal is not ANONYMOUS or path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
            return None
        if "text/html" in headers.get("accept", "") and not is_data(path):
            return _to_sign_in(scope, headers)
        error = NotSignedInError("a token is required here", hint="send it as `Authorization: Bearer …` (TENURE_TOKEN)")
        _tell(scope, principal, error)
        return respond(error, openai=is_openai(path))


def _to_sign_in(scope: Scope, headers: Mapping[str, str]) -> Response:
    """And then to the page that was asked for, or that a form was sent from; which was not done."""
    if scope["method"] == "GET":
        query = scope["query_string"].decode("latin-1")
        came_for = scope["path"] + ("?" + query if query else "")
        return RedirectResponse(f"/login?next={quote(came_for, safe='')}", 303)
    sent_from = _ORIGIN.sub("", headers.get("referer", ""))
    return RedirectResponse(f"/login?next={quote(local_path(sent_from), safe='')}&ended=", 303)


class _Exchange:
    """One request and its answer: adds what every answer carries, and is logged when it is over."""

    __slots__ = ("_began", "_id", "_scope", "_send", "status")

    def __init__(self, scope: Scope, send: Send, id: str) -> None:
        self._scope = scope
        self._send = send
        self._id = id
        self._began = time.perf_counter()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            held = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self._id.encode()),
                *(one for one in _SECURITY if one[0] not in held),
            ]
        await self._send(message)

    @contextmanager
    def traced(self, headers: Mapping[str, str]) -> Generator[None]:
        """A span around it, below the caller's, if they have one; named by its route once that is known."""
        method: str = self._scope["method"]
        known = {"http.request.method": method, "url.path": self._scope["path"], "tenure.request_id": self._id}
        with tracing.span(method, known, kind="server", carrier=headers) as span:
            try:
                yield
            finally:
                route = getattr(self._scope.get("route"), "path", None)
                path = route or (self._scope["path"] if is_openai(self._scope["path"]) else None)
                if path is not None:
                    span.update_name(f"{method} {path}")
                    span.set_attribute("http.route", path)
                span.set_attribute("http.response.status_code", self.status)

    def told(self) -> None:
        """Reads that went well are told at debug level alone, and so are chats: there are many of them."""
        method, path = self._scope["method"], self._scope["path"]
        quiet = self.status < 400 and (method in {"GET", "HEAD"} or is_openai(path))  # noqa: PLR2004
        level = logging.DEBUG if quiet else logging.INFO
        if not logging.getLogger("tenure.http").isEnabledFor(level):
            return
        principal: Principal = self._scope["state"]["principal"]
        took_ms = round((time.perf_counter() - self._began) * 1000, 2)
        more = {"correlation_ids": asked} if (asked := tracing.asked.get()) else {}
        note(level, "request", method=method, path=path, status=self.status, ms=took_ms, actor=principal.actor, **more)


def _without_body(send: Send) -> Send:
    """HEAD is GET whose answer ends with its head; whoever goes on answering is told that nobody listens."""
    begun = False

    async def head(message: Message) -> None:
        nonlocal begun
        if not begun:
            begun = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return head


def _bytes_max(path: str) -> int:
    if path.startswith(UPLOADS) or MODEL_FILES.fullmatch(path):
        return UPLOAD_BYTES_MAX
    return CHAT_BYTES_MAX if is_openai(path) else BODY_BYTES_MAX


def check_size(path: str, headers: Mapping[str, str]) -> None:
    """What says beforehand that it is too large. What does not say is cut off when it has become so."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > _bytes_max(path):
        raise TooLargeError(f"{length} bytes are too many here: at most {_bytes_max(path)}")


class TooLargeError(TenureError):
    exit_code = 2
    status = 413
    title = "Too large"


def is_data(path: str) -> bool:
    """Programs read this, not people: errors are JSON whatever Accept says."""
    return path.startswith(("/api/", "/v1/")) or path in {"/metrics", "/openapi.json", "/healthz", "/readyz"}


def _tell(scope: Scope, principal: Principal, error: TenureError) -> None:
    """Every refusal is logged, with who and why."""
    fields = {"method": scope["method"], "path": scope["path"], "address": _address(scope), "why": error.message}
    note(logging.WARNING, "refused", actor=principal.actor, **fields)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _cookies(headers: Mapping[str, str]) -> Mapping[str, str]:
    text = headers.get("cookie")
    if not text:
        return {}
    try:
        return {name: one.value for name, one in SimpleCookie(text).items()}
    except CookieError:
        return {}


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "unknown"
