"""`tenure audit`: what was billed, for which version, since when, on whose word, and what it cost."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson
from registry.cli.output import Column, human, interactive, print_json, print_table, show_list
from registry.cli.session import opened
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.application.views import AuditView, BilledDeploymentView, IntervalView

From = Annotated[
    str | None, typer.Option("--from", metavar="T", help="Begin here: an ISO 8601 date or time, UTC if not said.")
]
To = Annotated[str | None, typer.Option("--to", metavar="T", help="End here; now, if not given.")]


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
    by: Annotated[By | None, typer.Option("--by", help="Sum up the cost of each.")] = None,
    from_: From = None,
    to: To = None,
    format: Annotated[Format, typer.Option("--format", help="How to answer.", show_default=True)] = Format.table,
    as_json: AsJson = False,
) -> None:
    """Say what was billed and is billed, at what rate, for which version, since when and on whose word.

    Money is exact; `-` (piped: nothing, JSON: null) where no price is known.

    Example: tenure audit --by model --from 2026-11-01T00:00:00Z --format csv
    """
    if format is Format.focus:
        raise BadInputError(
            "--format focus is not available yet.", field="--format", hint="--format csv or json have the same facts."
        )
    with opened() as tenure:
        view = tenure.audit(from_=_time(from_, "--from"), to=_time(to, "--to"), by=by.value if by else None)
    if as_json or format is Format.json:
        print_json(view.as_json())
    elif format is Format.csv:
        _write_csv(view)
    elif by is not None:
        _show_groups(view)
    else:
        show_audit(view)


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        hint = "Write 2026-11-01 or 2026-11-01T12:00:00Z."
        raise BadInputError(f"{option} {text!r} is not an ISO 8601 date or time.", field=option, hint=hint) from exc
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def show_audit(view: AuditView) -> None:
    from registry.cli.columns import BILLED, TRAINING_COSTS

    if not interactive():
        show_list(view.deployments, BILLED, as_json=False, empty="")
        return
    _show_sum(view)
    if view.deployments:
        print_table(view.deployments, BILLED, title="\nDeployments")
    if view.training:
        print_table(view.training, TRAINING_COSTS, title="\nTraining")
    for title, rows in (("Unknown", view.unknown), ("Not ours", view.foreign)):
        if rows:
            from registry.cli.columns import of_mappings

            print_table(rows, of_mappings(rows), title=f"\n{title}")


def _show_groups(view: AuditView) -> None:
    from registry.cli.columns import of_mappings

    show_list(view.groups, of_mappings(view.groups), as_json=False, empty="Nothing was billed.")


def _show_sum(view: AuditView) -> None:
    billed = sum(1 for one in view.deployments if one.deployment.billed)
    typer.secho(f"{human(view.from_)} to {human(view.to)}", dim=True)
    typer.secho(f"Cost {human(view.total)} {view.currency}", bold=True, nl=False)
    typer.echo(f", {billed} billed now at {human(view.hourly_rate)} {view.currency} an hour", nl=False)
    typer.echo(f"; {view.unpriced} without a known price." if view.unpriced else ".")


def _write_csv(view: AuditView) -> None:
    """One line per billed interval of a deployment, then one per training; the same columns for both."""
    from registry.application.views import to_json

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["kind", *(column.key for column in _CSV)])
    for billed, interval in _intervals(view.deployments):
        writer.writerow(["deployment", *(to_json(column.of((billed, interval))) for column in _CSV)])
    for one in view.training:
        known = {
            "ref": one.version,
            "model": one.version.rpartition("@")[0],
            "version": one.version.rpartition("@")[2],
            "to": one.trained_at,
            "quantity": one.quantity,
            "unit": one.unit,
            "rate": one.price,
            "cost": one.cost,
            "currency": one.currency,
        }
        writer.writerow(["training", *(to_json(known.get(column.key)) for column in _CSV)])


def _intervals(
    deployments: Sequence[BilledDeploymentView],
) -> Iterator[tuple[BilledDeploymentView, IntervalView]]:
    for one in deployments:
        for interval in one.intervals:
            yield one, interval


_CSV: list[Column[tuple[BilledDeploymentView, IntervalView]]] = [
    Column("id", lambda row: row[0].deployment.id),
    Column("ref", lambda row: row[0].deployment.ref),
    Column("model", lambda row: row[0].deployment.model),
    Column("version", lambda row: row[0].deployment.version),
    Column("connection", lambda row: row[0].deployment.connection),
    Column("provider", lambda row: row[0].deployment.provider),
    Column("provider_id", lambda row: row[0].deployment.provider_id),
    Column("from", lambda row: row[1].from_),
    Column("to", lambda row: row[1].to),
    Column("known", lambda row: row[1].known),
    Column("quantity", lambda _: None),
    Column("unit", lambda _: "hour"),
    Column("rate", lambda row: row[1].hourly_rate),
    Column("cost", lambda row: row[1].cost),
    Column("currency", lambda row: row[0].deployment.currency),
    Column("requested_by", lambda row: row[0].deployment.requested_by),
    Column("reason", lambda row: row[0].deployment.reason),
]
