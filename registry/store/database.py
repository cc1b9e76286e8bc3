"""The DuckDB file: one instance, cursors that are lent out, and opening it again when a failed write has spoiled it.

After a full disk DuckDB refuses everything with FatalException until the instance is opened anew; nothing is lost by
that, since what was acknowledged stands in the journal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from registry.domain.errors import CorruptLogError, TenureError, UnavailableError
from registry.store.migrations import CONFIG

Rows = list[Any]

REOPEN_WAIT_S = 30.0
IDLE_CURSORS_MAX = 16

logger = logging.getLogger(__name__)


class Database:
    """Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        """Raises CorruptLogError when the file cannot be opened."""
        self.path = path
        self.generation = 0
        self._returned = threading.Condition()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._lent = 0
        # Kept open for fsync and copies: to close any descriptor of a file drops this process's POSIX locks on it,
        # and with them DuckDB's.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._root: duckdb.DuckDBPyConnection | None = connect(path)
        except BaseException:
            os.close(self._fd)
            raise

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own, for as long as the block. Errors of DuckDB come out as they are."""
        with self._returned:
            if self._root is None:
                raise UnavailableError("the log is closed")
            cursor = self._idle.pop() if self._idle else self._root.cursor()
            self._lent += 1
            generation = self.generation
        try:
            yield cursor
        finally:
            with self._returned:
                self._lent -= 1
                if generation == self.generation and len(self._idle) < IDLE_CURSORS_MAX:
                    self._idle.append(cursor)
                else:
                    cursor.close()
                self._returned.notify_all()

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """All rows. Raises CorruptLogError or UnavailableError; a spoiled instance is opened again first."""
        generation = self.generation
        try:
            return self._query(sql, parameters)
        except duckdb.FatalException:
            self.reopen(generation)
        except duckdb.Error as exc:
            raise translated(exc) from exc
        try:
            return self._query(sql, parameters)
        except duckdb.Error as exc:
            raise translated(exc) from exc

    def _query(self, sql: str, parameters: Sequence[object]) -> Rows:
        with self.cursor() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    def reopen(self, generation: int) -> None:
        """Open the file anew, unless somebody did since `generation`. Waits for lent cursors to come back."""
        with self._returned:
            if generation != self.generation or self._root is None:
                return
            if not self._returned.wait_for(lambda: self._lent == 0, REOPEN_WAIT_S):
                raise UnavailableError("the database must be opened again, and a long read is in the way")
            self._drop()
            self.generation += 1
            self._root = connect(self.path)

    def _drop(self) -> None:
        """DuckDB shares an instance among all connections of a process, so every one of them has to go."""
        for connection in (*self._idle, self._root):
            if connection is not None:
                with contextlib.suppress(duckdb.Error):
                    connection.close()
        self._idle.clear()
        self._root = None

    def sync(self) -> None:
        os.fsync(self._fd)

    def copy_to(self, target: Path) -> None:
        """The file as it is; whoever calls keeps it from being written."""
        with target.open("wb") as out:
            offset = 0
            while sent := os.sendfile(out.fileno(), self._fd, offset, 1 << 26):
                offset += sent
            os.fsync(out.fileno())

    def close(self) -> None:
        with self._returned:
            self._returned.wait_for(lambda: self._lent == 0, REOPEN_WAIT_S)
            if self._root is not None:
                self._drop()
                os.close(self._fd)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Raises CorruptLogError. A damaged write-ahead log is moved aside: the journal holds all that it held."""
    try:
        return _connect(path)
    except duckdb.Error as exc:
        wal = path.with_name(path.name + ".wal")
        aside = wal.with_name(f"{wal.name}.damaged-{os.getpid()}")
        if not wal.exists() or "lock on file" in str(exc):
            raise translated(exc) from exc
        wal.rename(aside)
        try:
            connection = _connect(path)
        except duckdb.Error as second:
            aside.rename(wal)
            raise translated(second) from second
        logger.warning("DuckDB's write-ahead log was damaged and is now %s; the journal is replayed instead", aside)
        return connection


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config=dict(CONFIG))
    # Else a forgotten log would checkpoint in its destructor, in a forked child too.
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    return connection


def translated(exc: duckdb.Error) -> TenureError:
    """DuckDB's own word for it, first line only, as the error that a caller can act on."""
    message = str(exc).partition("\n")[0]
    if isinstance(exc, duckdb.OutOfMemoryException):
        return UnavailableError(f"the database ran out of memory: {message}")
    if any(word in message.lower() for word in ("corrupt", "checksum", "not a valid duckdb", "serialization", "wal")):
        return CorruptLogError(
            f"the database is damaged: {message}",
            hint="nothing was changed. Copy the home away, then restore the newest `tenure log backup` or import the "
            "newest export into an empty home",
        )
    return UnavailableError(f"the database does not answer: {message}")
