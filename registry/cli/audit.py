"""`tenure audit`: what was billed, for which version, since when, on whose word, and what it cost."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson, AsOf
from registry.cli.output import human, interactive, print_json, print_table, show_list
from registry.cli.session import note, opened
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from registry.application.bills import ReconciliationView
    from registry.application.views import AuditView
    from registry.embedded import Tenure

From = Annotated[
    str | None, typer.Option("--from", metavar="T", help="Begin here: an ISO 8601 date or time, UTC if not said.")
]
To = Annotated[str | None, typer.Option("--to", metavar="T", help="End before here; now, if not given.")]
Reconcile = Annotated[
    Path | None,
    typer.Option(
        "--reconcile",
        metavar="FILE",
        help="Compare with a bill: FOCUS, AWS CUR, Azure's cost export, OpenAI's costs; CSV or Parquet.",
    ),
]


class By(StrEnum):
    model = "model"
    provider = "provider"
    connection = "connection"
    day = "day"


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    focus = "focus"


def audit(
    by: Annotated[By | None, typer.Option("--by", help="Sum up the cost of each; days are in UTC.")] = None,
    from_: From = None,
    to: To = None,
    as_of: AsOf = None,
    format: Annotated[Format, typer.Option("--format", help="How to answer.", show_default=True)] = Format.table,
    reconcile: Reconcile = None,
    as_json: AsJson = False,
) -> None:
    """Say what was billed and is billed, at what rate, for which version, since when and on whose word.

    Money is exact; `-` (piped: nothing, JSON: null) where no price is known. With --reconcile the exit code is 0 where
    the bill fits to the cent, and 1 where it does not.

    Example: tenure audit --by model --from 2026-11-01 --to 2026-12-01
    """
    from registry.application.auditing import moment

    start, end = moment(from_, "--from"), moment(to, "--to")
    if reconcile is not None:
        _check_alone(by, from_, to, as_of, format)
        with opened() as tenure:
            compared = tenure.audit_against(reconcile)
        _show_compared(compared, as_json=as_json or format is Format.json)
        raise typer.Exit(0 if compared.fits else 1)
    with opened() as tenure:
        if format is Format.focus and not as_json:
            _write_focus(tenure, start, end, as_of)
            return
        view = tenure.audit(from_=start, to=end, by=by.value if by else None, as_of=as_of)
    if as_json or format is Format.json:
        print_json(view.as_json())
    elif format is Format.csv:
        from registry.application.audit_csv import audit_csv

        sys.stdout.write(audit_csv(view))
    elif by is not None:
        _show_groups(view)
    elif not interactive():
        from registry.cli.columns import BILLED

        show_list(view.deployments, BILLED, as_json=False, empty="")
    else:
        show_audit(view, whole=from_ is not None or to is not None)


def _check_alone(*others: object) -> None:
    if any(one is not None and one is not Format.table and one is not Format.json for one in others):
        raise BadInputError(
            "--reconcile compares for the time that the bill is of.",
            field="--reconcile",
            hint="Leave out --by, --from, --to, --as-of and --format.",
        )


def _write_focus(tenure: Tenure, start: datetime | None, end: datetime | None, as_of: str | None) -> None:
    focus = tenure.audit_focus(from_=start, to=end, as_of=as_of)
    sys.stdout.write(focus.csv())
    if focus.unpriced:
        note(f"{focus.unpriced} charges have no known price and no row: FOCUS has no cost that is unknown")


def show_audit(view: AuditView, *, whole: bool = True) -> None:
    """`whole`: also what is not billed any more, one by one."""
    from registry.cli.columns import BILLED, TRAINING_COSTS, of_mappings

    _show_sum(view)
    running = [one for one in view.deployments if one.deployment.billed]
    gone = [one for one in view.deployments if not one.deployment.billed]
    if running:
        print_table(running, BILLED, title="\nBilled now")
    if gone and whole:
        print_table(gone, BILLED, title="\nNot billed any more")
    elif gone:
        typer.secho(f"\n{len(gone)} that are gone are in the sum; --from, --by or --format show them.", dim=True)
    if view.training:
        print_table(view.training, TRAINING_COSTS, title="\nTraining")
    for title, rows in (("Unused", view.unused), ("Unknown", view.unknown), ("Not ours", view.foreign)):
        if rows:
            print_table(rows, of_mappings(rows), title=f"\n{title}")


def _show_groups(view: AuditView) -> None:
    from registry.cli.columns import of_mappings

    show_list(view.groups, of_mappings(view.groups), as_json=False, empty="Nothing was billed.")


def _show_sum(view: AuditView) -> None:
    billed = sum(1 for one in view.deployments if one.deployment.billed)
    typer.secho(f"{human(view.from_)} to {human(view.to)}", dim=True)
    typer.secho(f"Cost {_amounts(view.totals)}", bold=True, nl=False)
    typer.echo(f", {billed} billed now at {_amounts(view.hourly_rates)} an hour", nl=False)
    typer.echo(f"; {view.unpriced} without a known price." if view.unpriced else ".")


def _amounts(sums: Mapping[str, Decimal]) -> str:
    """Each currency by itself."""
    return " + ".join(f"{human(amount)} {currency}" for currency, amount in sums.items()) or "0.00"


def _show_compared(view: ReconciliationView, *, as_json: bool) -> None:
    if as_json:
        print_json(view.as_json())
        return
    from registry.cli.columns import COMPARED

    show_list(view.rows, COMPARED, as_json=False, empty="Neither side has anything.")
    if interactive():
        typer.secho(f"\n{view.format}, {human(view.from_)} to {human(view.to)}: ", nl=False, dim=True)
        typer.secho("it fits." if view.fits else "it does not fit.", bold=True)
        if view.other_lines:
            others = _amounts(view.other_costs)
            typer.secho(f"{view.other_lines} lines of other services, {others}, left out.", dim=True)
