"""The gateway's counts in the log's files: a row per version, deployment and hour, to which later counts are added.

They go through the journal as metrics do. Adding is safe although batches are replayed, because the database remembers
in the same transaction which batch it has applied last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from registry.application.ports import Usage
from registry.store.values import naive_utc

if TYPE_CHECKING:
    from registry.store.database import Cursor, Database

UsageKey = tuple[str, int, str, datetime]
"""model, number, deployment (empty for none), naive hour"""
UsageRow = tuple[str, int, str, datetime, int, int, int, int, int, float, datetime]
"""The key, then requests, errors, unmetered, prompt_tokens, completion_tokens, duration_s, naive last_used_at."""

HOUR = timedelta(hours=1)
COLUMNS = (
    "model", "number", "deployment", "hour", "requests", "errors", "unmetered", "prompt_tokens", "completion_tokens",
    "duration_s", "last_used_at",
)  # fmt: skip
_TYPES = ("VARCHAR", "BIGINT", "VARCHAR", "TIMESTAMP", *("BIGINT",) * 5, "DOUBLE", "TIMESTAMP")
_KEYS = ", ".join(COLUMNS[:4])
_SAME = f"({_KEYS}) IN (SELECT ({', '.join(f'unnest(?::{kind}[])' for kind in _TYPES[:4])}))"
_FIND = f"SELECT {', '.join(COLUMNS)} FROM usage WHERE {_SAME}"  # noqa: S608 -- names of ours
_FORGET = f"DELETE FROM usage WHERE {_SAME}"  # noqa: S608 -- names of ours
_INSERT = f"INSERT INTO usage ({', '.join(COLUMNS)}) SELECT {', '.join(f'unnest(?::{kind}[])' for kind in _TYPES)}"


def usage_row(usage: Usage) -> UsageRow:
    return (
        usage.model,
        usage.version,
        usage.deployment or "",
        naive_utc(usage.hour).replace(minute=0, second=0, microsecond=0),
        usage.requests,
        usage.errors,
        usage.unmetered,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.duration_s,
        naive_utc(usage.last_used_at),
    )


def usage_of(row: Sequence[Any]) -> Usage:
    return Usage(
        model=row[0],
        version=row[1],
        deployment=row[2] or None,
        hour=row[3].replace(tzinfo=UTC),
        requests=row[4],
        errors=row[5],
        unmetered=row[6],
        prompt_tokens=row[7],
        completion_tokens=row[8],
        duration_s=row[9],
        last_used_at=row[10].replace(tzinfo=UTC),
    )


def usage_line(row: UsageRow) -> str:
    return "U" + json.dumps([*row[:3], row[3].isoformat(), *row[4:10], row[10].isoformat()])


def parse_usage(text: str) -> UsageRow:
    """The row of a journal line, its letter removed."""
    values = json.loads(text)
    values[3], values[10] = datetime.fromisoformat(values[3]), datetime.fromisoformat(values[10])
    return tuple(values)


def added(rows: Iterable[UsageRow]) -> dict[UsageKey, UsageRow]:
    """One row per key, counts added up."""
    sums: dict[UsageKey, UsageRow] = {}
    for row in rows:
        key = row[:4]
        before = sums.get(key)
        sums[key] = row if before is None else _sum(before, row)
    return sums


def _sum(one: UsageRow, two: UsageRow) -> UsageRow:
    counts = [a + b for a, b in zip(one[4:10], two[4:10], strict=True)]
    row: tuple[Any, ...] = (*one[:4], *counts, max(one[10], two[10]))
    return row  # pyright: ignore[reportReturnType] -- counts of the same types


def write_usage(cursor: Cursor, rows: Sequence[UsageRow]) -> None:
    """Add to what is there, by delete and insert. Inside the caller's transaction."""
    if not rows:
        return
    keys = _columns([row[:4] for row in added(rows).values()])
    sums = added([*cursor.execute(_FIND, keys).fetchall(), *rows])
    cursor.execute(_FORGET, keys)
    cursor.execute(_INSERT, _columns(list(sums.values())))


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def selected(
    rows: Iterable[UsageRow], *, model: str | None, version: int | None, since: datetime | None
) -> list[Usage]:
    first = datetime.min if since is None else naive_utc(since) - HOUR  # noqa: DTZ901 -- naive, as columns are
    chosen = [
        row
        for row in rows
        if (model is None or row[0] == model) and (version is None or row[1] == version) and row[3] > first
    ]
    return [usage_of(row) for row in sorted(chosen, key=lambda row: (row[3], *row[:3]))]


def read_usage(database: Database, *, model: str | None, version: int | None, since: datetime | None) -> list[Usage]:
    rows = database.query(
        f"SELECT {', '.join(COLUMNS)} FROM usage WHERE (?::VARCHAR IS NULL OR model = ?) "  # noqa: S608 -- names of ours
        "AND (?::BIGINT IS NULL OR number = ?) AND (?::TIMESTAMP IS NULL OR hour > ?::TIMESTAMP - INTERVAL 1 HOUR)",
        [model, model, version, version, *(None if since is None else naive_utc(since),) * 2],
    )
    return selected(rows, model=model, version=version, since=since)


def last_used(rows: Iterable[UsageRow]) -> Mapping[str, datetime]:
    newest: dict[str, datetime] = {}
    for row in rows:
        if row[2]:
            newest[row[2]] = max(newest.get(row[2], row[10]), row[10])
    return {deployment: time.replace(tzinfo=UTC) for deployment, time in newest.items()}


def read_last_used(database: Database) -> Mapping[str, datetime]:
    rows = database.query("SELECT deployment, max(last_used_at) FROM usage WHERE deployment <> '' GROUP BY deployment")
    return {deployment: time.replace(tzinfo=UTC) for deployment, time in rows}
