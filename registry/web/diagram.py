"""The lifecycles drawn from their tables: boxes where they read best, arrows from the moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from statemachine import DEPLOYMENT, VERSION, Lifecycle

BOX_W, BOX_H = 118, 50
PLACES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    VERSION.name: {
        "queued": (80, 150), "training": (260, 150), "trained": (450, 150), "deploying": (650, 150),
        "active": (850, 150), "retired": (1030, 150), "cancelled": (80, 330), "failed": (260, 330),
        "deleted": (650, 330),
    },
    DEPLOYMENT.name: {
        "requested": (80, 90), "provisioning": (290, 90), "serving": (500, 90), "lost": (710, 90),
        "failed": (190, 250), "deleting": (500, 250), "deleted": (710, 250),
    },
}  # fmt: skip
"""Centres. A state that is not here is put into a row of its own at the bottom."""
SIZES: Mapping[str, tuple[int, int]] = {VERSION.name: (1110, 380), DEPLOYMENT.name: (790, 300)}
ROW_GAP = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    state: str
    x: int
    y: int
    meaning: str
    entry: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    trigger: str
    source: str
    target: str
    path: str
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    name: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def diagram(lifecycle: Lifecycle) -> Diagram:
    width, height = SIZES[lifecycle.name]
    places = dict(PLACES[lifecycle.name])
    for state in lifecycle.states:
        if state not in places:
            places[state] = (80 + 180 * (len(places) % 5), height + ROW_GAP // 2)
    boxes = [
        Box(state=state, x=places[state][0], y=places[state][1], meaning=meaning, entry=lifecycle.entries.get(state))
        for state, meaning in lifecycle.states.items()
    ]
    arrows = [
        _arrow(move.trigger, source, move.target, places)
        for move in lifecycle.moves
        for source in move.sources
    ]
    lowest = max(y for _, y in places.values()) + BOX_H
    return Diagram(
        name=lifecycle.name, width=width, height=max(height, lowest), boxes=tuple(boxes), arrows=tuple(arrows)
    )


def _arrow(trigger: str, source: str, target: str, places: Mapping[str, tuple[int, int]]) -> Arrow:
    (x1, y1), (x2, y2) = places[source], places[target]
    if y1 == y2:
        return _along(trigger, source, target, x1, x2, y1)
    return _across(trigger, source, target, (x1, y1), (x2, y2))


def _along(trigger: str, source: str, target: str, x1: int, x2: int, y: int) -> Arrow:
    """In one row: straight to the next box on the right, an arch above to anything else."""
    gap = x2 - x1
    if 0 < gap <= BOX_W * 2:
        start, end = x1 + BOX_W / 2, x2 - BOX_W / 2 - 3
        return Arrow(trigger=trigger, source=source, target=target, path=f"M{start} {y}H{end}",
                     label_x=(start + end) / 2, label_y=y - 7, anchor="middle")  # fmt: skip
    rise = 42 + abs(gap) * 0.12
    top = y - BOX_H / 2
    start, end = x1 - 18 * _sign(gap) * -1, x2 + 18 * _sign(gap) * -1
    path = f"M{start} {top}C{start} {top - rise},{end} {top - rise},{end} {top - 3}"
    return Arrow(trigger=trigger, source=source, target=target, path=path,
                 label_x=(x1 + x2) / 2, label_y=top - rise * 0.75 - 5, anchor="middle")  # fmt: skip


def _across(trigger: str, source: str, target: str, start: tuple[int, int], end: tuple[int, int]) -> Arrow:
    """Between rows: a soft bend from one box to the other, landing where it comes from; up and down keep apart."""
    (x1, y1), (x2, y2) = start, end
    down = _sign(y2 - y1)
    shift = 14 * down if x1 == x2 else 0
    lean = max(-40, min(40, (x1 - x2) * 0.12))
    x1, x2 = x1 - shift, x2 - shift + int(lean)
    from_y, to_y = y1 + down * BOX_H / 2, y2 - down * (BOX_H / 2 + 3)
    bend = (to_y - from_y) * 0.5
    path = f"M{x1} {from_y}C{x1} {from_y + bend},{x2} {to_y - bend},{x2} {to_y}"
    near = 0.28 if x1 != x2 else 0.5
    label_x = x1 + (x2 - x1) * near * near + (8 if down < 0 or x2 >= x1 else -8)
    return Arrow(trigger=trigger, source=source, target=target, path=path,
                 label_x=label_x, label_y=from_y + (to_y - from_y) * near + 4,
                 anchor="start" if down < 0 or x2 >= x1 else "end")  # fmt: skip


def _sign(value: float) -> int:
    return 1 if value > 0 else -1
