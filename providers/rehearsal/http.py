"""A small HTTP/1.1 server for several services at once: real sockets, real resets, started and stopped in milliseconds.

It is the standard library's request parser on connections that can be held, cut in mid-body or reset, which no
framework lets a handler do. One thread accepts for all services; each connection has its own.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from providers.rehearsal.truth import Json, table

BODY_BYTES_MAX = 600 * 1024 * 1024
LOOPBACK = "127.0.0.1"
_RST = struct.pack("ii", 1, 0)
_JOIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`path` is still percent-encoded (an ARN may hold slashes); header names are lower-case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    host: str

    def json(self) -> Json:
        return table(json.loads(self.body or b"{}"))

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


@dataclass(slots=True, kw_only=True)
class Reply:
    """`chunks`: a body that is streamed. `cut`: reset half-way. `dropped`: no answer; reset after `held_s` seconds."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    chunks: Iterable[bytes] | None = None
    cut: bool = False
    dropped: bool = False
    held_s: float = 0.0


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """Header names are written with `_` for `-`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(
        status=status,
        headers={"content-type": "application/json", **named},
        body=json.dumps(value).encode(),
    )


Answer = Callable[[Request], Reply]


class Host:
    """Listens on loopback for any number of services; each is a function from a request to a reply."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._listeners: list[socket.socket] = []
        self._live: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name="rehearsal", daemon=True)

    def listen(self, answer: Answer, *, port: int = 0) -> str:
        """The service's URL, without a slash at its end."""
        listener = socket.create_server((LOOPBACK, port), backlog=128)
        self._listeners.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, answer)
        return f"http://{LOOPBACK}:{listener.getsockname()[1]}"

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        """Ends every connection, also those that are held; returns when no thread is left. May be repeated."""
        if self._closing:
            return
        self._closing = True
        self._wake.send(b"x")
        if self._acceptor.is_alive():
            self._acceptor.join(_JOIN_S)
        with self._lock:
            for connection in self._live:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(_JOIN_S)
        for one in (*self._listeners, self._wake, self._woken):
            one.close()
        self._selector.close()

    def _accept(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                with contextlib.suppress(OSError):
                    self._begin(listener.accept()[0], key.data)

    def _begin(self, connection: socket.socket, answer: Answer) -> None:
        thread = threading.Thread(target=self._converse, args=(connection, answer), daemon=True)
        with self._lock:
            self._live.add(connection)
            self._threads.add(thread)
        thread.start()

    def _converse(self, connection: socket.socket, answer: Answer) -> None:
        try:
            # Callers hang up, time out and are reset here on purpose; none of that is an error of the emulator's.
            with contextlib.suppress(OSError, ValueError):
                _Conversation(connection, answer)
        finally:
            with self._lock:
                self._live.discard(connection)
                self._threads.discard(threading.current_thread())
            connection.close()


class _Conversation(BaseHTTPRequestHandler):
    """One connection, for as many requests as come over it."""

    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, answer: Answer) -> None:
        self._answer = answer
        super().__init__(connection, connection.getpeername(), None)  # pyright: ignore[reportArgumentType]

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def log_message(self, format: str, *args: object) -> None:
        """The truth keeps the record."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        reply = self._answer(
            Request(
                method=self.command,
                path=parts.path,
                query=parse_qs(parts.query, keep_blank_values=True),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self._read_body(),
                host=self.headers.get("Host", ""),
            )
        )
        if reply.dropped:
            self._drop(reply.held_s)
        else:
            self._write(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            raise ValueError("body too large")
        return self.rfile.read(length)

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _write(self, reply: Reply) -> None:
        self.send_response_only(reply.status, responses.get(reply.status, "Status"))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunks is not None:
            self._write_chunks(reply.chunks, cut=reply.cut)
            return
        if "content-length" not in reply.headers:
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        self.wfile.flush()
        if reply.cut:
            self._reset()

    def _write_chunks(self, chunks: Iterable[bytes], *, cut: bool) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, chunk in enumerate(chunks):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
            if cut and number:
                self._reset()
                return
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _drop(self, held_s: float) -> None:
        if held_s > 0:
            self.connection.settimeout(held_s)
            with contextlib.suppress(OSError):
                self.connection.recv(1, socket.MSG_PEEK)
        self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
