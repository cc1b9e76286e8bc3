"""Answers: tables on a terminal, tab-separated rows with a header line when piped, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from registry.application.views import View

Row = TypeVar("Row")
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
    """`key` heads the column when piped and is its name in JSON; on a terminal it is shown with spaces."""

    key: str
    of: Callable[[Row], object]
    right: bool = False
    piped_only: bool = False


def interactive() -> bool:
    return sys.stdout.isatty()


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


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


def show_fields(fields: Mapping[str, object], *, title: str = "") -> None:
    """One thing, field by field."""
    if not interactive():
        print_tsv(["field", "value"], [[key, value] for key, value in fields.items()])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, title=title or None, title_justify="left", pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in fields.items():
        if value is not None and value not in ((), [], {}):
            table.add_row(Text(key.replace("_", " ")), Text(human(value), style=style_of(value)))
    console().print(table)


def print_tsv(keys: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    for row in (keys, *rows):
        sys.stdout.write(tsv_line(row))


def tsv_line(values: Sequence[object]) -> str:
    return "\t".join(_tsv(value) for value in values) + "\n"


def print_table(rows: Sequence[Row], columns: Sequence[Column[Row]], *, title: str | None = None) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = [column for column in columns if not column.piped_only]
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for column in shown:
        table.add_column(
            column.key.replace("_", " "), justify="right" if column.right else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        values = [column.of(row) for column in shown]
        table.add_row(*(Text(human(value), style=style_of(value)) for value in values))
    console().print(table)


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
            return format(value, "f")
        case str():
            return value
        case Mapping():
            return ", ".join(f"{key}={human(one)}" for key, one in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return _plain(value)


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
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _plain(value: object) -> str:
    from registry.application.views import to_json

    plain = to_json(value)
    if isinstance(plain, list) and all(isinstance(one, str) for one in plain):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return ", ".join(plain)  # pyright: ignore[reportUnknownArgumentType]
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
