"""The slow, forgiving reader: it goes through a text file that the strict one refused and says where it is broken.

DuckDB stops at the first broken row, and counts lines where people count rows. This reader costs seconds a million rows
and is only used where something is wrong. What it can read it hands back, so that the other faults are found as well.
CSV is RFC 4180 with any line ends, also mixed ones. After a quote that is never closed it goes on with the next line:
rows after it are counted as if that row had ended there.
"""

from __future__ import annotations

import gzip
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from registry.store.datasets.files import Look
from registry.store.datasets.model import FaultKind

ROW_BYTES_MAX = 2_000_000
"""A row larger than this is a fault; about 500,000 tokens, more than any model is trained on at once."""
REREAD_CHARACTERS_MAX = 64_000_000
"""How much is read a second time after quotes that are never closed, so that no file takes for ever."""
QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
UNQUOTED = re.compile(r"[^,\r\n]*+")
SEPARATORS = (("\t", "tabs"), (";", "semicolons"), ("|", "bars"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row as it stands in the file: its values, or why they cannot be had."""

    row: int
    values: tuple[str, ...] = ()
    kind: FaultKind | None = None
    message: str = ""
    value: int | None = None
    """Which value is at fault, counted from 0; None when it is the whole row."""


def text_lines(seen: Look) -> Iterator[str]:
    """Lines with their ends, at most ROW_BYTES_MAX characters at a time; bytes that are not UTF-8 are surrogates."""
    with seen.path.open("rb") as file:
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if seen.compressed else file
        text = io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline="")
        while line := text.readline(ROW_BYTES_MAX + 1):
            yield line


def line_records(seen: Look) -> Iterator[Record]:
    """One record a line, for JSON Lines; blank lines count and are left out."""
    row, continued = 0, False
    for line in text_lines(seen):
        row += not continued
        ended = line.endswith(("\n", "\r"))
        if continued:
            continued = not ended
        elif not ended and len(line) > ROW_BYTES_MAX:
            continued = True
            yield _too_long(row)
        elif text := line.strip("\r\n"):
            yield _encoded(Record(row=row, values=(text,)))


def csv_header(seen: Look) -> tuple[str, ...]:
    """The names in the first record; empty where there is none that can be read."""
    for record in csv_records(seen, width=None, first_row=0):
        return record.values if record.kind is None else ()
    return ()


def csv_records(seen: Look, *, width: int | None, first_row: int = 0) -> Iterator[Record]:
    """Every record, the header too (row 0). With a `width`, a row that has not as many values is a fault.

    Lines without anything are no records.
    """
    lines = _Lines(text_lines(seen))
    row = first_row
    while (line := lines.next()) is not None:
        if not line.strip("\r\n"):
            continue
        record = _encoded(_record(row, line, lines))
        if record.kind is None and width is not None and row > 0 and len(record.values) != width:
            counted = f"{len(record.values)} value{'s' if len(record.values) != 1 else ''}"
            record = Record(row=row, kind="row-shape", message=f"has {counted} where the header has {width} names")
        yield record
        row += 1


def separator_hint(header: tuple[str, ...]) -> str:
    """Words to add where a header of one name looks like several that something else than a comma separates."""
    for character, name in SEPARATORS if len(header) == 1 else ():
        if character in header[0]:
            return f" (the columns seem to be separated by {name}: use commas)"
    return ""


class _Lines:
    """Lines that can be put back, up to a bound."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._returned: deque[str] = deque()
        self._rereads_left = REREAD_CHARACTERS_MAX

    def next(self) -> str | None:
        return self._returned.popleft() if self._returned else next(self._source, None)

    def put_back(self, lines: list[str]) -> None:
        self._rereads_left -= sum(map(len, lines))
        if self._rereads_left >= 0:
            self._returned.extendleft(reversed(lines))


def _record(row: int, line: str, lines: _Lines) -> Record:
    values: list[str] = []
    buffer, position, added = line, 0, list[str]()
    while True:
        if buffer.startswith('"', position):
            match = QUOTED.match(buffer, position)
            if match is None:
                closed = _close(buffer[position:], lines, added)
                if closed is None:
                    lines.put_back(added)
                    return _broken(row, len(values), "opens a quote that is never closed")
                buffer, position, match = closed, 0, QUOTED.match(closed)
                assert match is not None
            value = match.group()[1:-1].replace('""', '"')
        else:
            match = UNQUOTED.match(buffer, position)
            assert match is not None
            value = match.group()
        values.append(value)
        position = match.end()
        if position == len(buffer) or buffer[position] in "\r\n":
            return Record(row=row, values=tuple(values))
        if buffer[position] != ",":
            lines.put_back(added)
            return _broken(row, len(values) - 1, "has text after a closing quote (write a quote inside a text twice)")
        if len(buffer) > ROW_BYTES_MAX:
            return _too_long(row)
        position += 1


def _close(field: str, lines: _Lines, added: list[str]) -> str | None:
    """The open field with the lines up to its closing quote; None when there is none within a row's size.

    An open field has an odd number of quotes, so nothing is matched again before that changes.
    """
    pieces, size, odd = [field], len(field), True
    while size <= ROW_BYTES_MAX and (line := lines.next()) is not None:
        added.append(line)
        pieces.append(line)
        size += len(line)
        odd ^= line.count('"') % 2 == 1
        if not odd:
            return "".join(pieces)
    return None


def _encoded(record: Record) -> Record:
    for index, value in enumerate(record.values):
        if "\0" in value:
            return Record(row=record.row, kind="binary", message="holds a NUL byte", value=index)
        if not value.isascii() and (broken := re.search("[\udc80-\udcff]", value)):
            byte = ord(broken.group()) - 0xDC00
            message = f"is not UTF-8 (byte 0x{byte:02X}): save the file as UTF-8"
            return Record(row=record.row, kind="encoding", message=message, value=index)
    return record


def _broken(row: int, value: int, message: str) -> Record:
    return Record(row=row, kind="quote", message=message, value=value)


def _too_long(row: int) -> Record:
    return Record(row=row, kind="too-long", message=f"is longer than {ROW_BYTES_MAX:,} bytes")
