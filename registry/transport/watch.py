"""One waiter on the log for everyone who watches it: a thread reads what is new once, and the event loop hands it out.

A thousand watchers cost a thousand waiting coroutines, no thread each and no query each; only who is far behind reads
for itself until it has caught up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from anyio import to_thread

from registry.application.ports import EventLog
from registry.application.views import EventView
from registry.domain.events import Event
from registry.domain.states import DeploymentState

logger = logging.getLogger("tenure.watch")

RECENT_MAX = 5_000
PAGE = 500
AGAIN_S = 1.0
"""After the log could not be read, in seconds."""
WAKE_S = 0.25
"""How long the waiter waits before it looks whether it is to stop, in seconds."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event as watchers get it: `model` None where it belongs to no model; `data` is its JSON."""

    position: int
    model: str | None
    data: str


class Watch:
    """Everything but `close` is called on the event loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._recent: deque[Notice] = deque(maxlen=RECENT_MAX)
        self._begin: int | None = None
        """The position after which `_recent` holds everything; None before anyone watched."""
        self._head = 0
        self._grown = asyncio.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.watchers = 0

    @property
    def closed(self) -> bool:
        return self._stopped.is_set()

    async def head_after(self, position: int, timeout_s: float) -> int:
        """The head of the log as soon as it is beyond a position, or when the time is up."""
        self._start()
        try:
            async with asyncio.timeout(timeout_s):
                while self._head <= position and not self.closed:
                    await self._grown.wait()
        except TimeoutError:
            pass
        return self._head

    async def events(self, after: int, idle_s: float) -> AsyncIterator[Notice | None]:
        """Everything after a position, in order, as it comes; None when nothing came for a while. Ends with `close`."""
        self._start()
        self.watchers += 1
        try:
            while not self.closed:
                for one in await self._next(after):
                    yield one
                    after = one.position
                if self._head > after or self.closed:
                    continue
                if await self.head_after(after, idle_s) <= after and not self.closed:
                    yield None
        finally:
            self.watchers -= 1

    async def _next(self, after: int) -> list[Notice]:
        if self._head <= after:
            return []
        if self._begin is not None and after >= self._begin:
            first = len(self._recent) - (self._head - after)
            return [self._recent[index] for index in range(max(first, 0), len(self._recent))]
        return await to_thread.run_sync(self._read, after)

    def _read(self, after: int) -> list[Notice]:
        return [self._notice(event) for event in self._log.read(after=after, limit=PAGE)]

    def _notice(self, event: Event) -> Notice:
        data = json.dumps(EventView.of(event).as_json(), separators=(",", ":"))
        return Notice(event.position, model_of(self._log, event.stream), data)

    def _start(self) -> None:
        if self._thread is not None:
            return
        self._head = self._begin = self._log.head()
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._wait, args=(loop, self._head), name="tenure-watch", daemon=True)
        self._thread.start()

    def _wait(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        while not self._stopped.is_set():
            try:
                if self._log.wait(seen, WAKE_S) <= seen:
                    continue
                notices = self._read(seen)
            except Exception:
                logger.exception("watchers hear nothing new")
                self._stopped.wait(AGAIN_S)
                continue
            if notices:
                seen = notices[-1].position
                _on(loop, self._hand_out, notices)

    def _hand_out(self, notices: list[Notice]) -> None:
        assert self._begin is not None
        dropped = max(0, len(self._recent) + len(notices) - RECENT_MAX)
        self._begin += dropped
        self._recent.extend(notices)
        self._head = notices[-1].position
        self._wake()

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def close(self) -> None:
        """Ends every watch. Called on the event loop, when the server stops."""
        self._stopped.set()
        self._wake()

    def join(self) -> None:
        """Waits for the waiter, which looks at the log: before the log is closed."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()


def _on(loop: asyncio.AbstractEventLoop, call: object, *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(call, *arguments)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except RuntimeError:
        logger.debug("the loop is closed: nobody watches any more")


def model_of(log: EventLog, stream: str) -> str | None:
    """The model that a stream belongs to; None for connections and the registry's own."""
    kind, _, name = stream.partition(":")
    match kind:
        case "model":
            return name
        case "version":
            return name.rpartition("@")[0]
        case "deployment":
            state = log.load(stream)
            return state.model if isinstance(state, DeploymentState) else None
        case _:
            return None
