"""How each format is read: a relation of numbered rows, as DuckDB reads it alone, or by way of the forgiving reader."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.store.datasets.engine import Engine, literal
from registry.store.datasets.files import Look
from registry.store.datasets.model import Columns, Complaint, DataFault, FileFaultError
from registry.store.datasets.records import (
    ROW_BYTES_MAX,
    Record,
    csv_header,
    csv_records,
    line_records,
    separator_hint,
)

COPY_ROW_BYTES_MAX = 4 * ROW_BYTES_MAX + 64
"""ROW_BYTES_MAX characters in UTF-8, or quotes written twice, and the row's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`sql` selects `row` and, for a table, the columns that `names` maps to SQL's names; for JSON Lines, `line`.

    `row` is NULL where a row's number is its place: numbering rows while they are read would take one thread.
    """

    sql: str
    names: dict[str, str] | None


def strict_source(engine: Engine, seen: Look, columns: Columns, *, slot: str) -> Source:
    """As DuckDB reads the file alone; what is broken raises UnreadableError when the relation is read.

    `slot` names the file's link in the scratch folder. Raises FileFaultError for a header without the columns, or
    columns that hold no text.
    """
    file = _link(engine, seen, slot)
    if seen.format == "parquet":
        return _parquet(engine, file, columns)
    if seen.format == "jsonl":
        return Source(sql=_rows(_read_lines(file)), names=None)
    header = _checked_header(seen, columns)
    return Source(sql=_rows(_read_csv(file, len(header))), names=_places(header, first=0))


def forgiving_source(
    engine: Engine, seen: Look, columns: Columns, report: Callable[[DataFault], None], *, slot: str
) -> Source:
    """A strict copy of every row that can be read, with its number; the others are reported."""
    table = seen.format == "csv"
    header = _checked_header(seen, columns) if table else ("line",)
    records = csv_records(seen, width=len(header)) if table else line_records(seen)
    copy = engine.scratch / f"{slot}-copy.csv"
    with copy.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(("row", *header))
        for record in records:
            if record.kind is not None:
                column = header[record.value] if table and record.value is not None else None
                report(_fault(seen, record, column))
            elif record.row > 0:
                writer.writerow((record.row, *record.values))
    reader = _read_csv(copy, len(header) + 1, row_bytes_max=COPY_ROW_BYTES_MAX)
    if table:
        sql = f"SELECT c0::BIGINT AS row, * EXCLUDE c0 FROM {reader}"  # noqa: S608 - names and literals of ours
        return Source(sql=sql, names=_places(header, first=1))
    return Source(sql=f"SELECT c0::BIGINT AS row, c1 AS line FROM {reader}", names=None)  # noqa: S608 - see above


def wanted_columns(columns: Columns, there: Sequence[str]) -> list[str]:
    """The names that must be there. A system column that nobody named is wanted only where it is."""
    wanted = [columns.prompt, columns.completion]
    system = columns.system_column
    if system is not None and (columns.system is not None or system in there):
        wanted.append(system)
    return wanted


def missing_column(column: str, there: Sequence[str], *, hint: str = "") -> Complaint:
    alike = {name.strip().lower(): name for name in there}
    near = difflib.get_close_matches(column.lower(), alike, n=1, cutoff=0.75)
    meant = f" (did you mean {alike[near[0]]!r}?)" if near else ""
    message = f"there is no such column; there are: {', '.join(there) or 'none'}{meant}{hint}"
    return Complaint(kind="missing-column", column=column, message=message)


def _checked_header(seen: Look, columns: Columns) -> tuple[str, ...]:
    header = csv_header(seen)
    if not header:
        message = "has a header that cannot be read: it must be one line of names in UTF-8, separated by commas"
        raise FileFaultError.because("row-shape", message)
    hint = separator_hint(header)
    _require(columns, header, hint=hint)
    twice = [name for name in wanted_columns(columns, header) if header.count(name) > 1]
    if twice:
        raise FileFaultError(*(Complaint(kind="row-shape", column=name, message="is there twice") for name in twice))
    return header


def _require(columns: Columns, there: Sequence[str], *, hint: str = "") -> None:
    missing = [name for name in wanted_columns(columns, there) if name not in there]
    if missing:
        raise FileFaultError(*(missing_column(name, there, hint=hint) for name in missing))


def _parquet(engine: Engine, file: Path, columns: Columns) -> Source:
    reader = f"read_parquet({literal(str(file))}, hive_partitioning=false)"
    types = {str(name): str(kind) for name, kind, *_ in engine.stream(f"DESCRIBE FROM {reader}")}
    _require(columns, list(types))
    wanted = wanted_columns(columns, list(types))
    wrong = [name for name in wanted if types[name] != "VARCHAR"]
    if wrong:
        raise FileFaultError(
            *(Complaint(kind="column-type", column=name, message=f"holds {types[name]}, not text") for name in wrong)
        )
    names = {name: '"' + name.replace('"', '""') + '"' for name in wanted}
    chosen = ", ".join(f"{name} AS c{place}" for place, name in enumerate(names.values()))
    sql = f"SELECT NULL::BIGINT AS row, {chosen} FROM {reader}"  # noqa: S608 - names are quoted
    return Source(sql=sql, names=_places(wanted, first=0))


def _link(engine: Engine, seen: Look, slot: str) -> Path:
    """A name without the brackets, stars, quotes and equal signs that DuckDB would read a meaning into."""
    link = engine.scratch / f"{slot}.{seen.format}{'.gz' if seen.compressed else ''}"
    link.symlink_to(seen.path.resolve())
    return link


def _rows(reader: str) -> str:
    return f"SELECT NULL::BIGINT AS row, * FROM {reader}"  # noqa: S608 - literals of ours


def _places(header: Sequence[str], *, first: int) -> dict[str, str]:
    return {name: f"c{place}" for place, name in enumerate(header, start=first)}


def _read_csv(file: Path, width: int, *, row_bytes_max: int = ROW_BYTES_MAX) -> str:
    """RFC 4180 and nothing guessed: DuckDB's own guessing depends on the first rows, and changes what a text is."""
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(width))
    return (
        f"read_csv({literal(str(file))}, auto_detect=false, header=true, columns={{{columns}}}, delim=',', quote='\"',"
        f" escape='\"', strict_mode=true, nullstr='', hive_partitioning=false, {_buffers(row_bytes_max)})"
    )


def _read_lines(file: Path) -> str:
    return (
        f"read_csv({literal(str(file))}, auto_detect=false, header=false, columns={{'line': 'VARCHAR'}}, delim=chr(31),"
        f" quote='', escape='', strict_mode=true, hive_partitioning=false, {_buffers(ROW_BYTES_MAX)})"
    )


def _buffers(row_bytes_max: int) -> str:
    return f"max_line_size={row_bytes_max}, buffer_size={8 * ROW_BYTES_MAX}"


def _fault(seen: Look, record: Record, column: str | None) -> DataFault:
    assert record.kind is not None
    return DataFault(file=str(seen.path), row=record.row, column=column, kind=record.kind, message=record.message)
