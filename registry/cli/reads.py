"""Commands that only look: models, versions, show, history, metrics."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson, AsOf, Model, Ref, Version
from registry.cli.output import (
    Column,
    console,
    human,
    interactive,
    print_json,
    print_tsv,
    show_list,
    show_view,
    tsv_line,
)
from registry.cli.session import opened

if TYPE_CHECKING:
    from registry.application.views import EventView, MetricView
    from registry.embedded import Tenure

CHART_HEIGHT = 16
CHART_WIDTH_MAX = 100


def models(as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the models, with the active version of each.

    Example: tenure models
    """
    from registry.cli.columns import MODELS

    with opened() as tenure:
        rows = tenure.models(as_of=as_of)
    show_list(rows, MODELS, as_json=as_json, empty="No models yet. `tenure demo` shows a whole life of one.")


def versions(
    model: Model,
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="Only those in this state; repeat it.")
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model.

    Example: tenure versions support-bot --state trained
    """
    from registry.cli.columns import VERSIONS

    with opened() as tenure:
        rows = tenure.versions(model, as_of=as_of, states=tuple(state or ()))
    show_list(rows, VERSIONS, as_json=as_json, empty=f"No such version of {model}.")


def show(ref: Ref, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show all that is known of a model, or of one of its versions.

    Example: tenure show support-bot@3 --as-of 2026-11-01T12:00:00Z
    """
    with opened() as tenure:
        view = tenure.show(ref, as_of=as_of)
    show_view(view, as_json=as_json)


def history(
    ref: Ref,
    as_of: AsOf = None,
    after: Annotated[
        int, typer.Option("--after", metavar="POSITION", min=0, help="Only what came after this position.")
    ] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as things happen, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a model or to one of its versions, and on whose word.

    With --follow the scheduler runs here for as long as you watch. With --follow and --json: one event per line.

    Example: tenure history support-bot@3
    """
    from registry.cli.columns import EVENTS

    if not follow:
        with opened() as tenure:
            rows = tenure.history(ref, as_of=as_of, after=after)
        show_list(rows, EVENTS, as_json=as_json, empty="Nothing happened.")
        return
    with opened(background=True, interrupted="You follow no longer; what is under way goes on.") as tenure:
        _follow(tenure, ref, after, as_json=as_json)


def metrics(version: Version, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Draw the losses of a version's training: training and validation. Piped: every recorded point.

    Example: tenure metrics support-bot@3
    """
    from registry.cli.columns import METRICS

    with opened() as tenure:
        rows = tenure.metrics(version, as_of=as_of)
    if as_json or not interactive():
        show_list(rows, METRICS, as_json=as_json, empty="")
    else:
        _draw(version, rows)


def checkpoints(version: Version, as_json: AsJson = False) -> None:
    """List the checkpoints that the provider keeps of a version's training.

    Each can be taken as a version of its own: tenure import MODEL --connection NAME --artifact ID

    Example: tenure checkpoints support-bot@3
    """
    from registry.cli.columns import CHECKPOINTS

    with opened() as tenure:
        rows = tenure.checkpoints(version)
    show_list(rows, CHECKPOINTS, as_json=as_json, empty=f"The provider keeps no checkpoints of {version}.")


def _draw(version: str, rows: list[MetricView]) -> None:
    from registry.cli.losses import can_show_braille, chart, curves

    series = curves(rows)
    if not series:
        typer.echo(f"No losses of {version} are recorded.")
        return
    width = min(shutil.get_terminal_size().columns, CHART_WIDTH_MAX)
    console().print(chart(series, width=width, height=CHART_HEIGHT, unicode=can_show_braille(sys.stdout)))


def _follow(tenure: Tenure, ref: str, after: int, *, as_json: bool) -> None:
    """What has happened, then each event as it comes; ends with Ctrl-C."""
    from registry.cli.columns import EVENTS

    columns = [column for column in EVENTS if not column.piped_only] if interactive() else EVENTS
    if not as_json and not interactive():
        print_tsv([column.key for column in columns], [])
    for event in tenure.follow(ref, after=after):
        _tell(event, columns, as_json=as_json)


def _tell(event: EventView, columns: list[Column[EventView]], *, as_json: bool) -> None:
    if as_json:
        print_json(event.as_json(), indent=None)
    elif interactive():
        typer.echo("  ".join(human(column.cell(event)) for column in columns))
    else:
        sys.stdout.write(tsv_line([column.of(event) for column in columns]))
    sys.stdout.flush()
