from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from registry.store.duckdb_log import open_log
from registry.store.memory_log import MemoryLog
from tests.store.samples import START, Counting, Log, OpenLog, Ticking


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(params=["duckdb", "memory"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    """A function that opens another empty log each time."""
    opened: list[Log] = []

    def open_one() -> Log:
        clock, ids = Ticking(), Counting()
        if request.param == "memory":
            log = cast("Log", MemoryLog(clock=clock, ids=ids))
        else:
            log = cast("Log", open_log(tmp_path / f"home-{len(opened)}", clock=clock, ids=ids))
        clock.now = START
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_any: OpenLog) -> Log:
    """The log under test: each test runs on every log."""
    return open_any()
