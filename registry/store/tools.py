"""What `tenure log …` does: verify, rebuild, export, import and back up a log."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import duckdb

from registry.domain.apply import apply
from registry.domain.errors import BadInputError, CorruptLogError, RefusedError, TenureError
from registry.domain.states import State
from registry.store import opening
from registry.store.batches import check_kind
from registry.store.chain import GENESIS, Row, event_of, line, parse_line, row_hash
from registry.store.database import Cursor, Database, translated
from registry.store.journal import Segment, Tip
from registry.store.migrations import sync_folder
from registry.store.projection import empty_state
from registry.store.rebuilding import all_rows, rebuild_states
from registry.store.statements import insert_events, mark, write_states

LINES_PER_INSERT = 10_000


@contextmanager
def _cursor(database: Database) -> Generator[Cursor]:
    try:
        with database.cursor() as cursor:
            yield cursor
    except duckdb.Error as exc:
        raise translated(exc) from exc


class Walk:
    """Checks that events follow one another: positions, stream versions, time, and the chain of hashes."""

    def __init__(self) -> None:
        self.position: int = 0
        self.hash: str = GENESIS
        self.recorded_at: datetime = datetime.min  # noqa: DTZ901 -- naive, as columns are
        self.heads: dict[str, int] = {}

    def fault(self, row: Row) -> str | None:
        """What is wrong with the next event, if anything is."""
        if row[0] != self.position + 1:
            return f"position {row[0]} stands where {self.position + 1} should"
        version = self.heads.get(row[1], 0) + 1
        if row[2] != version:
            return f"{row[1]} goes on with version {row[2]} where {version} should stand"
        if row_hash(self.hash, row) != row[12]:
            return "its hash is not the one that its contents and the event before give"
        if row[6] < self.recorded_at:
            return "it was recorded before the one before it"
        self.position, self.hash, self.recorded_at = row[0], row[12], row[6]
        self.heads[row[1]] = version
        return None


def verify(database: Database, *, until: int) -> int:
    """Raises CorruptLogError with the first wrong position."""
    walk = Walk()
    with _cursor(database) as cursor:
        for rows in all_rows(cursor):
            for row in rows:
                if row[0] > until:
                    return walk.position
                fault = walk.fault(row)
                if fault is not None:
                    raise wrong(walk.position + 1, fault)
    if walk.position < until:
        raise wrong(walk.position + 1, "it is not there")
    return walk.position


def wrong(position: int, fault: str) -> CorruptLogError:
    return CorruptLogError(
        f"event {position} is not what was recorded: {fault}",
        position=position,
        hint="copy the home away, then restore the newest `tenure log backup` or import the newest export",
    )


def rebuild(database: Database) -> int:
    with _cursor(database) as cursor:
        return rebuild_states(cursor)


def export(database: Database, target: Path, *, until: int) -> int:
    """One event per line. A regular file appears only when it is whole."""
    with _cursor(database) as cursor, written(target) as out:
        for rows in all_rows(cursor):
            out.writelines(line(row) + "\n" for row in rows if row[0] <= until)
    return until


@contextmanager
def written(target: Path) -> Generator[IO[str]]:
    """Raises BadInputError where the file cannot be written."""
    special = target.exists() and not target.is_file()
    path = target if special else target.with_name(target.name + ".new")
    try:
        with path.open("w", encoding="utf-8", newline="\n") as out:
            yield out
            out.flush()
            if not special:
                os.fsync(out.fileno())
        if not special:
            path.replace(target)
    except OSError as exc:
        raise BadInputError(f"{target} cannot be written: {exc.strerror or exc}", field="file") from exc


def read_lines(source: Path) -> Iterator[tuple[int, Row]]:
    """(line number from 1, its row). Raises BadInputError naming the file or the line."""
    number = 0
    try:
        with source.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                yield number, parse_line(text.decode().rstrip())
    except OSError as exc:
        raise BadInputError(f"{source} cannot be read: {exc.strerror or exc}", field="file") from exc
    except json.JSONDecodeError as exc:
        raise bad_line(source, number, f"it is not JSON (character {exc.pos + 1})") from exc
    except UnicodeDecodeError as exc:
        raise bad_line(source, number, f"it is not UTF-8 (byte {exc.start + 1})") from exc
    except (ValueError, BadInputError) as exc:
        raise bad_line(source, number, str(exc)) from exc


def bad_line(source: Path, number: int, fault: str) -> BadInputError:
    return BadInputError(f"{source}, line {number}: {fault}; nothing was imported", field="file")


def import_rows(source: Path, take: Callable[[list[Row]], None]) -> tuple[Walk, dict[str, State]]:
    """Check every line, hand the rows over some at a time, and fold them. Raises BadInputError naming the line."""
    walk = Walk()
    states: dict[str, State | None] = {}
    rows: list[Row] = []
    for number, row in read_lines(source):
        fault = walk.fault(row)
        if fault is not None:
            raise bad_line(source, number, fault)
        try:
            _fold(states, row)
        except TenureError as exc:
            raise bad_line(source, number, exc.message) from exc
        rows.append(row)
        if len(rows) >= LINES_PER_INSERT:
            take(rows)
            rows = []
    take(rows)
    return walk, {stream: state for stream, state in states.items() if state is not None}


def _fold(states: dict[str, State | None], row: Row) -> None:
    event = event_of(row)
    check_kind(event.stream, event.payload)
    if event.stream not in states:
        states[event.stream] = empty_state(event.stream)
    state = states[event.stream]
    if state is not None:
        apply(state, event)


def check_empty(head: int) -> None:
    if head:
        raise RefusedError(
            f"a log can only be imported into an empty home, and this one holds {head} events",
            hint="point TENURE_HOME at a new folder",
        )


def import_(database: Database, source: Path, *, tip: Tip) -> tuple[Tip, datetime, int]:
    """All of it or nothing, in one transaction that is checkpointed before anything else is said."""
    check_empty(tip.position)
    with _cursor(database) as cursor:
        cursor.execute("BEGIN")
        try:
            walk, states = import_rows(source, lambda rows: insert_events(cursor, rows))
            write_states(cursor, states, born=set(states))
            mark(cursor, tip.batch + 1, walk.position, walk.hash)
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
    try:
        database.checkpoint()
    except BaseException as exc:
        database.reopen(database.generation)
        raise translated(exc) if isinstance(exc, duckdb.Error) else exc from exc
    return Tip(tip.batch + 1, walk.position, walk.hash, tip.link), walk.recorded_at, walk.position


def backup(database: Database, target: Path) -> int:
    """The caller keeps the database at the end of a batch. The target opens as a home.

    Raises BadInputError when the target exists and holds something, or cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BadInputError(f"{target} exists and is not an empty folder", field="target")
        shutil.rmtree(part, ignore_errors=True)
        (part / opening.JOURNAL).mkdir(parents=True)
        part.chmod(0o700)
        database.checkpoint()
        ((batch, position, hash_),) = database.query("SELECT batch, position, hash FROM meta")
        database.copy_to(part / opening.DATABASE)
        Segment.begin(part / opening.JOURNAL, Tip(batch, position, hash_)).close()
        sync_folder(part)
        part.replace(target)
        sync_folder(target.absolute().parent)
    except duckdb.Error as exc:
        raise translated(exc) from exc
    except OSError as exc:
        raise BadInputError(f"{target} cannot be written: {exc.strerror or exc}", field="target") from exc
    return position
