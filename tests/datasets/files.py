"""Small data files to check, and what a check says of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from registry.store.datasets import Columns, DataFault, DataReport, check

HEADER = ("prompt", "completion")
ROWS: tuple[tuple[str, str], ...] = (("Hi", "Hello!"), ("Bye", "See you."))


def csv_file(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def raw_file(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def json_file(path: Path, rows: Iterable[object]) -> Path:
    return raw_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def checked(train: Path, validation: Path | None = None, columns: Columns | None = None) -> DataReport:
    return check(train, validation, columns or Columns())


def faults(train: Path, columns: Columns | None = None) -> list[tuple[int | None, str | None, str]]:
    """(row, column, kind) of each fault of one file."""
    return places(checked(train, None, columns).faults)


def places(found: Iterable[DataFault]) -> list[tuple[int | None, str | None, str]]:
    return [(fault.row, fault.column, fault.kind) for fault in found]


def converted(path: Path) -> list[tuple[list[dict[str, str]], list[dict[str, str]]]]:
    lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return [(line["prompt"], line["completion"]) for line in lines]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
