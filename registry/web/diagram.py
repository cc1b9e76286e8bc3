"""The lifecycles drawn from their tables: boxes where they read best, arrows from the moves.

An arrow leaves a box by one side and enters another by one; ends that share a side are spread along it, in the order of
where they lead, so that few lines cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from statemachine import DEPLOYMENT, VERSION, Lifecycle

Side = Literal["left", "right", "top", "bottom"]

BOX_W, BOX_H = 118, 50
MARGIN = 20
TIP = 4
"""Between the point of an arrow and its box."""
PLACES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    VERSION.name: {
        "queued": (80, 215), "training": (300, 215), "trained": (510, 215), "deploying": (720, 215),
        "active": (910, 215), "retired": (1090, 215), "failed": (190, 55), "cancelled": (190, 375),
        "deleted": (405, 375),
    },
    DEPLOYMENT.name: {
        "requested": (90, 200), "provisioning": (310, 200), "serving": (550, 200), "lost": (810, 200),
        "failed": (200, 50), "deleting": (550, 360), "deleted": (810, 360),
    },
}  # fmt: skip
"""Centres. A state that is not here is put into a row of its own at the bottom."""
SIDES: Mapping[tuple[str, str, str], tuple[Side, Side]] = {
    (VERSION.name, "failed", "deleted"): ("right", "top"),
    (VERSION.name, "retired", "deleted"): ("bottom", "right"),
    (DEPLOYMENT.name, "failed", "deleting"): ("right", "top"),
    (DEPLOYMENT.name, "requested", "deleting"): ("bottom", "left"),
    (DEPLOYMENT.name, "provisioning", "deleting"): ("bottom", "left"),
    (DEPLOYMENT.name, "deleted", "deleting"): ("bottom", "bottom"),
}
"""(lifecycle, from, to) -> by which sides, where the nearest ones would cross a box."""
ROW_GAP = 90
NEAR = (0.34, 0.7)
"""Where along an arrow its word stands: nearer to where it begins, so that there and back do not collide."""
NORMALS: Mapping[Side, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    name: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    trigger: str
    source: str
    target: str
    leaves: Side
    enters: Side


def diagram(lifecycle: Lifecycle) -> Diagram:
    places = dict(PLACES[lifecycle.name])
    lowest = max(y for _, y in places.values())
    for number, state in enumerate(one for one in lifecycle.states if one not in places):
        places[state] = (90 + 180 * number, lowest + ROW_GAP)
    boxes = [
        Box(state=state, x=places[state][0], y=places[state][1], meaning=meaning, entry=lifecycle.entries.get(state))
        for state, meaning in lifecycle.states.items()
    ]
    edges = [
        _edge(lifecycle.name, move.trigger, source, move.target, places)
        for move in lifecycle.moves
        for source in move.sources
    ]
    arrows = _drawn(edges, places)
    lowest_y = max(*(y + BOX_H for _, y in places.values()), *(one.label_y for one in arrows))
    return Diagram(
        name=lifecycle.name,
        width=max(x for x, _ in places.values()) + BOX_W // 2 + MARGIN,
        height=int(lowest_y) + MARGIN,
        boxes=tuple(boxes),
        arrows=tuple(arrows),
    )


def _edge(name: str, trigger: str, source: str, target: str, places: Mapping[str, tuple[int, int]]) -> _Edge:
    (x1, y1), (x2, y2) = places[source], places[target]
    leaves, enters = SIDES.get((name, source, target), ("top", "top"))
    if (name, source, target) in SIDES:
        pass
    elif y1 != y2:
        leaves, enters = ("bottom", "top") if y2 > y1 else ("top", "bottom")
    elif x2 > x1 and not any(y == y1 and x1 < x < x2 for x, y in places.values()):
        leaves, enters = "right", "left"
    return _Edge(trigger=trigger, source=source, target=target, leaves=leaves, enters=enters)


def _drawn(edges: list[_Edge], places: Mapping[str, tuple[int, int]]) -> list[Arrow]:
    ends: dict[tuple[str, Side], list[tuple[float, int, bool]]] = {}
    for number, edge in enumerate(edges):
        ends.setdefault((edge.source, edge.leaves), []).append((_along(edge.leaves, places[edge.target]), number, True))
        ends.setdefault((edge.target, edge.enters), []).append(
            (_along(edge.enters, places[edge.source]), number, False)
        )
    points: dict[tuple[int, bool], tuple[float, float]] = {}
    for (state, side), some in ends.items():
        for place, (_, number, starts) in enumerate(sorted(some)):
            points[number, starts] = _point(places[state], side, place, len(some), 0 if starts else TIP)
    beside: dict[tuple[str, str], int] = {}
    arrows: list[Arrow] = []
    for number, edge in enumerate(edges):
        before = beside.get((edge.source, edge.target), 0)
        beside[edge.source, edge.target] = before + 1
        near = 0.5 if edge.leaves in {edge.enters, "right"} else NEAR[before % len(NEAR)]
        arrows.append(_arrow(edge, points[number, True], points[number, False], near))
    return arrows


def _along(side: Side, other: tuple[int, int]) -> int:
    return other[0] if side in {"top", "bottom"} else other[1]


def _point(centre: tuple[int, int], side: Side, place: int, count: int, off: float) -> tuple[float, float]:
    """The place-th of so many points along a side, `off` outside it."""
    (x, y), (nx, ny) = centre, NORMALS[side]
    length = BOX_W if side in {"top", "bottom"} else BOX_H
    shift = ((place + 1) / (count + 1) - 0.5) * length
    return (
        x + nx * (BOX_W / 2 + off) + (shift if ny else 0),
        y + ny * (BOX_H / 2 + off) + (shift if nx else 0),
    )


def _arrow(edge: _Edge, start: tuple[float, float], end: tuple[float, float], near: float) -> Arrow:
    (x1, y1), (x2, y2) = start, end
    (lx, ly), (ex, ey) = NORMALS[edge.leaves], NORMALS[edge.enters]
    reach = max(34.0, 0.42 * max(abs(x2 - x1), abs(y2 - y1)))
    if edge.leaves == edge.enters:
        reach = 30 + 0.22 * abs(x2 - x1)
    a, b = (x1 + lx * reach, y1 + ly * reach), (x2 + ex * reach, y2 + ey * reach)
    path = f"M{x1:.0f} {y1:.0f}C{a[0]:.0f} {a[1]:.0f},{b[0]:.0f} {b[1]:.0f},{x2:.0f} {y2:.0f}"
    x = _bezier(x1, a[0], b[0], x2, near)
    y = _bezier(y1, a[1], b[1], y2, near)
    level = edge.leaves == "right" and y1 == y2
    return Arrow(
        trigger=edge.trigger, source=edge.source, target=edge.target, path=path,
        label_x=x, label_y=y - 7 if level else y + 4,
    )  # fmt: skip


def _bezier(start: float, a: float, b: float, end: float, t: float) -> float:
    u = 1 - t
    return u**3 * start + 3 * u * u * t * a + 3 * u * t * t * b + t**3 * end
