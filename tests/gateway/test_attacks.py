"""Callers and providers that mean no good, or are as broken as if: nobody keeps a place, and nothing is passed off."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

import providers.ports
from registry.gateway import Limits
from registry.server import create_app
from registry.transport.guard import CHAT_BYTES_MAX
from registry.transport.services import Services
from tests.gateway.conftest import Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX, Server
from tests.gateway.upstream import Call, Upstream, events
from tests.stage import BOT, Stage

QUESTION: Any = [{"role": "user", "content": "Where is my order?"}]


def name_of(stage: Stage) -> str:
    return stage.deployments()[-1].name


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S_MAX)


def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S_MAX / 0.02)):
        if holds():
            return
        threading.Event().wait(0.02)
    pytest.fail("it does not become so")


# Callers


def test_a_question_that_trickles_in_is_given_up_and_its_connection_closed(
    stage: Stage, upstream: Upstream, open_door: OpenDoor
) -> None:
    stage.active()
    door = open_door(Limits(question_s_max=0.2))
    with connected(door.url) as caller:
        caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + b'{"mod')
        said = b"".join(iter(lambda: caller.recv(65_536), b""))
    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    assert upstream.calls == []


def test_a_caller_that_stops_reading_gives_back_its_place_and_the_providers_connection(
    stage: Stage, upstream: Upstream, open_door: OpenDoor
) -> None:
    stage.active()
    door = open_door(Limits(running_max=1, unread_s_max=0.2))
    flooding: list[Call] = []

    async def flood(call: Call) -> None:
        if not call.json.get("stream"):
            await call.reply(200, b"{}")
            return
        flooding.append(call)
        await call.start(content_type="text/event-stream")
        leaving = asyncio.create_task(call.leaving())
        while not call.gone.is_set():
            await call.write(b"data: " + b"x" * 65_536 + b"\n\n")
        await leaving

    upstream.behave(name_of(stage), flood)
    with connected(door.url) as caller:
        body = json.dumps({"model": BOT, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        until(lambda: bool(flooding))
        assert flooding[0].gone.wait(WAIT_S_MAX)
        assert door.ask(BOT).status_code == 200, "the only place is free again"


def test_a_body_that_is_too_large_is_413_in_openais_shape(stage: Stage, upstream: Upstream) -> None:
    stage.active()
    url = "/v1/chat/completions"

    def pieces() -> Iterator[bytes]:
        for _ in range(CHAT_BYTES_MAX // 1_000_000 + 2):
            yield b" " * 1_000_000

    app = create_app(Services(registry=stage.registry), shells=["registry.gateway"])
    with (
        Server(app, lifespan=True) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=WAIT_S_MAX) as client,
        connected(server.url) as caller,
    ):
        caller.sendall(f"POST {url} HTTP/1.1\r\nhost: x\r\ncontent-length: {CHAT_BYTES_MAX + 1}\r\n\r\n".encode())
        assert caller.recv(65_536).startswith(b"HTTP/1.1 413 "), "told before a byte of it was sent"
        told = client.post(url, content=pieces())
    assert told.status_code == 413
    assert upstream.calls == []


# Providers


@contextmanager
def raw(stage: Stage, *answers: bytes) -> Generator[None]:
    """A provider that answers each connection's first request with these bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S_MAX)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(WAIT_S_MAX)
                    seen = b""
                    while b"\r\n\r\n" not in seen or not seen.endswith(b"}"):
                        seen += connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        stage.cloud().reached = lambda target: providers.ports.Upstream(url=url, model="m")
        yield
        thread.join(WAIT_S_MAX)


def test_headers_between_neighbours_and_those_that_are_ours_to_say_are_not_handed_on(stage: Stage, door: Door) -> None:
    stage.active()
    told = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, X-Hop\r\nx-hop: 1\r\nset-cookie: s=t\r\n"
        b"access-control-allow-origin: *\r\nTenure-Version: bot@9\r\nclear-site-data: *\r\nx-of-tomorrow: yes\r\n\r\n{}"
    )
    with raw(stage, told):
        answer = door.ask(BOT)
    assert answer.headers.get_list("tenure-version") == ["bot@1"]
    assert answer.headers["x-of-tomorrow"] == "yes"
    hidden = {"x-hop", "set-cookie", "access-control-allow-origin", "clear-site-data"}
    assert not hidden & set(answer.headers.keys())


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 smtp.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: b\rset-cookie: c\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx-a: b\x00c\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 20\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["no-http", "lonely-cr", "nul", "two-lengths", "endless-header", "nothing"],
)
def test_what_is_not_http_is_502_and_reaches_no_caller(stage: Stage, door: Door, garbage: bytes) -> None:
    stage.active()
    with raw(stage, garbage, garbage):
        answer = door.ask(BOT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")
    assert "set-cookie" not in answer.headers


def test_an_answer_that_is_shorter_than_it_says_is_never_taken_for_a_whole_one(stage: Stage, door: Door) -> None:
    stage.active()
    with raw(stage, b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id"'), pytest.raises(httpx2.RemoteProtocolError):
        door.ask(BOT)


def test_what_follows_an_answer_is_no_part_of_it(stage: Stage, door: Door) -> None:
    stage.active()
    with raw(stage, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\nmore"):
        assert door.ask(BOT).content == b"{}"


def test_a_stream_that_trickles_is_passed_on_as_it_comes(stage: Stage, upstream: Upstream, door: Door) -> None:
    whole = b"".join(events("m"))[:300]

    async def trickle(call: Call) -> None:
        await call.start(content_type="text/event-stream")
        for at in range(len(whole)):
            await call.write(whole[at : at + 1])
        await call.write(b"", more=False)

    stage.active()
    upstream.behave(name_of(stage), trickle)
    assert door.ask(BOT, stream=True).content == whole


def test_a_stream_that_falls_silent_says_so_and_ends(stage: Stage, upstream: Upstream, open_door: OpenDoor) -> None:
    async def fall_silent(call: Call) -> None:
        await call.start(content_type="text/event-stream")
        await call.write(events("m")[0])
        await call.leaving()

    stage.active()
    door = open_door(Limits(silence_s_max=0.3))
    upstream.behave(name_of(stage), fall_silent)
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    next(chunks)
    with pytest.raises(openai.APIError, match="broke off"):
        next(chunks)
    assert upstream.calls[0].gone.wait(WAIT_S_MAX)
