"""uvicorn's HTTP/1.1 with bounds on what comes before anybody is asked who they are: heads without an end, and silence.

The guard sees a request when its head is complete. Until then whoever connects could fill the memory, or hold a
connection for as long as they like.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
HEAD_S_MAX = 30.0
"""From the first byte of a request, or from connecting, until its head is complete."""
TOO_LONG = f"The head of a request may have {HEAD_BYTES_MAX} bytes."
SILENCE_S_MAX = 60.0
"""Between two pieces of a body, while somebody waits for it."""


class Joining:
    """A transport that writes the head of an answer together with the first of its body.

    A write is a system call that lets go of the interpreter's lock, and the loop has to wait for its turn again. A head
    that nothing follows at once goes by itself, in the loop's next round.
    """

    __slots__ = ("_held", "_loop", "_transport", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- all else is the transport's
        return getattr(self._transport, name)


class BoundedHttp(HttpToolsProtocol):
    """A request that comes in one piece costs two comparisons more."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = False
    _in_body = False
    _head_bytes = 0
    """Of the head, and of what came in one piece with it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joining(transport, self.loop))  # type: ignore[arg-type]
        self._wait(HEAD_S_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head:
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(TOO_LONG)
            elif self._timer is None:
                self._wait(HEAD_S_MAX)
        elif self._in_body:
            self._no_wait()
            self._wait(SILENCE_S_MAX)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._head_bytes > HEAD_BYTES_MAX and sum(map(len, chain(*self.headers))) > HEAD_BYTES_MAX:
            raise ValueError(TOO_LONG)  # which the parser makes a 400 of
        self._in_head, self._in_body = False, True
        self._no_wait()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body, self._head_bytes = False, 0
        self._no_wait()
        super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _no_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._in_body and self.flow.read_paused:
            self._wait(SILENCE_S_MAX)  # it is us who do not read
        elif not self._in_head and not self._in_body:
            self.transport.close()  # a browser's connection in advance: nobody waits for an answer
        else:
            self._refuse("The request did not come in time.")

    def _refuse(self, why: str) -> None:
        if not self.transport.is_closing():
            self.send_400_response(why)
