"""What opening does after a crash: replay, cut off, go on, or refuse and say what to do; never lose and keep silent."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from registry.application.ports import Idempotency, Metric
from registry.domain.errors import BadInputError, CorruptLogError, UnavailableError
from registry.domain.ids import VersionRef
from registry.store import journal, live, migrations, writer
from registry.store.applier import Applier
from registry.store.database import Database
from registry.store.duckdb_log import DuckDBLog, open_log
from tests.store.samples import START, Counting, Log, Ticking, add, fill, requested, status
from tests.store.test_log_tools import read_models

DATABASE = "tenure.duckdb"
WAL = "tenure.duckdb.wal"


_OPENED: list[Log] = []


def opened(home: Path) -> Log:
    log = cast("Log", open_log(home, clock=Ticking(), ids=Counting()))
    _OPENED.append(log)
    return log


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


def crashed(log: Log, target: Path) -> Path:
    """A copy of the home as a power cut would leave it now."""
    shutil.copytree(cast("DuckDBLog", log).home.path, target)
    return target


@pytest.fixture
def idle_applier(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """Nothing is applied in `home`, as if the process had died before the applier's turn."""
    going = threading.Event()
    real = Applier._apply

    def late(self: Applier, batches: Any) -> bool:
        if self._database.path.parent == home:
            going.wait(60)
        return real(self, batches)

    monkeypatch.setattr(Applier, "_apply", late)
    yield
    going.set()


def segment_of(home: Path) -> Path:
    (path,) = journal.segments(home / "journal")
    return path


def check_whole(home: Path, head: int) -> None:
    log = opened(home)
    assert log.verify() == log.head() == head
    live = read_models(log)
    log.rebuild()
    assert read_models(log) == live
    assert add(log, status("support-bot", 3)) == head + 1
    log.close()
    log = opened(home)
    assert log.verify() == head + 1
    log.close()


