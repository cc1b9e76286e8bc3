"""`/v1` as plain ASGI: nothing between the socket and the provider but a look into a table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import cast

from starlette.types import Message, Receive, Scope, Send

from registry.application import tracing
from registry.application.access import Principal, refusal
from registry.gateway.asking import Ask, parse
from registry.gateway.backends import Backend, Backends
from registry.gateway.counting import Counts
from registry.gateway.limits import Limits
from registry.gateway.refusal import BrokenOffError, Headers, RefusalError, UnreadError, UpstreamError
from registry.gateway.relay import Answer, Relay
from registry.gateway.traces import traced
from registry.transport.guard import CLIENT_GONE
from registry.transport.logs import note

ATTEMPTS_MAX = 3
NAME_SHOWN_MAX = 100
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
_HANDED_ON = {b"accept", b"traceparent", b"tracestate", b"idempotency-key", b"x-client-request-id", b"openai-beta"}
"""Request headers that mean something to whoever answers. The caller's credential is ours, and never leaves."""


class GatewayApp:
    """ASGI. The guard has put the principal into the scope."""

    def __init__(self, backends: Backends, counts: Counts, limits: Limits, *, http: Relay, translating: Relay) -> None:
        self._backends = backends
        self._counts = counts
        self._limits = limits
        self._http = http
        self._translating = translating
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except RefusalError as error:
            self._counts.refused(error.code)
            await respond(send, error.status, error.headers(), error.body())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = cast("str", scope["method"]), cast("str", scope["path"])
        principal = cast("Principal", scope["state"]["principal"])
        if not self.started:
            raise RefusalError(503, "starting", "the gateway is not started", retry_after_s=1)
        if path == CHAT and method == "POST":
            await self._chat(scope, receive, send, principal)
        elif path == MODELS and method == "GET":
            await respond_json(send, {"object": "list", "data": self._models(principal)})
        elif path.startswith(MODELS + "/") and method == "GET":
            await respond_json(send, await self._model(principal, path.removeprefix(MODELS + "/")))
        else:
            message = f"{method} {path}: this gateway has POST {CHAT}, GET {MODELS} and GET {MODELS}/MODEL"
            if path != CHAT and not f"{path}/".startswith(MODELS + "/"):
                raise RefusalError(404, "unknown_url", message, again=False)
            allow = b"POST" if path == CHAT else b"GET, HEAD"
            raise RefusalError(405, "method_not_allowed", message, again=False, more=[(b"allow", allow)])

    def _models(self, principal: Principal) -> list[dict[str, object]]:
        return [
            _shown(name, created)
            for name, model, created in sorted(self._backends.table.listed())
            if principal.may("chat", model)
        ]

    async def _model(self, principal: Principal, name: str) -> dict[str, object]:
        _check(principal, name)
        await self._known(name)
        created = next(created for found, _, created in self._backends.table.listed() if found == name)
        return _shown(name, created)

    async def _known(self, name: str) -> None:
        """Something answers for it. What became so a moment ago is waited for. Raises RefusalError (404, 409)."""
        try:
            self._backends.table.resolve(name)
        except RefusalError:
            if not await self._backends.catch_up():
                raise
            self._backends.table.resolve(name)

    async def _chat(self, scope: Scope, receive: Receive, send: Send, principal: Principal) -> None:
        body = await self._question(receive)
        if body is None:
            return
        ask = parse(body, principal.bounded_as)
        _check(principal, ask.model)
        caller = _Caller(receive)
        try:
            await self._served(ask, _extra(scope), send, caller)
        except asyncio.CancelledError:
            if not caller.gone:
                raise
            caller.forgive()
        finally:
            caller.stop()

    async def _question(self, receive: Receive) -> bytes | None:
        """None: the caller went away."""
        try:
            async with asyncio.timeout(self._limits.question_s_max):
                return await _body(receive)
        except TimeoutError:
            message = f"the body did not come within {self._limits.question_s_max:g} s"
            raise RefusalError(408, "request_timeout", message, closing=True) from None

    async def _served(self, ask: Ask, extra: Mapping[str, str], send: Send, caller: _Caller) -> None:
        """Tried again elsewhere before the first byte, and never after it."""
        await self._known(ask.model)
        tried: list[str] = []
        failure: UpstreamError | None = None
        for _ in range(ATTEMPTS_MAX):
            backend = self._backends.pick(ask.model, tried)
            if backend is None:
                assert failure is not None
                if not failure.lost or len(tried) > 1:
                    break
                backend = self._backends.pick(ask.model, ())
                assert backend is not None
            try:
                await self._one(backend, ask, extra, send, caller)
            except UpstreamError as error:
                failure = error
                if not error.elsewhere:
                    break
                self._backends.rest(backend)
                tried.append(backend.replica.id)
            else:
                return
        assert failure is not None
        raise failure

    async def _one(self, backend: Backend, ask: Ask, extra: Mapping[str, str], send: Send, caller: _Caller) -> None:
        began = time.perf_counter()
        first: list[float] = []
        answer = Answer(send, lambda: first.append(time.perf_counter() - began), caller.stop, self._limits.unread_s_max)
        failed: int = CLIENT_GONE
        await backend.admission.enter(ask.who)
        try:
            await self._backends.ready(backend)
            relay = self._translating if backend.link is None else self._http
            if tracing.active():
                with traced(backend.replica, answer):
                    await relay(backend, ask, {**extra, **tracing.headers()}, answer)
            else:
                await relay(backend, ask, extra, answer)
            failed = 0
        except UpstreamError as error:
            failed = error.status
            error.more = backend.headers
            raise
        except BrokenOffError as error:
            failed = 502
            await _break_off(answer, error, caller.stop)
        except UnreadError:
            caller.stop()
        finally:
            answer.close()
            backend.admission.leave(ask.who)
            self._counts.count(
                backend.replica,
                status=failed or answer.status,
                tokens=answer.tokens,
                first_s=first[0] if first else None,
                whole_s=time.perf_counter() - began,
            )


