"""The DuckDB file: one instance, cursors that are lent out, and opening it again when a failed write has spoiled it.

DuckDB's own write-ahead log is switched off: our journal holds everything since the last checkpoint, once and checked
(docs/decisions/0021). So the file is always as the last checkpoint left it, and whoever opens it brings it up to the
journal.

After a full disk DuckDB refuses everything with FatalException until the instance is opened anew; nothing is lost by
that, since what was acknowledged stands in the journal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import duckdb

from registry.domain.errors import CorruptLogError, TenureError, UnavailableError
from registry.store.interrupts import interruptible
from registry.store.migrations import CONFIG

Rows = list[Any]
A = TypeVar("A")

REOPEN_WAIT_S = 30.0
IDLE_CURSORS_MAX = 16
CATALOG = "tenure"

_MARK_BYTES_MAX = 256
"""DuckDB marks in a log of its own that a checkpoint goes on, and a kill may leave that mark; events are longer."""
_HEADERS = (4096, 8192)
"""Where a DuckDB file has its two headers, in bytes; the one that was written later counts."""
_HEADER = struct.Struct("<QQ")
"""A header's checksum and its iteration, which each checkpoint raises."""

logger = logging.getLogger(__name__)


class Cursor(Protocol):
    """What statements are run by: DuckDB's connections and cursors."""

    def execute(self, query: str, parameters: object = ...) -> Any: ...  # noqa: ANN401 -- DuckDB's


class Database:
    """Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        """Raises CorruptLogError when the file cannot be opened."""
        self.path = path
        self.generation = 0
        self.catch_up: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None
        """Brings an instance that was opened again to where the one before it was."""
        self._returned = threading.Condition()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._lent = 0
        # Kept open for fsync and copies: to close any descriptor of a file drops this process's POSIX locks on it,
        # and with them DuckDB's.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._saved = 0
        try:
            self._root: duckdb.DuckDBPyConnection | None = connect(path)
        except BaseException:
            os.close(self._fd)
            raise

    @contextlib.contextmanager
    def cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection of one's own, for as long as the block. Errors of DuckDB come out as they are."""
        with self._returned:
            if self._root is None:
                raise UnavailableError("the log is closed")
            cursor = self._idle.pop() if self._idle else _in_catalog(self._root.cursor())
            self._lent += 1
            generation = self.generation
        try:
            with interruptible(cursor):
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
        return self.asked(lambda cursor: cursor.execute(sql, list(parameters)).fetchall())

    def asked(self, question: Callable[[duckdb.DuckDBPyConnection], A]) -> A:
        """What a question that may be asked twice answers. Raises as `query` does."""
        generation = self.generation
        try:
            return self._asked(question)
        except duckdb.Error as exc:
            if not spoiled(exc):
                raise translated(exc) from exc
        self.reopen(generation)
        try:
            return self._asked(question)
        except duckdb.Error as exc:
            raise translated(exc) from exc

    def _asked(self, question: Callable[[duckdb.DuckDBPyConnection], A]) -> A:
        with self.cursor() as cursor:
            return question(cursor)

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
            self.catch_up(self._root)

    def _drop(self) -> None:
        """DuckDB shares an instance among all connections of a process, so every one of them has to go."""
        for connection in (*self._idle, self._root):
            if connection is not None:
                with contextlib.suppress(duckdb.Error):
                    connection.close()
        self._idle.clear()
        self._root = None

    def begin_at(self, batch: int) -> None:
        """The file, as it was opened, ends with this batch."""
        self._saved = batch

    def checkpoint(self) -> None:
        """The file holds everything that is committed. Raises duckdb.Error, OSError, UnavailableError.

        That DuckDB says so is not enough to throw the journal away: the file's own header has to have moved on.
        """
        with self.cursor() as cursor:
            ((batch,),) = cursor.execute("SELECT batch FROM meta").fetchall()
            before = self._iteration()
            cursor.execute("CHECKPOINT")
        os.fsync(self._fd)
        if batch > self._saved and self._iteration() <= before:
            raise UnavailableError("the database's checkpoint wrote nothing")
        self._saved = batch

    def _iteration(self) -> int:
        return max(_HEADER.unpack(os.pread(self._fd, _HEADER.size, offset))[1] for offset in _HEADERS)

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
    """The file as its last checkpoint left it. Raises CorruptLogError."""
    wal = path.with_name(path.name + ".wal")
    if wal.exists() and wal.stat().st_size <= _MARK_BYTES_MAX:
        wal.unlink()
    elif wal.exists():
        aside = wal.with_name(f"{wal.name}.foreign-{os.getpid()}")
        wal.rename(aside)
        logger.warning("something else than tenure wrote to %s; what it wrote is now in %s", path, aside)
    connection = duckdb.connect(":memory:", config=dict(CONFIG))
    try:
        # Else a forgotten log would checkpoint in its destructor, in a forked child too.
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        name = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{name}' AS {CATALOG} (RECOVERY_MODE no_wal_writes)")
        return _in_catalog(connection)
    except duckdb.Error as exc:
        connection.close()
        raise translated(exc) from exc


def _in_catalog(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    return connection.execute(f"USE {CATALOG}")


def spoiled(exc: duckdb.Error) -> bool:
    """Whether the instance refuses everything from now on."""
    return isinstance(exc, duckdb.FatalException) or "has been invalidated" in str(exc)


def translated(exc: duckdb.Error) -> TenureError:
    """DuckDB's own word for it, first line only, as the error that a caller can act on."""
    message = str(exc).partition("\n")[0]
    if isinstance(exc, duckdb.OutOfMemoryException):
        return UnavailableError(f"the database ran out of memory: {message}")
    if "could not write" in message.lower() or "no space" in message.lower():
        return UnavailableError(
            f"the database cannot be written: {message}", hint="make room on the disk of TENURE_HOME"
        )
    if any(word in message.lower() for word in ("corrupt", "checksum", "not a valid duckdb", "serializ", "replay")):
        return CorruptLogError(
            f"the database is damaged: {message}",
            hint="nothing was changed. Copy the home away, then restore the newest `tenure log backup` or import the "
            "newest export into an empty home",
        )
    return UnavailableError(f"the database does not answer: {message}")
