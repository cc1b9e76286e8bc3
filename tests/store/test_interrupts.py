"""Ctrl-C in the midst of a query is an interruption, wherever DuckDB is asked."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from registry.store.database import Database
from registry.store.datasets.engine import Engine
from registry.store.migrations import create

LONG = "SELECT sum(a.range * b.range) FROM range(50000) a, range(1000000) b"
SOON_S = 0.3


@pytest.fixture
def ctrl_c_soon() -> threading.Timer:
    return threading.Timer(SOON_S, os.kill, (os.getpid(), signal.SIGINT))


def test_of_the_database(tmp_path: Path, ctrl_c_soon: threading.Timer) -> None:
    create(tmp_path / "tenure.duckdb")
    database = Database(tmp_path / "tenure.duckdb")
    ctrl_c_soon.start()
    with pytest.raises(KeyboardInterrupt):
        database.query(LONG)
    assert database.query("SELECT 1") == [(1,)]
    database.close()


def test_of_training_data(tmp_path: Path, ctrl_c_soon: threading.Timer) -> None:
    with Engine(memory_limit="512MB", scratch=tmp_path) as engine:
        ctrl_c_soon.start()
        with pytest.raises(KeyboardInterrupt):
            engine.run(LONG)


def test_outside_a_query_it_is_one_too(tmp_path: Path) -> None:
    create(tmp_path / "tenure.duckdb")
    database = Database(tmp_path / "tenure.duckdb")
    with pytest.raises(KeyboardInterrupt), database.cursor():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    database.close()
