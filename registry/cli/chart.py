"""Loss curves as text: braille dots where the terminal can show them, plain characters where it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

Point = tuple[float, float]
Series = Mapping[str, Sequence[Point]]
ASCII_MARKS = "*o+x#@"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille cell, by row and column: Unicode 16, chapter 21."""


@dataclass(frozen=True, slots=True)
class Span:
    """`series` counts from 0 in the order given; None for the frame."""

    text: str
    series: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The drawing's edges in values, and its size in dots."""

    left: float
    right: float
    low: float
    high: float
    columns: int
    rows: int

    def place(self, point: Point) -> tuple[int, int]:
        x = (point[0] - self.left) / (self.right - self.left) * (self.columns - 1)
        y = (self.high - point[1]) / (self.high - self.low) * (self.rows - 1)
        return round(x), round(y)


def draw(series: Series, *, width: int = 72, height: int = 14, unicode: bool = True) -> list[list[Span]]:
    """Lines of spans: the curves over their axes. `width` and `height` in characters, axes included; [] without points.

    Values that are not finite are left out. Later series are drawn over earlier ones.
    """
    curves = [[point for point in points if math.isfinite(point[1])] for points in series.values()]
    every = [point for curve in curves for point in curve]
    if not every:
        return []
    low, high = _padded(min(y for _, y in every), max(y for _, y in every))
    labels = _labels(low, high, height - 2)
    margin = max(len(label) for label in labels.values()) + 1
    cells_wide, cells_high = max(width - margin - 1, 8), max(height - 2, 2)
    across, down = (2, 4) if unicode else (1, 1)
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    frame = _Frame(
        left=left,
        right=right if right > left else left + 1,
        low=low,
        high=high,
        columns=cells_wide * across,
        rows=cells_high * down,
    )
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, curve in enumerate(curves):
        for x, y in _dots(curve, frame):
            cell = (x // across, y // down)
            bits = cells.get(cell, (0, number))[0]
            cells[cell] = (bits | _DOTS[y % down][x % across], number)
    bar, corner, rule = ("┤", "└", "─") if unicode else ("|", "+", "-")
    lines = [
        [Span(f"{labels.get(row, ''):>{margin}}{bar}"), *_row(cells, row, cells_wide, unicode=unicode)]
        for row in range(cells_high)
    ]
    first, last = _number(left), _number(frame.right)
    gap = max(cells_wide - len(first) - len(last), 1)
    return [
        *lines,
        [Span(" " * margin + corner + rule * cells_wide)],
        [Span(" " * (margin + 1) + first + " " * gap + last)],
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    around = abs(low) * 0.05 or 0.5
    return low - around, high + around


def _labels(low: float, high: float, rows: int) -> dict[int, str]:
    middle = (rows - 1) // 2
    at_middle = high - (high - low) * middle / max(rows - 1, 1)
    return {middle: _number(at_middle), 0: _number(high), rows - 1: _number(low)}


def _number(value: float) -> str:
    return f"{value:.4g}"


def _dots(curve: Sequence[Point], frame: _Frame) -> Iterator[tuple[int, int]]:
    """Every dot on the way from point to point."""
    placed = [frame.place(point) for point in curve]
    yield from placed[:1]
    for (x0, y0), (x1, y1) in pairwise(placed):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(1, steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _row(cells: Mapping[tuple[int, int], tuple[int, int]], row: int, width: int, *, unicode: bool) -> Iterator[Span]:
    """The cells of a row, neighbours of one series as one span."""
    drawn = (cells.get((column, row)) for column in range(width))
    for number, group in groupby(drawn, key=lambda cell: None if cell is None else cell[1]):
        if number is None:
            yield Span(" " * sum(1 for _ in group))
        else:
            mark = ASCII_MARKS[number % len(ASCII_MARKS)]
            yield Span("".join(chr(_BRAILLE + cell[0]) if unicode else mark for cell in group if cell), number)
