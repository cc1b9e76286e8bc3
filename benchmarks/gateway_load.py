"""Callers of a chat endpoint that cost little themselves: HTTP/1.1 over kept connections, parsed by httptools."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import httpx2

from benchmarks.gateway_upstream import PIECES, SENTENCES

TIMEOUT_S = 30.0
PROMPT = "Where is my order? It was to come last week. " * 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Who is asked, as whom, for which model."""

    name: str
    url: str
    model: str
    headers: Mapping[str, str]

    def request(self, *, stream: bool) -> bytes:
        body = json.dumps(
            {"model": self.model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
        ).encode()
        parts = urlsplit(self.url)
        head = [
            f"POST {parts.path} HTTP/1.1",
            f"host: {parts.netloc}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@dataclass(slots=True)
class Told:
    """One answer. Times in seconds from the request's last byte. `version`: of Tenure's header."""

    status: int
    first_s: float
    whole_s: float
    version: str = ""
    whole: bool = True


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.broken = False
        self._transport: Any = None
        self._parser: Any = None
        self._done: asyncio.Future[Told] | None = None
        self._began = 0.0
        self._first = 0.0
        self._version = ""
        self._tail = b""
        self._stream = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(f"broken off: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"tenure-version":
            self._version = value.decode()

    def on_body(self, body: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        self._tail = (self._tail + body)[-32:]

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if not self._parser.should_keep_alive():
            self.broken = True
        assert self._done is not None
        whole = not self._stream or self._tail.rstrip().endswith(b"[DONE]")
        self._done.set_result(
            Told(self._parser.get_status_code(), self._first - self._began, now - self._began, self._version, whole)
        )

    async def ask(self, request: bytes, *, stream: bool) -> Told:
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._first, self._version, self._tail, self._stream = 0.0, "", b"", stream
        self._began = time.perf_counter()
        self._transport.write(request)
        return await asyncio.wait_for(self._done, TIMEOUT_S)

    def close(self) -> None:
        self._transport.close()


class Load:
    """Asks one endpoint. Failures are counted by what they were."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._place = parts.hostname or "", parts.port or 80
        self._requests = {stream: endpoint.request(stream=stream) for stream in (False, True)}
        self._free: list[_Connection] = []
        self.told: list[Told] = []
        self.failed: list[str] = []

    def _kept(self) -> _Connection | None:
        """One that nobody closed while nothing was asked on it."""
        while self._free:
            connection = self._free.pop()
            if not connection.broken:
                return connection
        return None

    async def one(self, *, stream: bool = False) -> None:
        try:
            connection = self._kept() or await self._connect()
            told = await connection.ask(self._requests[stream], stream=stream)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")
            return
        if connection.broken:
            connection.close()
        else:
            self._free.append(connection)
        if told.status == 200 and told.whole:
            self.told.append(told)
        else:
            self.failed.append(f"status {told.status}{'' if told.whole else ', cut short'}")

    async def paced(self, *, rate: float, seconds: float, stream: bool = False) -> None:
        """So many a second, whether or not the ones before have been answered."""
        began = time.perf_counter()
        tasks: list[asyncio.Task[None]] = []
        for number in range(int(rate * seconds)):
            wait_s = began + number / rate - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self.one(stream=stream)))
        await asyncio.gather(*tasks)

    async def flat_out(self, *, connections: int, seconds: float) -> float:
        """Each connection asks again as soon as it is answered; answers a second."""
        end = time.perf_counter() + seconds

        async def caller() -> None:
            while time.perf_counter() < end:
                await self.one()

        await asyncio.gather(*(caller() for _ in range(connections)))
        return len(self.told) / seconds

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._place)
        return connection


def check(endpoint: Endpoint) -> None:
    """That it really hands on what the provider says, whole and streamed. Raises OSError."""
    for stream in (False, True):
        body = {"model": endpoint.model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
        headers = dict(endpoint.headers)
        answer = httpx2.post(endpoint.url, json=body, headers=headers, trust_env=False, timeout=TIMEOUT_S)
        pieces = answer.text.count("Your order ")
        if answer.status_code != 200 or pieces != (PIECES if stream else SENTENCES):
            kind = "a stream" if stream else "an answer"
            raise OSError(f"{endpoint.name} answers {kind} with {answer.status_code}: {answer.text[:500]}")


def percentile(values: Sequence[float], share: float) -> float:
    """NaN where nothing was answered."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
