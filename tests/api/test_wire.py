"""Whoever connects and says nothing, or does not come to an end, is cut off before anybody asks who they are."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from registry.transport import wire
from registry.transport.wire import BoundedHttp, Joining
from tests.api.conftest import WAIT_S

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(echo, port=0, http=BoundedHttp, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    waited = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if server.started:
            break
        waited.wait(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(WAIT_S)
    assert not thread.is_alive()


def heard(connection: socket.socket) -> bytes:
    """All that is said until the connection is closed."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


@pytest.fixture
def line(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=WAIT_S) as connection:
        yield connection


def test_a_head_without_an_end_is_cut_off(line: socket.socket) -> None:
    sent = 0
    try:
        line.sendall(HEAD)
        while sent < 100 * wire.HEAD_BYTES_MAX:
            line.sendall(b"X-A: " + b"a" * 10_000 + b"\r\n")
            sent += 10_007
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert sent < 100 * wire.HEAD_BYTES_MAX


def test_one_header_without_an_end_is_cut_off(line: socket.socket) -> None:
    line.sendall(HEAD + b"X-A: " + b"a" * (wire.HEAD_BYTES_MAX // 2))
    line.sendall(b"a" * wire.HEAD_BYTES_MAX)
    assert heard(line).startswith(b"HTTP/1.1 400")


def test_a_head_that_is_too_long_is_refused_also_when_it_comes_in_one_piece(line: socket.socket) -> None:
    line.sendall(HEAD + b"X: " + b"a" * wire.HEAD_BYTES_MAX + b"\r\n\r\n")
    assert b" 400 " in heard(line)


def test_a_head_is_not_too_long_for_the_body_that_comes_with_it(line: socket.socket) -> None:
    length = 2 * wire.HEAD_BYTES_MAX
    line.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % length + b"a" * length)
    assert heard(line).endswith(str(length).encode())


def test_whoever_connects_and_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]) -> None:
    monkeypatch.setattr(wire, "HEAD_S_MAX", 0.05)
    with socket.create_connection(address, timeout=WAIT_S) as line:
        assert heard(line) == b""


def test_a_head_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]) -> None:
    monkeypatch.setattr(wire, "HEAD_S_MAX", 0.05)
    with socket.create_connection(address, timeout=WAIT_S) as line:
        line.sendall(b"POST / HT")
        assert heard(line).startswith(b"HTTP/1.1 400")


def test_a_second_request_that_comes_too_slowly_is_refused(
    monkeypatch: pytest.MonkeyPatch, line: socket.socket
) -> None:
    line.sendall(HEAD + b"Content-Length: 2\r\n\r\nab")
    assert line.recv(65536).endswith(b"\r\n\r\n2")
    monkeypatch.setattr(wire, "HEAD_S_MAX", 0.05)
    line.sendall(b"POST / HT")
    assert heard(line).startswith(b"HTTP/1.1 400")


def test_a_body_that_falls_silent_is_cut_off(monkeypatch: pytest.MonkeyPatch, line: socket.socket) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.05)
    line.sendall(HEAD + b"Content-Length: 100\r\n\r\nab")
    assert heard(line).startswith(b"HTTP/1.1 400")


def test_a_large_body_in_pieces_and_many_requests_in_one_piece_are_answered(line: socket.socket) -> None:
    large = 20 * wire.HEAD_BYTES_MAX
    line.sendall(HEAD + f"Content-Length: {large}\r\n\r\n".encode())
    for _ in range(20):
        line.sendall(b"a" * wire.HEAD_BYTES_MAX)
    said = line.recv(65536)
    assert said.endswith(f"\r\n\r\n{large}".encode())
    line.sendall(
        (HEAD + b"Content-Length: 0\r\n\r\n") * 2000 + HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )
    assert heard(line).count(b"HTTP/1.1 200") == 2001


class Recorder(asyncio.Transport):
    """What a transport was asked to write, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


def test_the_head_of_an_answer_is_written_together_with_what_follows_at_once() -> None:
    async def story() -> list[bytes]:
        under = Recorder()
        transport = Joining(under, asyncio.get_running_loop())
        transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        transport.write(b"first")
        transport.write(b"second")
        await asyncio.sleep(0)
        return under.writes

    assert asyncio.run(story()) == [b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second"]


def test_the_head_of_a_stream_that_has_nothing_to_say_yet_goes_by_itself() -> None:
    async def story() -> list[bytes]:
        under = Recorder()
        transport = Joining(under, asyncio.get_running_loop())
        transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.sleep(0)
        under.write(b"|")
        transport.write(b"HTTP/1.1 is what this body begins with")
        transport.close()
        await asyncio.sleep(0)
        return under.writes

    head, begins = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 is what this body begins with"
    assert asyncio.run(story()) == [head, b"|", begins, b"closed"]
