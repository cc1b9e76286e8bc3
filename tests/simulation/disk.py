"""A log on a disk whose process is killed: what lies in its files at that moment is all that the next one finds."""

from __future__ import annotations

import shutil
from pathlib import Path

from registry.application.ports import Clock, Ids
from registry.store.duckdb_log import DuckDBLog
from registry.store.home import Home
from tests.clock import FakeClock


class Disk:
    """A kill leaves the log as it is: a copy of its files is gone on with, and only then the old one ends.

    The copy is made between two commits of the database, which is as far behind the journal as it happens to be. Kills
    within a commit, of a process of its own, are those of `store/test_kills.py`.
    """

    def __init__(self, folder: Path, *, clock: Clock, ids: Ids) -> None:
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self._lives = 0
        self.log = self._opened()

    def kill(self) -> DuckDBLog:
        killed, before = self.log, self._home()
        self._lives += 1
        with killed._applier.paused():
            shutil.copytree(before, self._home())
        killed.close()
        shutil.rmtree(before)
        self.log = self._opened()
        return self.log

    def close(self) -> None:
        self.log.close()
        shutil.rmtree(self._home())

    def _home(self) -> Path:
        return self._folder / f"life-{self._lives}"

    def _opened(self) -> DuckDBLog:
        """The home has a clock of its own: what is asked of the registry's makes no difference to a log in memory."""
        return DuckDBLog(Home(self._home(), clock=FakeClock()), clock=self._clock, ids=self._ids)