class _Caller:
    """Whoever waits for the answer. When they go away, the task that works for them is cancelled, and with it the
    request to the provider.
    """

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._over = False
        self.gone = False
        self._listening = asyncio.ensure_future(receive())
        self._listening.add_done_callback(self._heard)

    def stop(self) -> None:
        """The answer is complete, or about to be: from now on it makes no difference whether they are there."""
        self._over = True
        self._listening.cancel()

    def forgive(self) -> None:
        self._task.uncancel()

    def _heard(self, listening: asyncio.Future[Message]) -> None:
        if not self._over and not listening.cancelled():
            self.gone = True
            self._task.cancel()


async def _body(receive: Receive) -> bytes | None:
    """None: the caller went away. How much it may be, the guard says."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _extra(scope: Scope) -> dict[str, str]:
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in _HANDED_ON}


def _check(principal: Principal, name: str) -> None:
    """Before anything is said about whether there is such a model."""
    model = name.rpartition("@")[0] or name
    if not principal.may("chat", model):
        denied = refusal(principal, "chat", model[:NAME_SHOWN_MAX])
        note(logging.WARNING, "refused", actor=principal.actor, path="/v1", why=denied.message)
        raise RefusalError(403, "permission_denied", f"{denied.message}: {denied.hint}", param="model", again=False)


async def _break_off(answer: Answer, error: BrokenOffError, stop: Callable[[], None]) -> None:
    """A stream between two events can still say what happened, as OpenAI's do. Otherwise the connection is closed with
    the answer incomplete, which is how HTTP says it.
    """
    stop()
    if answer.tail.ends_an_event():
        told = RefusalError(502, "upstream_broken", f"what serves this version broke off: {error}")
        with contextlib.suppress(UnreadError):
            await answer.end(b"data: " + told.body() + b"\n\n")


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, value: object) -> None:
    await respond(send, 200, [(b"content-type", b"application/json")], json.dumps(value).encode())


def _shown(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "tenure"}
