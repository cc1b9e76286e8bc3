"""The threads in which requests wait for the log.

Ours, because a hop into a thread and back costs 25 µs of processor time here and 90 through anyio's limiter, scopes and
locks, beside 300 for all of a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

CLOSE_S_MAX = 10.0
"""Beyond the time that requests have to drain: a long question must not make a supervisor kill the server."""


class Threads:
    """At most `count`, started as they are needed. What is more waits its turn."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` answers or raises. One that is cancelled goes on in its thread; nobody hears of it."""
        self._under_way += 1
        try:
            if len(self._threads) < min(self._under_way, self._count):
                self._start()
            mine = _Call(call)
            self._calls.put(mine)
            return await mine.answer()
        finally:
            self._under_way -= 1

    def _start(self) -> None:
        # Daemons: a provider that is silent must not keep the interpreter from ending.
        thread = threading.Thread(target=self._work, name=f"tenure-request-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.perform()
            del call

    def close(self) -> None:
        """Waits for what is under way, so that nothing here uses the log afterwards; but not for what does not end."""
        for _ in self._threads:
            self._calls.put(None)
        until = time.monotonic() + CLOSE_S_MAX
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._threads.clear()


class _Call:
    __slots__ = ("_call", "_context", "_error", "_future", "_loop", "_value")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._context: Context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._value: Any = None
        self._error: BaseException | None = None

    async def answer(self) -> Any:  # noqa: ANN401 -- what the call answers
        await self._future
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # else error and frame hold each other

    def perform(self) -> None:
        """In a thread."""
        try:
            self._value = self._context.run(self._call)
        except BaseException as error:  # noqa: BLE001 -- handed to whoever waits
            self._error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