@pytest.mark.usefixtures("idle_applier")
def test_what_was_acknowledged_and_not_applied_is_replayed(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    log.append([], expected={}, idempotency=Idempotency(key="k", fingerprint="f", answer={"n": 1}))
    point = Metric(attempt=1, step=1, name="train_loss", value=float("nan"), epoch=0.5, recorded_at=START)
    log.record_metrics(VersionRef("support-bot", 3), [point])
    head = log.head()
    copy = crashed(log, tmp_path / "copy")
    again = opened(copy)
    assert again.answered("k") == Idempotency(key="k", fingerprint="f", answer={"n": 1})
    assert [found.step for found in again.metrics(VersionRef("support-bot", 3))] == [1]
    again.close()
    check_whole(copy, head)


@pytest.mark.usefixtures("idle_applier")
def test_a_state_is_loaded_before_it_is_applied(home: Path) -> None:
    log = opened(home)
    add(log, requested("a", 1), status("a", 1))
    state = log.version(VersionRef("a", 1))
    assert state is not None
    assert state.stream_version == 2
    assert log.load("version:a@2") is None
    assert log.answered("k") is None


@pytest.mark.usefixtures("idle_applier")
def test_those_who_follow_the_log_do_not_wait_for_the_database(home: Path) -> None:
    log = opened(home)
    add(log, requested("a", 1), *(status("a", 1, f"s{number}") for number in range(live.RECENT_MAX)))
    head = log.head()
    assert [event.position for event in log.read(after=head - 3)] == [head - 2, head - 1, head]
    assert [event.position for event in log.read(after=head - 9, until=head - 5, limit=2)] == [head - 8, head - 7]
    assert list(log.read(after=head)) == []
    assert len(list(log.read(after=1))) == live.RECENT_MAX


def test_memory_and_database_tell_the_same_of_the_newest_events(home: Path) -> None:
    log = opened(home)
    fill(log)
    head = log.head()
    bounds = list(itertools.combinations(range(1, head + 1), 2))
    from_memory = [list(log.read(after=after, until=until)) for after, until in bounds]
    log.close()
    log = opened(home)
    assert [list(log.read(after=after, until=until)) for after, until in bounds] == from_memory


def test_what_was_applied_and_not_checkpointed_is_there(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    list(log.read())
    copy = crashed(log, tmp_path / "copy")
    check_whole(copy, log.head())
    log.close()


def test_the_database_has_no_log_of_its_own_and_one_that_something_else_left_is_set_aside(home: Path) -> None:
    log = opened(home)
    fill(log)
    list(log.read())
    head = log.head()
    assert not (home / WAL).exists()
    log.close()
    (home / WAL).write_bytes(b"the mark of a checkpoint that was killed")
    check_whole(home, head)
    (home / WAL).write_bytes(b"of a program that opened the file" * 10)
    check_whole(home, head + 1)
    assert [path.stat().st_size for path in home.glob(f"{WAL}*")] == [330]


@pytest.mark.usefixtures("small_segments")
def test_a_segment_that_is_finished_during_a_checkpoint_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(home)
    real = Database.checkpoint
    meanwhile = iter(range(100, 120))

    def slow(self: Database) -> None:
        real(self)
        if self.path.parent == home:
            for number in itertools.islice(meanwhile, 8):
                add(log, requested("support-bot", number))

    monkeypatch.setattr(Database, "checkpoint", slow)
    for number in range(1, 20):
        add(log, requested("support-bot", number))
    list(log.read())
    with cast("DuckDBLog", log)._applier.paused():
        copy = crashed(log, home.with_suffix(".copy"))
        head = log.head()
    check_whole(copy, head)


def test_a_checkpoint_that_wrote_nothing_is_not_believed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(home)
    fill(log)
    database = cast("DuckDBLog", log)._database
    with monkeypatch.context() as patch:
        patch.setattr(database, "_iteration", lambda: 1)
        with pytest.raises(UnavailableError, match="wrote nothing"):
            log.backup(home.with_suffix(".backup"))
        log.close()
    assert segment_of(home).stat().st_size > 1_000
    check_whole(home, 22)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x5A]))


def cut(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.truncate(offset)


@pytest.mark.usefixtures("idle_applier")
def test_every_byte_of_the_journal_that_is_damaged_stops_the_opening_while_nothing_is_applied(
    home: Path, tmp_path: Path
) -> None:
    log = opened(home)
    add(log, requested("a", 1))
    add(log, status("a", 1))
    base = crashed(log, tmp_path / "base")
    size = segment_of(base).stat().st_size
    whole = segment_of(base).read_bytes()
    for offset in range(size):
        flip(segment_of(base), offset)
        with pytest.raises(CorruptLogError, match="the journal is damaged") as error:
            journal.read_segment(segment_of(base), newest=True)
        assert error.value.hint == journal.HINT
        segment_of(base).write_bytes(whole)
    flip(segment_of(base), size - 100)
    with pytest.raises(CorruptLogError, match="the journal is damaged"):
        opened(base)


@pytest.mark.usefixtures("idle_applier")
def test_a_journal_that_was_cut_holds_whole_records_only(home: Path, tmp_path: Path) -> None:
    """A record that was cut was not yet fsynced, so nobody was told of it."""
    log = opened(home)
    for number in range(1, 4):
        add(log, requested("a", number))
    base = crashed(log, tmp_path / "base")
    path = segment_of(base)
    whole = path.read_bytes()
    ends = [record.end for record in journal.read_segment(path, newest=True).records]
    for length in sorted({*range(0, len(whole), 13), 107, 108, 109, *ends, *(end - 1 for end in ends)}):
        path.write_bytes(whole[:length])
        if length < 108:
            with pytest.raises(CorruptLogError, match="damaged beginning"):
                journal.read_segment(path, newest=True)
        else:
            found = journal.read_segment(path, newest=True)
            assert len(found.records) == sum(end <= length for end in ends)
            assert found.torn == (length not in {108, *ends})


@pytest.mark.usefixtures("idle_applier")
@pytest.mark.parametrize("tail", [b"", b"\0" * 4096])
def test_a_torn_end_is_cut_off_and_the_log_goes_on(home: Path, tmp_path: Path, tail: bytes) -> None:
    log = opened(home)
    fill(log)
    first = log.head()
    kept = segment_of(home).stat().st_size
    add(log, status("support-bot", 3))
    copy = crashed(log, tmp_path / "copy")
    whole = segment_of(copy).read_bytes()
    (copy / "journal" / journal.WITNESS).unlink()
    segment_of(copy).write_bytes(whole[: kept + 30] + tail)
    if tail:
        segment_of(copy).write_bytes(whole[:kept] + tail)
    check_whole(copy, first)


@pytest.mark.usefixtures("idle_applier")
def test_a_record_whose_end_never_reached_the_disk_is_torn_too(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    add(log, requested("a", 1))
    copy = crashed(log, tmp_path / "copy")
    path = segment_of(copy)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200] + b"\0" * 200)
    assert journal.read_segment(path, newest=True).records == ()
    with pytest.raises(CorruptLogError, match="is cut short"):
        journal.read_segment(path, newest=False)


