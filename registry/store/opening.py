"""Opening a log: the database is brought up to its journal, or the opening says what does not fit.

the database is behind the journal      its records are replayed
… and behind where the journal begins   refused: the database has lost what the journal no longer holds
both hold an event, and differ          refused
the journal's end is torn               cut off: it was never acknowledged
… and what is missing was acknowledged  refused
the database is ahead of the journal    the journal lost its end after it was applied: begun anew from the database
either is missing, and was not empty    refused
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.domain.apply import apply
from registry.domain.errors import CorruptLogError
from registry.domain.states import State
from registry.store import journal, migrations
from registry.store.applier import remove
from registry.store.batches import Batch, batch_of, tip_of
from registry.store.database import Cursor, Database
from registry.store.journal import Found, Record, Segment, Tip
from registry.store.live import Live
from registry.store.projection import empty_state, fingerprint
from registry.store.rebuilding import rebuild_states
from registry.store.statements import stored_states, write_batches

DATABASE = "tenure.duckdb"
JOURNAL = "journal"
JOURNAL_IS_LOST = "journal-is-lost"
"""An empty file by which an operator says: there was a journal, it is gone, go on with what the database has."""


@dataclass(slots=True)
class Opened:
    database: Database
    live: Live
    segment: Segment
    finished: list[tuple[int, Path]]
    replayed: int
    """Batches that the database had not; each checkpoint makes this small."""


def open_files(home: Path) -> Opened:
    """Raises CorruptLogError, with what to do about it, for anything that is not as it was written."""
    folder = home / JOURNAL
    found = _read_journal(home, folder)
    database = Database(_database_path(home, found))
    try:
        return _opened(database, home, folder, found)
    except BaseException:
        database.close()
        raise


def _read_journal(home: Path, folder: Path) -> list[Found]:
    paths = journal.segments(folder)
    found = [journal.read_segment(path, newest=path == paths[-1]) for path in paths]
    if found:
        (home / JOURNAL_IS_LOST).unlink(missing_ok=True)
    return found


def _database_path(home: Path, found: Sequence[Found]) -> Path:
    path = home / DATABASE
    if not path.exists():
        if found and found[0].base.batch:
            raise CorruptLogError(
                f"{path} is missing, and the journal only holds what came after batch {found[0].base.batch}",
                hint="put the database back, or restore the newest `tenure log backup`",
            )
        migrations.create(path)
    return path


def _opened(database: Database, home: Path, folder: Path, found: list[Found]) -> Opened:
    with database.cursor() as cursor:
        migrations.migrate(cursor)
    ((batch, position, hash_, folding),) = database.query("SELECT batch, position, hash, folding FROM meta")
    tip = Tip(batch, position, hash_)
    database.begin_at(batch)
    _check_database(database, tip)
    if not found and tip.batch and not (home / JOURNAL_IS_LOST).exists():
        raise CorruptLogError(
            f"{folder} is missing: nobody can tell whether {database.path} is whole", hint=journal.HINT
        )
    _check_end(folder, found, tip)
    needless, found = _contiguous(found, tip)
    batches = _missing_batches(found, tip)
    if folding != fingerprint():
        with database.cursor() as cursor:
            rebuild_states(cursor)
            cursor.execute("UPDATE meta SET folding = ?", [fingerprint()])
        database.checkpoint()
    if batches:
        with database.cursor() as cursor:
            _replay(cursor, batches)
        tip = Tip(batches[-1].number, batches[-1].position, batches[-1].hash)
    segment = _segment(database, folder, found, tip)
    remove(part.path for part in needless)
    (home / JOURNAL_IS_LOST).unlink(missing_ok=True)
    live = Live(database, Tip(tip.batch, tip.position, tip.hash, segment.link), _recorded_at(database, tip))
    older = [(part.last, part.path) for part in found[:-1] if part.path.exists()]
    return Opened(database, live, segment, older, len(batches))


def _check_database(database: Database, tip: Tip) -> None:
    """The event table ends where it says it ends."""
    ((count,),) = database.query("SELECT count(*) FROM event")
    rows = (
        database.query("SELECT hash FROM event WHERE position = ?", [tip.position]) if tip.position else [(tip.hash,)]
    )
    if count != tip.position or rows != [(tip.hash,)]:
        wrong = _first_wrong(database, count, tip)
        raise CorruptLogError(
            f"event {wrong} is not what was recorded: the database holds {count} events and should hold "
            f"{tip.position}: it was changed by something else",
            position=wrong,
            hint="nothing was changed. Copy the home away, then restore the newest `tenure log backup`",
        )


def _first_wrong(database: Database, count: int, tip: Tip) -> int:
    """The first position that does not stand where it should, else where the events should have ended."""
    numbered = "SELECT position, row_number() OVER (ORDER BY position) AS place FROM event"
    ((place,),) = database.query(f"SELECT min(place) FROM ({numbered}) WHERE position <> place")  # noqa: S608 -- ours
    return place or (tip.position if count == tip.position else min(count, tip.position) + 1)


def _check_end(folder: Path, found: Sequence[Found], tip: Tip) -> None:
    """What was acknowledged is there, in the journal or in the database."""
    seen = journal.witnessed(folder)
    last = max(tip.batch, found[-1].last if found else 0)
    if last < seen:
        raise CorruptLogError(
            f"the journal has lost its end: it holds batch {last}, and batch {seen} was acknowledged",
            hint=f"nothing was changed. Copy the home away, then restore the newest `tenure log backup`; or remove the "
            f"file {folder / journal.WITNESS} to go on with what is left",
        )


def _missing_batches(found: Sequence[Found], tip: Tip) -> list[Batch]:
    """The batches after `tip`. Raises CorruptLogError when journal and database do not belong together."""
    if not found:
        return []
    base = found[0].base
    if tip.batch < base.batch:
        raise CorruptLogError(
            f"the database has lost events: it ends with batch {tip.batch} (event {tip.position}), and the journal "
            f"begins after batch {base.batch} (event {base.position})",
            position=tip.position + 1,
            hint="nothing was changed. Copy the home away, then restore the newest `tenure log backup`",
        )
    if tip.batch == base.batch and (base.position, base.hash) != (tip.position, tip.hash):
        raise _disagree(tip, base.position)
    missing: list[Batch] = []
    position, hash_ = tip.position, tip.hash
    for record in (record for part in found for record in part.records):
        if record.batch == tip.batch and tip_of(record.payload) != (tip.position, tip.hash):
            raise _disagree(tip, tip_of(record.payload)[0])
        if record.batch > tip.batch:
            missing.append(batch_of(record.batch, record.payload, position=position, hash=hash_))
            position, hash_ = missing[-1].position, missing[-1].hash
    return missing


def _contiguous(found: list[Found], tip: Tip) -> tuple[list[Found], list[Found]]:
    """(segments that a crash left behind when they had become needless, segments that follow one another to the end)"""
    start = len(found) - 1
    while start > 0 and (found[start - 1].last, found[start - 1].link) == (
        found[start].base.batch,
        found[start].base.link,
    ):
        start -= 1
    if start > 0 and tip.batch < found[start].base.batch:
        raise journal.damaged(found[start].path, 0, f"does not follow {found[start - 1].path.name}")
    return found[: max(start, 0)], found[max(start, 0) :]


def _disagree(tip: Tip, position: int) -> CorruptLogError:
    return CorruptLogError(
        f"the database and its journal disagree after batch {tip.batch}: event {tip.position} there, {position} here, "
        "or another hash",
        position=min(position, tip.position),
        hint="one of the two was put here from elsewhere. Nothing was changed. Put back the one that belongs here, or "
        "restore the newest `tenure log backup`",
    )


def _replay(cursor: Cursor, batches: Sequence[Batch]) -> None:
    events = [event for batch in batches for event in batch.events]
    old = {event.stream for event in events} - {event.stream for event in events if event.stream_version == 1}
    states: dict[str, State | None] = dict(stored_states(cursor, old))
    for event in events:
        if event.stream not in states:
            states[event.stream] = empty_state(event.stream)
        state = states[event.stream]
        if state is not None:
            apply(state, event)
    touched = {stream: state for stream, state in states.items() if state is not None}
    cursor.execute("BEGIN")
    write_batches(cursor, batches, touched)
    cursor.execute("COMMIT")


def catch_up(cursor: Cursor, home: Path, *, until: int) -> None:
    """Apply what the journal holds after the database's last batch, to the batch `until`; both may be in use."""
    ((batch, position, hash_),) = cursor.execute("SELECT batch, position, hash FROM meta").fetchall()
    missing: list[Batch] = []
    for record in _records_until(home / JOURNAL, until):
        if record.batch > batch:
            missing.append(batch_of(record.batch, record.payload, position=position, hash=hash_))
            position, hash_ = missing[-1].position, missing[-1].hash
    if missing:
        _replay(cursor, missing)


def _records_until(folder: Path, until: int) -> list[Record]:
    while True:
        try:
            parts = [journal.read_segment(path, newest=True, until=until) for path in journal.segments(folder)]
        except FileNotFoundError:  # dropped after a checkpoint, between the listing and the reading
            continue
        return [record for part in parts for record in part.records]


def _segment(database: Database, folder: Path, found: list[Found], tip: Tip) -> Segment:
    """The last segment, if the log ends where it ends; else a new one, once the database can stand alone."""
    if found and found[-1].last == tip.batch:
        last = found[-1]
        if last.torn:
            _cut(last)
        return Segment(last.path, length=last.length, link=last.link)
    database.checkpoint()
    folder.mkdir(mode=0o700, exist_ok=True)
    segment = Segment.begin(folder, tip)
    remove(part.path for part in found)
    return segment


def _cut(part: Found) -> None:
    fd = os.open(part.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, part.length)
        os.fsync(fd)
    finally:
        os.close(fd)


def _recorded_at(database: Database, tip: Tip) -> datetime:
    rows: list[Any] = database.query("SELECT recorded_at FROM event WHERE position = ?", [tip.position])
    return rows[0][0] if rows else datetime.min  # noqa: DTZ901 -- naive, as columns are
