"""When to look: APScheduler runs one job, the reconciler's pass, at the pace of what is in motion. Decides nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from registry.application.ports import Clock, EventLog

logger = logging.getLogger("tenure.scheduler")

WAKE_TIMEOUT_S = 0.25
"""How long the listener waits for the log to grow before it looks whether it was stopped, in seconds."""
DELAY = timedelta(milliseconds=20)
"""Between an append and the pass that it wakes, so that appends that come together are looked at together."""
PACE = timedelta(milliseconds=200)
"""Between the beginnings of passes that appends wake: under a thousand commands a second they would be all there is."""
PASSES_MAX = 8
"""At the same time. Each connection is used by one of them; those that a slow one holds are left to it."""
BESIDE = timedelta(seconds=5)
"""A pass that takes longer than this is waiting for a provider: another one looks after the other connections."""

FAILED_PACE = timedelta(seconds=10)


class Scheduler:
    """Runs `run_pass` when the log grows and when the next step is due, beside one that takes long if need be."""

    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        run_pass: Callable[[], object],
        next_due: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._clock = clock
        self._run_pass = run_pass
        self._next_due = next_due
        self._stopped = threading.Event()
        self._ending = threading.Lock()
        """Passes end one by one, so that the last one to set the time has seen what the others left."""
        self._began: datetime | None = None
        self._soon: datetime | None = None
        """When the pass that an append has woken begins, until it has."""
        self._apscheduler: Any = None
        self._listener: threading.Thread | None = None

    def start(self) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._apscheduler = BackgroundScheduler(timezone="UTC", daemon=True)
        self._apscheduler.add_job(
            self._pass,
            "interval",
            id="reconcile",
            seconds=3600,
            next_run_time=self._clock(),
            max_instances=PASSES_MAX,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._apscheduler.start()
        self._listener = threading.Thread(target=self._listen, name="tenure-wake", daemon=True)
        self._listener.start()

    def stop(self) -> None:
        """Waits for a pass that is under way. May be repeated."""
        self._stopped.set()
        if self._apscheduler is not None:
            self._apscheduler.shutdown(wait=True)
            self._apscheduler = None
        if self._listener is not None:
            self._listener.join()
            self._listener = None

    def _pass(self) -> None:
        if self._stopped.is_set():
            return
        self._began, self._soon = self._clock(), None
        self._wake(self._clock() + BESIDE)
        failed = False
        try:
            self._run_pass()
        except Exception:
            logger.exception("a pass of the reconciler failed; it is tried again")
            failed = True
        with self._ending:
            planned = self._log.head()
            self._soon = None
            self._wake(self._clock() + FAILED_PACE if failed else self._due_next())
        if self._log.head() != planned:
            self._wake_soon()

    def _due_next(self) -> datetime:
        try:
            return self._next_due()
        except Exception:
            logger.exception("the next step cannot be planned; it is tried again")
            return self._clock() + FAILED_PACE

    def _wake(self, at: datetime) -> None:
        from apscheduler.jobstores.base import JobLookupError

        scheduler = self._apscheduler
        if self._stopped.is_set() or scheduler is None:
            return
        try:
            scheduler.modify_job("reconcile", next_run_time=max(at, self._clock()))
        except JobLookupError:
            logger.debug("stopped meanwhile")

    def _listen(self) -> None:
        seen = self._log.head()
        while not self._stopped.is_set():
            head = self._log.wait(seen, WAKE_TIMEOUT_S)
            if head > seen:
                seen = head
                self._wake_soon()

    def _wake_soon(self) -> None:
        """For an append. One that is on its way is left alone: appends without end would put it off for ever."""
        now = self._clock()
        if self._soon is not None and now <= self._soon:
            return
        self._soon = now + DELAY if self._began is None else max(now + DELAY, self._began + PACE)
        self._wake(self._soon)
