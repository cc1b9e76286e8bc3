"""SIGKILL at any moment: every acknowledged event is there afterwards, and nothing else has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from registry.store.duckdb_log import open_log
from tests.store.samples import Counting, Log, Ticking
from tests.store.test_log_tools import read_models

KILLS = 210
CHECK_EVERY = 35
"""A check of the whole log and of its read models; in between, what was acknowledged since the last kill."""


class Killed:
    """One life after another in the same home."""

    def __init__(self, home: Path) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.store.killed", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def life(self, *, works_ms: int, killed_after_ms: float, since: str) -> list[tuple[str, int, int, str]]:
        """What it was told before it was killed, so long after it was forked (`pid`) or had opened the log (`open`)."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{works_ms}\n")
        acknowledged: list[tuple[str, int, int, str]] = []
        pid = 0
        for line in self._nursery.stdout:
            words = line.split()
            if words[0] == "pid":
                pid = int(words[1])
            if words[0] == since:
                threading.Timer(killed_after_ms / 1000, os.kill, (pid, signal.SIGKILL)).start()
            match words:
                case ["ack", stream, version, position, id_]:
                    acknowledged.append((stream, int(version), int(position), id_))
                case ["over"]:
                    break
                case _:
                    pass
        return acknowledged

    def close(self) -> None:
        self._nursery.communicate()


@pytest.fixture
def killed(home: Path) -> Iterator[Killed]:
    killed = Killed(home)
    yield killed
    killed.close()


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_over_two_hundred_kills(home: Path, killed: Killed) -> None:
    known: dict[int, str] = {}
    whole = 0
    begun = time.monotonic()
    for number in range(KILLS):
        # Spread over opening, replay, appending, checkpoints and closing; 7919 is a prime, so no two lives are alike.
        spread = (number * 7919 % 1000) / 1000
        since, delay = ("pid", 40 * spread) if number % 4 == 0 else ("open", 90 * spread)
        acknowledged = killed.life(works_ms=15 + number % 60, killed_after_ms=delay, since=since)
        log = cast("Log", open_log(home, clock=Ticking(), ids=Counting()))
        try:
            there = {found.position: found.id for found in log.read(after=whole)}
            for stream, version, position, id_ in acknowledged:
                assert there.get(position) == id_, f"kill {number}: {stream} {version} at {position} is lost"
            assert log.head() == whole + len(there), f"kill {number}: positions have gaps"
            known.update(there)
            whole = log.head()
            if number % CHECK_EVERY == CHECK_EVERY - 1:
                assert log.verify() == whole
                assert {found.position: found.id for found in log.read()} == known
                live = read_models(log)
                log.rebuild()
                assert read_models(log) == live
        finally:
            log.close()
    assert whole > 5 * KILLS
    print(f"{KILLS} kills, {whole} events, {time.monotonic() - begun:.0f} s")  # noqa: T201 -- shown by `pytest -s`
