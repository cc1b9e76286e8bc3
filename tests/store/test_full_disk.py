"""A full disk: what cannot be written is refused whole, what was acknowledged stays, and all goes on with more room."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from registry.domain.errors import UnavailableError
from registry.domain.ids import VersionRef
from registry.store import applier, journal, writer
from registry.store.duckdb_log import DuckDBLog
from tests.small_disk import run_on_small_disk
from tests.store.samples import add, fill, requested, status
from tests.store.test_durability import _closed_in_the_end as _closed_in_the_end  # noqa: PLC0414 -- a fixture
from tests.store.test_durability import check_whole, opened, segment_of


@contextlib.contextmanager
def no_file_longer_than(bytes_max: int) -> Generator[None]:
    """As a full disk behaves, for this process and for as long as the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier, "RETRY_S", 0.05)
    monkeypatch.setattr(applier, "CHECKPOINT_RETRY_S", 0.05)


def test_an_append_that_does_not_fit_into_the_journal_is_refused_and_leaves_nothing(home: Path) -> None:
    log = opened(home)
    fill(log)
    head = log.head()
    list(log.read())
    length = segment_of(home).stat().st_size
    with no_file_longer_than(length + 200):
        for _ in range(3):
            with pytest.raises(UnavailableError, match="nothing was recorded: the journal cannot be written") as error:
                add(log, requested("a", 1))
            assert error.value.hint == "make room on the disk of TENURE_HOME"
        assert log.head() == head
        assert log.load("version:a@1") is None
        assert len(log.models()) == 2
    assert segment_of(home).stat().st_size == length
    assert add(log, requested("a", 1)) == head + 1
    log.close()
    check_whole(home, head + 1)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Generator[threading.Event]:
    """While it is set, DuckDB takes no batch."""
    refuses = threading.Event()
    real = applier.write_batches

    def write(*arguments: Any) -> None:
        if refuses.is_set():
            raise duckdb.IOException("Could not write file: as if the disk were full")
        real(*arguments)

    monkeypatch.setattr(applier, "write_batches", write)
    yield refuses
    refuses.clear()


def test_a_database_that_cannot_be_written_lags_behind_the_journal_and_catches_up(
    home: Path, refusing: threading.Event
) -> None:
    log = opened(home)
    fill(log)
    list(log.read())
    head = log.head()
    refusing.set()
    assert add(log, status("support-bot", 3, "succeeded")) == head + 1
    with pytest.raises(UnavailableError, match="safe in the journal and cannot be read yet"):
        log.models()
    state = log.version(VersionRef("support-bot", 3))
    assert state is not None
    assert state.job_status == "succeeded"
    with pytest.raises(UnavailableError, match="nothing can be recorded"):
        add(log, status("support-bot", 3))
    refusing.clear()
    assert len(log.models()) == 2
    assert [found.position for found in log.read(after=head)] == [head + 1]
    assert add(log, status("support-bot", 3)) == head + 2
    assert log.verify() == head + 2
    log.close()
    check_whole(home, head + 2)


def test_a_log_that_is_closed_while_the_database_cannot_be_written_is_replayed_later(
    home: Path, refusing: threading.Event
) -> None:
    log = opened(home)
    fill(log)
    list(log.read())
    refusing.set()
    add(log, status("support-bot", 3, "succeeded"))
    head = log.head()
    log.close()
    refusing.clear()
    check_whole(home, head)


def test_a_checkpoint_that_finds_no_room_is_tried_again_and_reads_go_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(home)
    fill(log)
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 2_000)
    with no_file_longer_than(40_000):
        for _ in range(8):
            add(log, status("support-bot", 3))
            assert len(log.models()) == 2
        assert len(journal.segments(home / "journal")) > 1
    for _ in range(8):
        add(log, status("support-bot", 3))
        list(log.read(limit=0))
    assert len(journal.segments(home / "journal")) <= 3
    head = log.head()
    log.close()
    check_whole(home, head)


def test_a_checkpoint_that_finds_no_room_at_the_end_leaves_the_journal(home: Path) -> None:
    log = opened(home)
    fill(log)
    head = log.head()
    list(log.read())
    with no_file_longer_than(40_000):
        log.close()
    assert segment_of(home).stat().st_size > 1_000
    check_whole(home, head)


def test_a_new_segment_that_finds_no_room_is_not_begun(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(home)
    add(log, requested("a", 1))
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 100)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Segment, "begin", full)
        assert add(log, status("a", 1)) == 2
    assert add(log, status("a", 1)) == 3
    assert log.verify() == 3
    log.close()


def test_appends_wait_for_a_database_that_does_not_keep_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(home)
    monkeypatch.setattr(writer, "BACKLOG_MAX", 5)
    for _ in range(4):
        log.append([status("a", 1)] * 4, expected={})
    monkeypatch.setattr(writer, "BACKLOG_WAIT_S", 0.05)
    live = cast("DuckDBLog", log)._live
    with cast("DuckDBLog", log)._applier.paused():
        for _ in range(4):
            with contextlib.suppress(UnavailableError):
                log.append([status("a", 1)] * 4, expected={})
        with pytest.raises(UnavailableError, match="does not keep up"):
            add(log, status("a", 1))
    assert live.backlog <= 16
    log.close()


CHILD = """
import itertools, sys
from pathlib import Path
from registry.domain.errors import UnavailableError
from tests.store.test_durability import opened
from tests.store.samples import add, fill, requested
home, ballast = Path(sys.argv[1]) / "home", Path(sys.argv[1]) / "ballast"
ballast.write_bytes(b"x" * 1_500_000)
log = opened(home)
fill(log)
kept, refused = log.head(), 0
for number in itertools.count(1):
    try:
        kept = add(log, requested("full-bot", number))
    except UnavailableError:
        refused += 1
        if refused > 20:
            break
assert number > 100, number
state = log.load("version:full-bot@1")
assert state is not None and state.stream_version == 1
ballast.unlink()
for number in range(1000):
    try:
        assert len(log.models()) == 2
        break
    except UnavailableError:
        pass
assert add(log, requested("roomy-bot", 1)) == kept + 1
assert log.verify() == kept + 1
log.close()
log = opened(home)
assert log.verify() == kept + 1
print("whole")
log.close()
"""


def test_a_file_system_that_fills_up_and_is_cleared_again_loses_nothing(tmp_path: Path) -> None:
    done = run_on_small_disk(CHILD, tmp_path, size="6m")
    assert done.stdout == "whole\n", done.stderr
