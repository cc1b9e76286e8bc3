"""Answers: tables on a terminal, tab-separated rows with a header line when piped, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from rich.console import Console

    from registry.application.views import View

Row = TypeVar("Row")
GAP = 2
"""Characters between two columns."""
WRAPPED = 16
"""How narrow a column of long text may become before others are left out."""
HARDLY = 6
"""How narrow it may become where nothing can be left out; below, each row is told field by field."""
CENTS = 2
WIDTH_PIPED = 140
"""Of the tables that `tenure demo` tells its story with, where there is no terminal."""
_COMMANDS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = {**{one: f"\\x{one:02x}" for one in _COMMANDS}, **{one: f"\\u{one:04x}" for one in _DIRECTIONS}}
_VISIBLE_JSON = {one: f"\\u{one:04x}" for one in _VISIBLE}
_STYLES = {
    "active": "bold green",
    "serving": "green",
    "done": "green",
    "trained": "cyan",
    "failed": "bold red",
    "lost": "bold red",
    "deleted": "dim",
    "retired": "dim",
    "cancelled": "dim",
    **dict.fromkeys(("queued", "training", "deploying", "requested", "provisioning", "deleting", "waiting"), "yellow"),
}


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """`key` heads the column when piped and is its name in JSON; on a terminal it is shown with spaces.

    `shown`: what a terminal gets instead of the value. `wraps`: long text, which may take several lines. `spare`: left
    out on a terminal that is too narrow, the highest first; 0: never.
    """

    key: str
    of: Callable[[Row], object]
    right: bool = False
    piped_only: bool = False
    shown: Callable[[Row], object] | None = None
    wraps: bool = False
    spare: int = 0

    def cell(self, row: Row) -> object:
        return (self.shown or self.of)(row)


def interactive() -> bool:
    return sys.stdout.isatty()


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if interactive() else WIDTH_PIPED)


def visible(text: str) -> str:
    """With what would command the terminal, or turn the text around, as the escapes that stand for it.

    Reasons, names and errors are other people's and providers' words: nobody else's terminal is theirs.
    """
    return text.translate(_VISIBLE)


def print_json(value: object, *, indent: int | None = 2) -> None:
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False).translate(_VISIBLE_JSON) + "\n")


def show_list(rows: Sequence[Row], columns: Sequence[Column[Row]], *, as_json: bool, empty: str) -> None:
    """A complete list. `empty` is what a terminal reads where there are no rows."""
    from registry.application.views import to_json

    if as_json:
        print_json([to_json(row) for row in rows])
    elif not interactive():
        print_tsv([column.key for column in columns], [[column.of(row) for column in columns] for row in rows])
    elif rows:
        print_table(rows, columns)
    else:
        console().print(empty, style="dim", markup=False)


def show_fields(fields: Mapping[str, object], *, with_empty: bool = False) -> None:
    """One thing, field by field. `with_empty`: a terminal is shown also what is not there."""
    if not interactive():
        print_tsv(["field", "value"], [[key, value] for key, value in fields.items()])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in _flat(fields):
        if with_empty or (value is not None and value not in ((), [], {})):
            table.add_row(Text(key.replace("_", " ")), Text(human(value), style=style_of(value)))
    console().print(table)


def _flat(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """A part that has parts itself, as a data set has, is a field for each."""
    from registry.application.views import View

    for key, given in fields.items():
        value = given.as_json() if isinstance(given, View) else given
        parts = cast("Mapping[str, object]", value if isinstance(value, Mapping) else {})
        if any(isinstance(part, Mapping) for part in parts.values()):
            yield from ((f"{key} {name}", part) for name, part in parts.items())
        else:
            yield key, value


def print_tsv(keys: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    for row in (keys, *rows):
        sys.stdout.write(tsv_line(row))


def tsv_line(values: Sequence[object]) -> str:
    return "\t".join(_tsv(value) for value in values) + "\n"


def print_table(rows: Sequence[Row], columns: Sequence[Column[Row]], *, title: str | None = None) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    shown = _fitting([column for column in columns if not column.piped_only], rows, screen.width)
    if not shown:
        if title:
            screen.print(title, markup=False)
        for row in rows:
            show_fields({column.key: column.cell(row) for column in columns if not column.piped_only})
            screen.print()
        return
    for column in shown:
        justify = "right" if column.right else "left"
        table.add_column(_title(column), justify=justify, overflow="fold", no_wrap=not column.wraps)
    for row in rows:
        values = [column.cell(row) for column in shown]
        table.add_row(*(Text(human(value), style=style_of(value)) for value in values))
    screen.print(table)


def _title(column: Column[Row]) -> str:
    return column.key.replace("_", " ")


def _fitting(columns: list[Column[Row]], rows: Sequence[Row], width: int) -> list[Column[Row]]:
    """The columns without the most dispensable ones, until the rest fits; none where it never does."""

    def needs(column: Column[Row], wrapped: int) -> int:
        widest = max((len(human(column.cell(row))) for row in rows), default=0)
        return GAP + max(len(_title(column)), min(widest, wrapped) if column.wraps else widest)

    kept = list(columns)
    while sum(needs(column, WRAPPED) for column in kept) > width + GAP:
        dispensable = max(kept, key=lambda column: column.spare)
        if not dispensable.spare:
            return kept if sum(needs(column, HARDLY) for column in kept) <= width + GAP else []
        kept.remove(dispensable)
    return kept


def show_view(view: View, *, as_json: bool) -> None:
    if as_json:
        print_json(view.as_json())
    else:
        show_fields({key: getattr(view, key) for key in view.as_json()})


def style_of(value: object) -> str:
    return _STYLES.get(value, "") if isinstance(value, str) else ""


def human(value: object) -> str:  # noqa: PLR0911 - one kind of value a line
    """As people read it: local times to the second, `-` for what is not known or not there."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:.4g}"
        case Decimal():
            return _to_cents(value)
        case str():
            return visible(value)
        case Mapping():
            return ", ".join(f"{key}={human(one)}" for key, one in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return visible(_plain(value))


def _to_cents(value: Decimal) -> str:
    """Without zeros at the end, but never with less than two places."""
    short = value.normalize()
    exponent = short.as_tuple().exponent
    return format(short if isinstance(exponent, int) and exponent < -CENTS else value.quantize(Decimal("0.01")), "f")


def _tsv(value: object) -> str:
    """As scripts read it: empty for what is not there, ISO times, JSON for what has parts; tabs escaped."""
    match value:
        case None:
            text = ""
        case bool():
            text = "true" if value else "false"
        case str():
            text = value
        case _:
            text = _plain(value)
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return visible(escaped)


def _plain(value: object) -> str:
    from registry.application.views import to_json

    plain = to_json(value)
    if isinstance(plain, list) and all(isinstance(one, str) for one in plain):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return ", ".join(plain)  # pyright: ignore[reportUnknownArgumentType]
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
