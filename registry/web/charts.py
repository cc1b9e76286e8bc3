"""Geometry of the charts: what is drawn as SVG, in per cent of its box, so that a phone gets the same picture.

Axis labels are text beside the drawing, evenly spaced, so that they keep their size whatever the width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from registry.application.views import IntervalView, MetricView
from registry.domain.ledger import MICROSECOND, Charge

WIDTH, HEIGHT = 1000, 300
"""Of the box in which curves are drawn; it is stretched to the page's width."""
POINTS_MAX = 600
"""Drawn of one curve; of longer ones, every so many-th."""
TICKS = 4
CURVES = ("train_loss", "valid_loss")
HAIR = 0.35
"""The narrowest bar, in per cent: what was billed must be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """`colour` numbers the version, `dashed` tells validation from training."""

    label: str
    colour: int
    dashed: bool
    path: str
    last: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChart:
    """`y` from the top down, `x` from the left. `hover` is what the readout under the pointer needs, as JSON."""

    curves: tuple[Curve, ...]
    y: tuple[str, ...]
    x: tuple[str, ...]
    hover: str


def loss_chart(versions: Sequence[tuple[str, Sequence[MetricView]]]) -> LossChart | None:
    """The loss curves of several versions in one frame; None where there is no point yet."""
    found = [
        (f"{ref} {'training' if name == 'train_loss' else 'validation'}", number, name, points)
        for number, (ref, metrics) in enumerate(versions)
        for name in CURVES
        if (points := _points(metrics, name))
    ]
    if not found:
        return None
    every = [point for *_, points in found for point in points]
    low, high, ticks = _nice(min(y for _, y in every), max(y for _, y in every))
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    steps = max(last - first, 1)

    def place(point: tuple[int, float]) -> tuple[float, float]:
        x = (point[0] - first) / steps * WIDTH if last > first else WIDTH / 2
        return x, (high - point[1]) / (high - low) * HEIGHT

    curves = [
        Curve(label=label, colour=number, dashed=name == "valid_loss", path=_path([place(one) for one in points]),
              last=points[-1][1])
        for label, number, name, points in found
    ]  # fmt: skip
    hover = {
        "first": first,
        "last": last,
        "curves": [{"label": label, "points": points} for label, _, _, points in found],
    }
    return LossChart(
        curves=tuple(curves),
        y=tuple(f"{tick:g}" for tick in reversed(ticks)),
        x=_steps(first, last),
        hover=json.dumps(hover),
    )


def _points(metrics: Sequence[MetricView], name: str) -> list[tuple[int, float]]:
    points = [(one.step, one.value) for one in metrics if one.name == name and math.isfinite(one.value)]
    stride = -(-len(points) // POINTS_MAX)
    return [*points[:-1:stride], points[-1]] if points else []


def _path(places: Sequence[tuple[float, float]]) -> str:
    """A single point is a line of no length, which a round cap makes a dot."""
    if len(places) == 1:
        places = [places[0], places[0]]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _nice(low: float, high: float) -> tuple[float, float, list[float]]:
    """Bounds around what is shown, and evenly spaced round figures between them."""
    span = (high - low) or max(abs(high), 1.0)
    rough = span / TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    start, end = math.floor(low / step), math.ceil(high / step)
    end = max(end, start + 1)
    return start * step, end * step, [round(number * step, 10) for number in range(start, end + 1)]


def _steps(first: int, last: int) -> tuple[str, ...]:
    """Evenly spaced whole steps, as many as there are."""
    span = last - first
    if not span:
        return (f"step {first}",)
    count = next(count for count in range(TICKS, 0, -1) if span % count == 0)
    return (f"step {first}", *(str(first + span // count * number) for number in range(1, count + 1)))


# Money over time


Span = IntervalView | Charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """In per cent of the row's width."""

    x: float
    width: float
    known: bool
    words: str


def bars(spans: Iterable[Span], start: datetime, end: datetime) -> list[Bar]:
    """Billed intervals as bars over [start, end)."""
    whole = max((end - start).total_seconds(), 1.0)
    drawn: list[Bar] = []
    for one in spans:
        width = max((one.to - one.from_).total_seconds() / whole * 100, HAIR)
        x = min((one.from_ - start).total_seconds() / whole * 100, 100 - width)
        certainty = "billed" if one.known else "unknown, counted as billed"
        words = f"{one.from_:%Y-%m-%d %H:%M} to {one.to:%Y-%m-%d %H:%M}: {certainty}"
        drawn.append(Bar(x=round(x, 3), width=round(width, 3), known=one.known, words=words))
    return drawn


def time_marks(start: datetime, end: datetime, count: int = 4) -> list[str]:
    """Evenly spaced labels, the first at the start and the last at the end."""
    span = end - start
    if span > timedelta(hours=12):
        form = "%-d %b" if span > timedelta(days=count) else "%-d %b %H:%M"
    else:
        form = "%H:%M" if span >= timedelta(minutes=2 * count) else "%H:%M:%S"
    return [f"{start + span * number / count:{form}}" for number in range(count + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One day: two parts of a column, in per cent of the chart's box, from the top."""

    label: str
    x: float
    width: float
    serving_y: float
    serving: float
    training_y: float
    training: float
    words: str


def columns(groups: Sequence[tuple[str, Decimal, Decimal]], currency: str) -> list[Column]:
    """(day, serving, training) as stacked columns, side by side."""
    top = max((serving + training for _, serving, training in groups), default=Decimal(0))
    each = 100 / max(len(groups), 1)
    drawn: list[Column] = []
    for number, (label, serving, training) in enumerate(groups):
        high = float(serving / top * 100) if top else 0.0
        more = float(training / top * 100) if top else 0.0
        drawn.append(
            Column(
                label=f"{date.fromisoformat(label):%-d %b}",
                x=round(number * each + each * 0.15, 3), width=round(min(each * 0.7, 12), 3),
                serving_y=round(100 - high, 3), serving=round(high, 3),
                training_y=round(100 - high - more, 3), training=round(more, 3),
                words=f"{label}: {serving + training:.2f} {currency}",
            )
        )  # fmt: skip
    return drawn


def days_between(
    groups: Sequence[tuple[str, Decimal, Decimal]], start: datetime | None = None, end: datetime | None = None
) -> list[tuple[str, Decimal, Decimal]]:
    """The same, with the days on which nothing was billed: from the first to the last, or of the whole [start, end)."""
    known = {label: (serving, training) for label, serving, training in groups}
    if not known:
        return []
    first, last = date.fromisoformat(min(known)), date.fromisoformat(max(known))
    if start is not None and end is not None:
        first, last = min(first, start.date()), max(last, (end - MICROSECOND).date())
    nothing = (Decimal(0), Decimal(0))
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [(f"{one:%Y-%m-%d}", *known.get(f"{one:%Y-%m-%d}", nothing)) for one in days]
