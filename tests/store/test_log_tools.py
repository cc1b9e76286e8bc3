"""`tenure log …`: verify, rebuild, export and import on every log; what backup and damage do to the one in DuckDB."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from registry.application.ports import VersionQuery
from registry.domain.errors import BadInputError, ConflictError, CorruptLogError, RefusedError
from registry.domain.events import UnknownEvent
from registry.store.chain import GENESIS, parse_line, row_hash
from registry.store.duckdb_log import DuckDBLog, open_log
from registry.store.memory_log import MemoryLog
from registry.store.projection import READ_MODELS
from tests.store.samples import Counting, Log, OpenLog, Ticking, add, fill, requested, status

Lines = list[dict[str, Any]]


def lines_of(path: Path) -> Lines:
    return [json.loads(text) for text in path.read_text().splitlines()]


def open_duckdb(home: Path) -> Log:
    return cast("Log", open_log(home, clock=Ticking(), ids=Counting()))


def read_models(log: Log) -> dict[str, list[Any]]:
    """Every row of every read model, as it stands in the database."""
    list(log.read(limit=0))
    database = cast("DuckDBLog", log)._database
    return {kind: database.query(f"SELECT * FROM {kind} ORDER BY key") for kind in READ_MODELS}


def test_verify_counts_the_events_of_a_whole_log(log: Log) -> None:
    assert log.verify() == 0
    fill(log)
    assert log.verify() == log.head()


def test_an_export_is_imported_without_a_byte_changed_and_answers_the_same(open_any: OpenLog, tmp_path: Path) -> None:
    log, other = open_any(), open_any()
    fill(log)
    assert log.export(tmp_path / "log.jsonl") == log.head()
    assert other.import_(tmp_path / "log.jsonl") == log.head()
    assert other.export(tmp_path / "again.jsonl") == log.head()
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "log.jsonl").read_bytes()
    assert list(other.read()) == list(log.read())
    assert other.versions(VersionQuery()) == log.versions(VersionQuery())
    assert other.motion() == log.motion()
    assert other.model("support-bot") == log.model("support-bot")
    add(other, status("support-bot", 3))
    assert other.verify() == log.head() + 1


def test_a_line_of_an_export_has_the_fields_of_an_event_and_no_other(log: Log, tmp_path: Path) -> None:
    add(log, requested("a", 1))
    log.export(tmp_path / "log.jsonl")
    (row,) = lines_of(tmp_path / "log.jsonl")
    assert list(row) == sorted(
        (
            "position", "stream", "stream_version", "id", "type", "schema_version", "recorded_at",
            "actor", "reason", "correlation_id", "causation_id", "data", "hash",
        )
    )  # fmt: skip


def test_an_export_can_go_to_a_device(log: Log) -> None:
    fill(log)
    assert log.export(Path("/dev/null")) == log.head()


def test_an_export_that_cannot_be_written_is_refused(log: Log, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        log.export(tmp_path / "no" / "folder" / "log.jsonl")


def test_nothing_is_imported_into_a_log_that_holds_something(open_any: OpenLog, tmp_path: Path) -> None:
    log = open_any()
    add(log, requested("a", 1))
    log.export(tmp_path / "log.jsonl")
    with pytest.raises(RefusedError, match="empty home"):
        log.import_(tmp_path / "log.jsonl")


def test_an_import_of_nothing_is_an_empty_log(log: Log, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert log.import_(tmp_path / "empty") == 0
    with pytest.raises(BadInputError, match="cannot be read"):
        log.import_(tmp_path / "missing")
    assert add(log, requested("a", 1)) == 1


def chained(rows: Lines) -> Lines:
    """With hashes that fit, as a program that means ill or a newer release would write them."""
    previous = GENESIS
    for row in rows:
        row["hash"] = "0" * 64
        previous = row["hash"] = row_hash(previous, parse_line(json.dumps(row)))
    return rows


def swap(rows: Lines) -> Lines:
    rows[3], rows[4] = rows[4], rows[3]
    return rows


def behead(rows: Lines) -> Lines:
    return rows[1:]


def rehashed(**fields: Any) -> Callable[[Lines], Lines]:
    return lambda rows: chained(set_third(**fields)(rows))


def set_third(**fields: Any) -> Callable[[Lines], Lines]:
    def change(rows: Lines) -> Lines:
        rows[2].update(fields)
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (swap, "line 4: position 5 stands where 4 should"),
        (behead, "line 1: position 2"),
        (set_third(actor="user:eve"), "line 3: its hash"),
        (set_third(data={"model": "x"}), "line 3: its hash"),
        (set_third(stream_version=7), "line 3: model:billing-bot goes on with version 7 where 1"),
        (set_third(recorded_at="soon"), "line 3: "),
        (set_third(colour="red"), "line 3: it has an unknown colour"),
        (rehashed(recorded_at="2020-01-01T00:00:00Z"), "line 3: it was recorded before"),
        (rehashed(data={"name": "x"}), r"line 3: event 3 \(model-declared\) cannot be read"),
        (rehashed(stream="connection:x"), "line 3: ModelDeclared does not belong"),
    ],
)
def test_an_import_that_is_not_a_whole_log_is_refused_by_line_and_leaves_nothing(
    open_any: OpenLog, tmp_path: Path, change: Callable[[Lines], Lines], fault: str
) -> None:
    log, other = open_any(), open_any()
    fill(log)
    source = tmp_path / "log.jsonl"
    log.export(source)
    rows = change(lines_of(source))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadInputError, match=fault):
        other.import_(source)
    assert other.head() == 0
    assert list(other.models()) == []
    assert add(other, requested("a", 1)) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff\xfe\n", r"line 1: it is not UTF-8 \(byte 1\)"),
        (b"\n", r"line 1: it is not JSON \(character 1\)"),
        (b'{"position":\n', r"line 1: it is not JSON \(character 13\)"),
    ],
)
def test_broken_bytes_are_refused_by_line(log: Log, tmp_path: Path, text: bytes, fault: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(text)
    with pytest.raises(BadInputError, match=fault):
        log.import_(tmp_path / "log.jsonl")


def test_an_event_of_a_newer_release_survives_import_rebuild_and_export(open_any: OpenLog, tmp_path: Path) -> None:
    log, other = open_any(), open_any()
    fill(log)
    source = tmp_path / "log.jsonl"
    log.export(source)
    rows = lines_of(source)
    for stream, version in (("version:support-bot@1", 4), ("campaign:spring", 1)):
        new = rows[-1] | {
            "stream": stream,
            "stream_version": version,
            "type": "version-praised",
            "data": {"stars": 5.0},
        }
        rows.append(new | {"position": len(rows) + 1, "schema_version": 2})
    source.write_text("".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in chained(rows)))
    other.import_(source)
    assert other.rebuild() == len(rows)
    praised, campaign = other.read(after=log.head())
    assert praised.payload == UnknownEvent(type="version-praised", schema_version=2, data={"stars": 5.0})
    assert campaign.stream == "campaign:spring"
    assert other.load("campaign:spring") is None
    state = other.load("version:support-bot@1")
    assert state is not None
    assert state.stream_version == 4
    other.export(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == source.read_bytes()
    assert other.verify() == len(rows)


def test_a_rebuild_gives_the_rows_that_are_there_however_they_were_batched(home: Path) -> None:
    log = open_duckdb(home)
    fill(log)
    live = read_models(log)
    assert log.rebuild() == log.head()
    assert read_models(log) == live
    assert all(live.values())
    log.close()


def test_states_are_right_after_a_rebuild_and_go_on(log: Log) -> None:
    fill(log)
    before = log.models()
    log.rebuild()
    assert log.models() == before
    add(log, status("support-bot", 3, "running"))
    (first, *_) = log.versions(VersionQuery()).items
    assert first.job_status == "running"


def test_a_backup_opens_as_a_home_while_the_log_goes_on(home: Path, tmp_path: Path) -> None:
    log = open_duckdb(home)
    fill(log)
    going = threading.Event()
    going.set()

    def write() -> None:
        while going.is_set():
            add(log, status("support-bot", 3))

    writer = threading.Thread(target=write)
    writer.start()
    heads = [log.backup(tmp_path / f"backup-{number}") for number in range(3)]
    going.clear()
    writer.join()
    whole = list(log.read())
    log.close()
    for number, head in enumerate(heads):
        copy = open_duckdb(tmp_path / f"backup-{number}")
        assert copy.verify() == copy.head() == head
        assert list(copy.read()) == whole[:head]
        live = read_models(copy)
        copy.rebuild()
        assert read_models(copy) == live
        assert add(copy, status("support-bot", 3)) == head + 1
        copy.close()


def test_a_backup_goes_into_an_empty_place_only(home: Path, tmp_path: Path) -> None:
    log = open_duckdb(home)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "full", tmp_path / "full" / "file", Path("/proc/backup")):
        with pytest.raises(BadInputError, match=str(target)):
            log.backup(target)
    assert log.backup(tmp_path / "empty") == 0
    log.close()


def test_a_log_in_memory_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="in memory"):
        MemoryLog(clock=Ticking(), ids=Counting()).backup(tmp_path / "backup")


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE event SET actor = 'user:eve' WHERE position = 5", 5),
        ("UPDATE event SET hash = (SELECT hash FROM event WHERE position = 1) WHERE position = 7", 7),
        ("UPDATE event SET stream_version = 9 WHERE position = 2", 2),
        ("DELETE FROM event WHERE position = 4", 4),
    ],
)
def test_verify_names_the_first_position_that_is_wrong(home: Path, statement: str, position: int) -> None:
    log = open_duckdb(home)
    fill(log)
    list(log.read())
    cast("DuckDBLog", log)._database.query(statement)
    with pytest.raises(CorruptLogError) as error:
        log.verify()
    assert error.value.position == position
    log.close()


def test_verify_of_a_log_in_memory_names_the_position_too() -> None:
    log = MemoryLog(clock=Ticking(), ids=Counting())
    fill(cast("Log", log))
    log._events[4] = log._events[5]
    with pytest.raises(CorruptLogError) as error:
        log.verify()
    assert error.value.position == 5


def test_a_conflict_leaves_the_log_verifiable(log: Log) -> None:
    add(log, requested("a", 1))
    with pytest.raises(ConflictError):
        log.append([status("a", 1)], expected={"version:a@1": 5})
    add(log, status("a", 1))
    assert log.verify() == 2


def test_the_file_can_be_read_by_the_long_supported_line(home: Path) -> None:
    log = open_duckdb(home)
    fill(log)
    log.close()
    with duckdb.connect(home / "tenure.duckdb", read_only=True) as connection:
        rows = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'tenure'").fetchall()
    assert rows[0][0]["storage_version"].startswith("v1.4")
