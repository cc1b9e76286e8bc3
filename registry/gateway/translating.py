"""Where the provider has a language of its own (Bedrock's Converse), its adapter translates, in a thread a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, cast

from providers.errors import ChatError, OutcomeUnknownError, ProviderError, RejectedError, UnavailableError
from providers.optional import Interruptible
from providers.ports import Chat, ChatChunk
from registry.gateway.asking import Ask
from registry.gateway.backends import Backend
from registry.gateway.counting import Tokens
from registry.gateway.limits import Limits
from registry.gateway.refusal import BrokenOffError, UpstreamError
from registry.gateway.relay import Answer, refuse

AHEAD_MAX = 64
"""Pieces of one answer that a caller may be behind before the provider is read no further."""
_BROKEN = 500
_JSON = (b"content-type", b"application/json")
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class TranslatingRelay:
    """Behaves as `HttpRelay` does.

    A thread whose caller went away ends with its stream, which is interrupted, or with the whole answer, which cannot
    be. Until then it keeps its place among those that run: who leaves early cannot make more threads than there are.
    """

    def __init__(self, limits: Limits, threads: Executor) -> None:
        self._limits = limits
        self._threads = threads

    async def __call__(self, backend: Backend, ask: Ask, extra: Mapping[str, str], answer: Answer) -> None:
        del extra
        assert backend.chat is not None
        try:
            if ask.parsed.get("stream"):
                await self._stream(backend, backend.chat, ask, answer)
            else:
                await self._complete(backend, backend.chat, ask, answer)
        except ChatError as error:
            if answer.status or error.status >= _BROKEN:
                raise _failed(error, begun=bool(answer.status)) from error
            await refuse(backend, error, answer)
        except ProviderError as error:
            raise _failed(error, begun=bool(answer.status)) from error

    async def _complete(self, backend: Backend, chat: Chat, ask: Ask, answer: Answer) -> None:
        target, limit = backend.replica.target, self._limits.silence_s_max
        asked = self._threads.submit(lambda: chat.complete(target, ask.parsed, timeout_s=limit))
        try:
            said = await asyncio.wrap_future(asked)
        finally:
            _keep_place(backend, ask, asked)
        answer.tokens = _tokens(said)
        body = json.dumps(said).encode()
        await answer.start(200, [_JSON, (b"content-length", str(len(body)).encode()), *backend.headers])
        await answer.end(body)

    async def _stream(self, backend: Backend, chat: Chat, ask: Ask, answer: Answer) -> None:
        target, limit = backend.replica.target, self._limits.silence_s_max
        pump = _Pump(lambda: chat.stream(target, ask.parsed, timeout_s=limit), self._threads, backend, ask)
        async with contextlib.aclosing(pump):
            while (chunk := await pump.next()) is not None:
                if not answer.status:
                    await answer.start(200, [*_EVENTS, *backend.headers])
                answer.tokens = _tokens(chunk) or answer.tokens
                if chunk.get("choices") or ask.wants_usage:
                    event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
                    answer.tail.feed(event)
                    await answer.pass_on(event)
            if not answer.status:
                await answer.start(200, [*_EVENTS, *backend.headers])
            await answer.end(b"data: [DONE]\n\n")


class _Pump:
    """Pulls an iterator that blocks, in a thread, a bounded number of pieces ahead of whoever takes them."""

    def __init__(self, begin: Callable[[], Iterator[ChatChunk]], threads: Executor, backend: Backend, ask: Ask) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[ChatChunk | BaseException | None] = asyncio.Queue(AHEAD_MAX)
        self._stopped = threading.Event()
        self._backend = backend
        self._ask = ask
        self._pieces: Iterator[ChatChunk] | None = None
        self._pulling = threads.submit(self._pull, begin)

    async def next(self) -> ChatChunk | None:
        """None at the end. Raises what the iterator raised."""
        piece = await self._queue.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def aclose(self) -> None:
        self._stopped.set()
        while not self._queue.empty():  # whoever waits to put one more may go on, and see that it is over
            self._queue.get_nowait()
        if not self._pulling.done() and isinstance(self._pieces, Interruptible):
            self._pieces.interrupt()
        _keep_place(self._backend, self._ask, self._pulling)

    def _pull(self, begin: Callable[[], Iterator[ChatChunk]]) -> None:
        try:
            self._pieces = begin()
            with contextlib.closing(_each(self._pieces)) as pieces:
                for piece in pieces:
                    if self._stopped.is_set():
                        break
                    self._put(piece)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the next piece
            self._put(error)
        else:
            self._put(None)

    def _put(self, piece: ChatChunk | BaseException | None) -> None:
        if not self._stopped.is_set():
            asyncio.run_coroutine_threadsafe(self._queue.put(piece), self._loop).result()


def _each(pieces: Iterator[ChatChunk]) -> Generator[ChatChunk]:
    """Closed, it ends the request."""
    yield from pieces


def _keep_place(backend: Backend, ask: Ask, thread: Future[Any]) -> None:
    """Until the thread has ended, if it goes on without us."""
    if thread.done():
        return
    loop, admission = asyncio.get_running_loop(), backend.admission
    admission.keep(ask.who)

    def leave(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is let in any more
            loop.call_soon_threadsafe(admission.leave, ask.who)

    thread.add_done_callback(leave)


def _failed(error: ProviderError, *, begun: bool) -> Exception:
    if begun:
        return BrokenOffError(error.message)
    match error:
        case ChatError():
            status = error.status if error.status in {503, 504} else 502
            message = f"what serves this version failed: {error.message}"
            return UpstreamError(status, "upstream_failed", message, retry_after_s=error.retry_after_s)
        case UnavailableError():
            return UpstreamError(503, "upstream_unavailable", error.message, retry_after_s=error.retry_after_s)
        case RejectedError():
            return UpstreamError(502, "connection_failed", f"the connection cannot be used: {error.message}")
        case OutcomeUnknownError() if error.code == "timeout":
            return UpstreamError(504, "upstream_timeout", error.message, elsewhere=False)
        case _:
            return UpstreamError(502, "upstream_broken", error.message)


def _tokens(said: ChatChunk) -> Tokens | None:
    usage = said.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = cast("dict[str, object]", usage)
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return (prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None