def test_a_journal_that_lost_its_end_after_a_checkpoint_is_begun_anew(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    log.backup(tmp_path / "backup")
    copy = crashed(log, tmp_path / "copy")
    path = segment_of(copy)
    cut(path, path.stat().st_size // 2)
    check_whole(copy, log.head())
    assert not path.exists()
    log.close()


def test_a_journal_that_lost_what_was_acknowledged_is_refused_wherever_it_was_cut(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    copy = crashed(log, tmp_path / "copy")
    path = segment_of(copy)
    for size in range(path.stat().st_size - 1, journal._BASE_BYTES - 1, -97):
        cut(path, size)
        with pytest.raises(CorruptLogError, match="the journal has lost its end") as error:
            opened(copy)
        assert "nothing was changed" in str(error.value.hint)
    (copy / "journal" / journal.WITNESS).unlink()
    opened(copy).close()
    log.close()


def test_a_damaged_witness_bears_no_witness(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    copy = crashed(log, tmp_path / "copy")
    flip(copy / "journal" / journal.WITNESS, 2)
    check_whole(copy, log.head())
    log.close()


def test_a_database_that_is_behind_where_the_journal_begins_is_refused(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    log.close()
    old = Path(shutil.copytree(home, tmp_path / "old"))
    log = opened(home)
    add(log, status("support-bot", 3))
    log.close()
    shutil.copy(old / DATABASE, home / DATABASE)
    with pytest.raises(CorruptLogError, match="the database has lost events") as error:
        opened(home)
    assert error.value.hint is not None
    assert "restore" in error.value.hint


@pytest.mark.parametrize("crash", [True, False])
def test_a_database_and_a_journal_of_different_logs_are_refused(home: Path, tmp_path: Path, crash: bool) -> None:
    homes = [home, tmp_path / "other"]
    for number, path in enumerate(homes):
        log = opened(path)
        add(log, requested("a", 1 + number))
        if crash:
            log.backup(path.with_suffix(".backup"))
            crashed(log, path.with_suffix(".copy"))
        log.close()
    if crash:
        homes = [path.with_suffix(".copy") for path in homes]
        segment_of(homes[0]).rename(segment_of(homes[1]))
    else:
        shutil.copy(homes[0] / DATABASE, homes[1] / DATABASE)
    with pytest.raises(CorruptLogError, match="disagree"):
        opened(homes[1])


@pytest.mark.usefixtures("idle_applier")
def test_records_that_do_not_follow_the_database_are_refused(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    add(log, requested("a", 1))
    add(log, status("a", 1))
    copy = crashed(log, tmp_path / "copy")
    with duckdb.connect(copy / DATABASE) as connection:
        connection.execute("UPDATE meta SET batch = 1, hash = ?", ["1" * 64])
    with pytest.raises(CorruptLogError, match=r"disagree|does not follow"):
        opened(copy)


def test_a_home_without_its_database_or_its_journal_is_refused(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    head = log.head()
    log.close()
    shutil.move(home / DATABASE, tmp_path / DATABASE)
    with pytest.raises(CorruptLogError, match="is missing"):
        opened(home)
    shutil.move(tmp_path / DATABASE, home / DATABASE)
    shutil.rmtree(home / "journal")
    with pytest.raises(CorruptLogError, match="is missing"):
        opened(home)
    (home / "journal-is-lost").touch()
    check_whole(home, head)
    assert not (home / "journal-is-lost").exists()


@pytest.mark.usefixtures("idle_applier")
def test_a_database_that_was_never_made_is_made_from_the_journal(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    copy = crashed(log, tmp_path / "copy")
    (copy / DATABASE).unlink()
    (copy / f"{DATABASE}.new").write_bytes(b"left by a crash while it was being made")
    check_whole(copy, log.head())


def test_a_database_that_was_changed_by_something_else_is_refused_with_the_first_wrong_position(home: Path) -> None:
    copied = "INSERT INTO event SELECT * REPLACE (position + {0} AS position) FROM event WHERE position = {1}"
    cases: list[tuple[str, Callable[[int], int]]] = [
        ("DELETE FROM event WHERE position = 3", lambda _: 3),
        ("DELETE FROM event WHERE position = 1", lambda _: 1),
        ("DELETE FROM event WHERE position > 4", lambda _: 5),
        (copied.format(0, 2), lambda _: 3),
        (copied.format(1, "(SELECT max(position) FROM event)"), lambda head: head + 1),
        ("UPDATE event SET hash = '' WHERE position = (SELECT max(position) FROM event)", lambda head: head),
    ]
    for number, (statement, wrong) in enumerate(cases):
        path = home.with_suffix(f".{number}")
        log = opened(path)
        fill(log)
        head = log.head()
        log.close()
        with duckdb.connect(path / DATABASE) as connection:
            connection.execute(statement)
        with pytest.raises(CorruptLogError, match=f"event {wrong(head)} .* changed by something else") as refusal:
            opened(path)
        assert refusal.value.position == wrong(head)


def test_sampled_damage_of_the_database_file_never_goes_unnoticed(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    fill(log)
    head = log.head()
    expected = list(log.read())
    log.close()
    size = (home / DATABASE).stat().st_size
    for offset in range(0, size, size // 40):
        copy = Path(shutil.copytree(home, tmp_path / "copy"))
        flip(copy / DATABASE, offset)
        with contextlib.suppress(CorruptLogError):
            log = opened(copy)
            try:
                assert log.verify() == head
                assert list(log.read()) == expected
            finally:
                log.close()
        shutil.rmtree(copy)


# Segments and checkpoints


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 4_000)


@pytest.mark.usefixtures("small_segments")
def test_full_segments_go_when_a_checkpoint_has_made_them_needless(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    for number in range(1, 60):
        add(log, requested("support-bot", number))
    list(log.read())
    assert len(journal.segments(home / "journal")) <= 12
    with cast("DuckDBLog", log)._applier.paused():
        copy = crashed(log, tmp_path / "copy")
    log.close()
    assert [path.name for path in journal.segments(home / "journal")] == [f"{60:020}"]
    check_whole(copy, 59)


@pytest.mark.usefixtures("small_segments", "idle_applier")
def test_several_segments_are_replayed_in_order_and_a_missing_one_is_noticed(home: Path, tmp_path: Path) -> None:
    log = opened(home)
    for number in range(1, 20):
        add(log, requested("support-bot", number))
    copy = crashed(log, tmp_path / "copy")
    holed = crashed(log, tmp_path / "holed")
    beheaded = crashed(log, tmp_path / "beheaded")
    paths = journal.segments(holed / "journal")
    assert len(paths) > 3
    paths[1].unlink()
    with pytest.raises(CorruptLogError, match="does not follow"):
        opened(holed)
    journal.segments(beheaded / "journal")[0].unlink()
    with pytest.raises(CorruptLogError, match="has lost events"):
        opened(beheaded)
    (beheaded / DATABASE).unlink()
    with pytest.raises(CorruptLogError, match="is missing"):
        opened(beheaded)
    check_whole(copy, 19)


def test_segments_that_a_crash_left_behind_after_a_checkpoint_are_removed(home: Path) -> None:
    log = opened(home)
    fill(log)
    list(log.read())
    left = segment_of(home).read_bytes(), segment_of(home)
    head = log.head()
    log.close()
    left[1].write_bytes(left[0])
    log = opened(home)
    assert log.verify() == head
    log.close()


def test_opening_and_closing_an_existing_home_writes_nothing(home: Path) -> None:
    log = opened(home)
    fill(log)
    log.close()
    before = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    log = opened(home)
    assert len(log.models()) == 2
    log.close()
    assert {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


# Schema


def test_read_models_of_another_release_are_rebuilt_on_opening(home: Path) -> None:
    log = opened(home)
    fill(log)
    live = read_models(log)
    log.close()
    with duckdb.connect(home / DATABASE) as connection:
        connection.execute("UPDATE meta SET folding = 'older'")
        connection.execute("UPDATE version SET doc = '{}'")
    log = opened(home)
    assert read_models(log) == live
    log.close()


def test_a_home_of_a_newer_release_is_refused(home: Path) -> None:
    opened(home).close()
    with duckdb.connect(home / DATABASE) as connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    with pytest.raises(BadInputError, match="newer release"):
        opened(home)


def schema_of(path: Path) -> list[Any]:
    with duckdb.connect(path) as connection:
        return connection.execute(
            "SELECT sql FROM duckdb_tables() UNION ALL SELECT sql FROM duckdb_indexes() ORDER BY sql"
        ).fetchall()


GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-v*.sql"))


def test_there_is_a_golden_database_of_every_schema() -> None:
    assert [path.stem for path in GOLDEN] == [f"schema-v{number + 1}" for number in range(migrations.SCHEMA)]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_a_database_of_every_earlier_schema_is_brought_forward_and_answers(golden: Path, home: Path) -> None:
    home.mkdir()
    with duckdb.connect(home / DATABASE, config=dict(migrations.CONFIG)) as connection:
        connection.execute(golden.read_text())
    (home / "journal-is-lost").touch()
    log = opened(home)
    assert log.verify() == 22
    model = log.model("support-bot")
    assert model is not None
    assert model.active == 1
    log.close()
    migrations.create(home / "fresh.duckdb")
    assert schema_of(home / DATABASE) == schema_of(home / "fresh.duckdb")


def test_a_migration_that_was_killed_goes_on_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(home).close()
    now = migrations.SCHEMA
    monkeypatch.setattr(migrations, "SCHEMA", now + 2)
    made, broken = "CREATE TABLE note (text VARCHAR)", "nonsense"
    steps = {now: ("ALTER TABLE model ADD COLUMN colour VARCHAR",), now + 1: (made, broken)}
    monkeypatch.setattr(migrations, "STEPS", steps)
    with pytest.raises(duckdb.Error, match="nonsense"):
        opened(home)
    with duckdb.connect(home / DATABASE) as connection:
        assert connection.execute("SELECT schema_version FROM meta").fetchone() == (now + 1,)
    steps[now + 1] = (made,)
    opened(home).close()
    with duckdb.connect(home / DATABASE) as connection:
        assert connection.execute("SELECT schema_version FROM meta").fetchone() == (now + 2,)
