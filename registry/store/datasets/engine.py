"""A DuckDB of its own for one check or one conversion: in memory, bounded, spilling into a scratch folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from registry.domain.errors import UnavailableError
from registry.store.interrupts import interruptible

FETCH_ROWS = 2_000
_PLACE = re.compile(r"(?i)\bfile (['\"])/.*?\1")


class UnreadableError(Exception):
    """DuckDB cannot read what it was given. `detail` is its first sentence; nothing else of it is shown to anyone."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Engine:
    """Runs SQL. Raises UnreadableError for what is wrong with the data, UnavailableError for what is wrong here."""

    def __init__(self, *, memory_limit: str, scratch: Path) -> None:
        self.scratch = scratch
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(scratch / "spill"),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "preserve_insertion_order": "true",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def run(self, sql: str) -> None:
        for _ in self.stream(sql):
            pass

    def one(self, sql: str) -> tuple[object, ...]:
        (row,) = self.stream(sql)
        return row

    def stream(self, sql: str) -> Iterator[tuple[object, ...]]:
        """Rows as they come, on a cursor of its own, so that streams may be nested."""
        with self._connection.cursor() as cursor:
            try:
                with interruptible(cursor):
                    cursor.execute(sql)
                while rows := _fetched(cursor):
                    yield from rows
            except duckdb.OutOfMemoryException as error:
                raise UnavailableError(
                    "Checking this data needs more memory or scratch space than there is.",
                    hint="Free some space in the folder for temporary files, or point TMPDIR at a larger one.",
                ) from error
            except duckdb.Error as error:
                raise UnreadableError(_first_sentence(error)) from error


def _fetched(cursor: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    with interruptible(cursor):
        return cursor.fetchmany(FETCH_ROWS)


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _first_sentence(error: duckdb.Error) -> str:
    """Without the kind of error, the file's contents, its place, and the advice to programmers that DuckDB appends."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else "it cannot be read"
    return _PLACE.sub("the file", line.partition("Error: ")[2] or line)
