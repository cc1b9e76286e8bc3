"""A provider on loopback that answers as OpenAI does, at once, and misbehaves where a test says so."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from tests.gateway.serving import Server

WORDS = ("Your", " order", " is", " on", " its", " way")
FRAME = {"id": "chatcmpl-1", "created": 1_793_534_400, "system_fingerprint": "fp_1"}


@dataclass(slots=True)
class Call:
    """One request as it came. `gone` is set when its caller went away before the answer was complete."""

    path: str
    headers: dict[str, str]
    body: bytes
    send: Send
    receive: Receive
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    async def start(self, status: int = 200, **headers: str) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": named})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def reply(self, status: int, body: bytes, **headers: str) -> None:
        await self.start(status, **{"content_type": "application/json", "content_length": str(len(body)), **headers})
        await self.write(body, more=False)

    async def leaving(self) -> None:
        """Returns when the caller goes away."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


Behaviour = Callable[[Call], Awaitable[None]]


class Upstream:
    """`behave`: what it does with requests for one model; the others are answered."""

    def __init__(self, *, tls: tuple[Path, Path] | None = None) -> None:
        self.calls: list[Call] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._usual: Behaviour = answer
        self._server = Server(self._answer, tls=tls)

    @property
    def url(self) -> str:
        return self._server.url

    def behave(self, model: str, behaviour: Behaviour) -> None:
        self._behaviours[model] = behaviour

    def behave_always(self, behaviour: Behaviour) -> None:
        self._usual = behaviour

    def models(self) -> list[str]:
        return [str(one.json["model"]) for one in self.calls]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        call = Call(scope["path"], headers, b"".join(parts), send, receive)
        self.calls.append(call)
        await self._behaviours.get(str(call.json.get("model")), self._usual)(call)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)


async def answer(call: Call) -> None:
    if call.json.get("stream"):
        await stream(call)
    else:
        await call.reply(200, completion(call.json["model"]), x_request_id="req_up", openai_version="2020-10-01")


def completion(model: str) -> bytes:
    """With white space and an order of its own, so that only the very same bytes are equal."""
    message = {"role": "assistant", "content": 'It says "usage": {"prompt_tokens": 999}.', "of_tomorrow": [1.0, 10**20]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    return json.dumps(
        {**FRAME, "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}, indent=1
    ).encode()


def events(model: str, *, usage: bool = False) -> list[bytes]:
    found = [_event(model, {"content": word}) for word in WORDS]
    if usage:
        counts: dict[str, int] = {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
        tail: dict[str, object] = {
            **FRAME,
            "object": "chat.completion.chunk",
            "model": model,
            "choices": [],
            "usage": counts,
        }
        found.append(b"data: " + json.dumps(tail).encode() + b"\n\n")
    return [*found, b"data: [DONE]\n\n"]


def _event(model: str, delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return (
        b"data: "
        + json.dumps({**FRAME, "object": "chat.completion.chunk", "model": model, "choices": [choice]}).encode()
        + b"\n\n"
    )


async def stream(call: Call) -> None:
    options: dict[str, object] = call.json.get("stream_options") or {}
    await call.start(content_type="text/event-stream")
    for event in events(call.json["model"], usage=bool(options.get("include_usage"))):
        await call.write(event)
        await asyncio.sleep(0)
    await call.write(b"", more=False)


def refusing(status: int, message: str = "no", **headers: str) -> Behaviour:
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": "their_code"}}).encode()

    async def refuse(call: Call) -> None:
        await call.reply(status, body, **headers)

    return refuse


class Held:
    """A behaviour that answers nothing until `let_go`, or begins a stream and then waits."""

    def __init__(self, *, begun: bool = False) -> None:
        self.arrived = threading.Event()
        self.call: Call | None = None
        self._begun = begun
        self._go = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, call: Call) -> None:
        self._loop = asyncio.get_running_loop()
        self.call = call
        if self._begun:
            await call.start(content_type="text/event-stream")
            await call.write(events(call.json["model"])[0])
        self.arrived.set()
        leaving = asyncio.create_task(call.leaving())
        going = asyncio.create_task(self._go.wait())
        await asyncio.wait({leaving, going}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        going.cancel()
        if call.gone.is_set():
            return
        if not self._begun:
            await answer(call)
            return
        for event in events(call.json["model"])[1:]:
            await call.write(event)
        await call.write(b"", more=False)

    def let_go(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._go.set)
