"""Loss points as they are shown: which of them are losses, their curves and their last values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from registry.cli.chart import ASCII_MARKS, draw

if TYPE_CHECKING:
    from rich.text import Text

    from registry.application.views import MetricView

Curves = Mapping[str, Sequence[tuple[float, float]]]
NAMES = {"train_loss": "training", "valid_loss": "validation"}
_STYLES = ("cyan", "magenta")


def curves(points: Iterable[MetricView]) -> dict[str, list[tuple[float, float]]]:
    """(step, loss) by `training` and `validation`, of the newest attempt only; a name without points is left out."""
    kept = [point for point in points if point.name in NAMES]
    newest = max((point.attempt for point in kept), default=0)
    found: dict[str, list[tuple[float, float]]] = {}
    for name, title in NAMES.items():
        curve = sorted((float(one.step), one.value) for one in kept if one.name == name and one.attempt == newest)
        if curve:
            found[title] = curve
    return found


def chart(series: Curves, *, width: int, height: int, unicode: bool) -> Text:
    """The curves with a legend that gives the first and the last value of each."""
    from rich.text import Text

    drawing = Text()
    for line in draw(series, width=width, height=height, unicode=unicode):
        for span in line:
            drawing.append(span.text, style="dim" if span.series is None else _STYLES[span.series % len(_STYLES)])
        drawing.append("\n")
    for number, (title, curve) in enumerate(series.items()):
        mark = "━" if unicode else ASCII_MARKS[number]
        arrow = "→" if unicode else "->"
        drawing.append(f"  {mark} ", style=_STYLES[number % len(_STYLES)])
        drawing.append(f"{title} loss {curve[0][1]:.4g} {arrow} {curve[-1][1]:.4g}")
    return drawing


def can_show_braille(stream: TextIO) -> bool:
    return "utf" in (stream.encoding or "").lower()
