"""Keeps the table as the log is: one thread waits for the log to grow, folds what came, and hands it to the loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from registry.application.ports import EventLog
from registry.domain.errors import TenureError
from registry.gateway.table import Changes, Fold

WAIT_S = 0.25
"""How long to wait for the log to grow before looking whether to stop."""
FAILED_S = 1.0
JOIN_S = 10.0

logger = logging.getLogger("tenure.gateway")


class Follower:
    def __init__(self, log: EventLog, fold: Fold, install: Callable[[Changes], None]) -> None:
        self._log = log
        self._fold = fold
        self._install = install
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._moved = threading.Condition()
        self._position = -1

    async def start(self) -> None:
        """Returns when the table is as the log is."""
        loop = asyncio.get_running_loop()
        self._installed(await loop.run_in_executor(None, self._fold.load))
        self._thread = threading.Thread(target=self._follow, args=(loop,), name="tenure-routing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """May be repeated."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def caught_up(self, timeout_s: float) -> bool:
        """Wait, in a thread, until requests are routed by all that the log holds now."""
        head = self._log.head()
        with self._moved:
            return self._moved.wait_for(lambda: self._position >= head, timeout_s)

    def _installed(self, changes: Changes) -> None:
        """On the loop."""
        self._install(changes)
        with self._moved:
            self._position = changes.position
            self._moved.notify_all()

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        position, behind = self._position, False
        while not self._stopped.is_set():
            try:
                if self._log.wait(position, WAIT_S) <= position and not behind:
                    continue
                changes = self._fold.load() if behind else self._fold.advance()
                behind = False
            except TenureError as error:
                behind = True
                if not self._stopped.is_set():
                    logger.warning("routing stands still, the log cannot be read: %s", error)
                    time.sleep(FAILED_S)
                continue
            position = changes.position
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(self._installed, changes)
