"""`tenure log`: the event log itself, checked, copied, carried elsewhere."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.options import AsJson
from registry.cli.output import print_json
from registry.cli.session import opened
from registry.domain.errors import BadInputError

log = typer.Typer(name="log", no_args_is_help=True, rich_markup_mode=None)
New = Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder; one that exists is left alone.")]


@log.callback()
def log_group() -> None:
    """Check the event log, copy it, carry it elsewhere.

    Example: tenure log verify
    """


@log.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the chain of hashes over every event. Exit 1, naming the first wrong position, when it is broken.

    Example: tenure log verify
    """
    with opened() as tenure:
        events = tenure.log.verify()
    _told(events, "verified", as_json=as_json)


@log.command("export")
def export_(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="stdout, if it is - or not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write every event as one line of JSON.

    Example: tenure log export events.jsonl
    """
    if file is not None and str(file) != "-":
        _refuse_existing(file)
        with opened() as tenure:
            events = tenure.log.export(file)
        _told(events, f"exported to {file}", as_json=as_json)
        return
    with tempfile.TemporaryDirectory(prefix="tenure-") as folder:
        copy = Path(folder) / "events.jsonl"
        with opened() as tenure:
            tenure.log.export(copy)
        with copy.open(encoding="utf-8") as lines:
            shutil.copyfileobj(lines, sys.stdout)


@log.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `tenure log export` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Read the events of another log into a home that has none. All of them or, if one is wrong, none.

    Example: TENURE_HOME=/new tenure log import events.jsonl
    """
    if not file.is_file():
        raise BadInputError(f"{file} is not a file.", field="FILE")
    with opened() as tenure:
        events = tenure.log.import_(file)
    _told(events, f"imported from {file}", as_json=as_json)


@log.command()
def backup(file: New, as_json: AsJson = False) -> None:
    """Make a consistent copy of the log while it is in use: a folder that opens as a home.

    Example: tenure log backup /backup/tenure-2026-11-22
    """
    _refuse_existing(file)
    with opened() as tenure:
        events = tenure.log.backup(file)
    _told(events, f"copied to {file}", as_json=as_json)


@log.command()
def rebuild(as_json: AsJson = False) -> None:
    """Make the read models anew from the log.

    Example: tenure log rebuild
    """
    with opened() as tenure:
        events = tenure.log.rebuild()
    _told(events, "read; the read models are new", as_json=as_json)


def _refuse_existing(file: Path) -> None:
    if file.is_file() or file.is_dir():
        raise BadInputError(f"{file} exists already.", field="FILE", hint="Name a new file.")
    if not file.absolute().parent.is_dir():
        raise BadInputError(f"{file.parent} is not a folder.", field="FILE")


def _told(events: int, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"events": events})
    else:
        typer.echo(f"{events} event{'' if events == 1 else 's'} {what}.")
