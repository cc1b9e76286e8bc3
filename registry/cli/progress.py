"""Progress of long work on stderr: a live loss curve on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from registry.cli.losses import can_show_braille, chart, curves

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from registry.application.views import MetricView, VersionView

Report = Callable[["VersionView", "list[MetricView]"], None]
CHART_HEIGHT = 10
CHART_WIDTH_MAX = 90
LIVE_HZ = 4


@contextmanager
def progress() -> Generator[Report]:
    """What `wait(on_progress=…)` is given. Draws on stderr, so that stdout holds the answer and nothing else."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    unicode = can_show_braille(sys.stderr)  # asked before Live puts itself in stderr's place
    with Live(console=Console(stderr=True), refresh_per_second=LIVE_HZ, transient=True) as live:
        yield Picture(live, unicode=unicode)


class _News:
    """The points that come while somebody watches a training; those of a training long over are none."""

    def __init__(self) -> None:
        self._watched = False

    def of(self, version: VersionView, points: Sequence[MetricView]) -> Sequence[MetricView]:
        self._watched = self._watched or version.state in {"queued", "training"}
        return points if self._watched else []


class Lines:
    """A line for every new state, and for the last of the losses that a look brought."""

    def __init__(self) -> None:
        self._state = ""
        self._news = _News()

    def __call__(self, version: VersionView, points: Sequence[MetricView]) -> None:
        for step, values in deque(_by_step(self._news.of(version, points)), maxlen=1):
            typer.echo(f"{version.ref}: step {step}  {values}", err=True)
        if version.state != self._state:
            self._state = version.state
            typer.echo(f"{version.ref}: {version.state}", err=True)


class Picture:
    """A line that says where the version stands, above the curves so far."""

    def __init__(self, live: Live, *, unicode: bool) -> None:
        self._live = live
        self._unicode = unicode
        self._news = _News()
        self._points: list[MetricView] = []
        self._started = time.monotonic()

    def __call__(self, version: VersionView, points: Sequence[MetricView]) -> None:
        self._points.extend(self._news.of(version, points))
        self._live.update(self._render(version))

    def _render(self, version: VersionView) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        elapsed = int(time.monotonic() - self._started)
        line = Text.assemble((version.ref, "bold"), "  ", (version.state, "yellow"))
        line.append(f"  {elapsed // 60}:{elapsed % 60:02d}", style="dim")
        series = curves(self._points)
        for title, curve in series.items():
            line.append(f"  {title} loss {curve[-1][1]:.4g}")
        if self._points:
            line.append(f"  step {self._points[-1].step}", style="dim")
        head = Spinner("dots", text=line)
        width = min(self._live.console.width, CHART_WIDTH_MAX)
        drawable = max((len(curve) for curve in series.values()), default=0) > 1
        if not drawable:
            return head
        return Group(head, chart(series, width=width, height=CHART_HEIGHT, unicode=self._unicode))


def _by_step(points: Sequence[MetricView]) -> Iterator[tuple[int, str]]:
    from itertools import groupby

    losses = sorted((one for one in points if one.name.endswith("loss")), key=lambda one: (one.step, one.name))
    for step, group in groupby(losses, key=lambda point: point.step):
        yield step, "  ".join(f"{point.name} {point.value:.4g}" for point in group)
