"""The states and moves as a picture, and where the versions stand in it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from registry.application.ports import VersionQuery
from registry.application.views import VersionView
from registry.web.diagram import diagram
from registry.web.page import Page
from statemachine import DEPLOYMENT, VERSION

SHOWN = 12
"""Of the versions in one state; how many there are beyond that is told as more."""


def lifecycle(page: Page) -> Response:
    chosen = page.query("state")
    stands: dict[str, tuple[list[VersionView], bool]] = {}
    for state in VERSION.states:
        query = VersionQuery(states=frozenset({state}), limit=SHOWN)
        stands[state] = page.versions(query)
    none: dict[str, int] = {}
    counts = none if page.past or not page.principal.may("read") else page.registry.log.version_counts()
    return page.html(
        "lifecycle.html",
        lifecycles=[(VERSION, diagram(VERSION)), (DEPLOYMENT, diagram(DEPLOYMENT))],
        stands=stands,
        counts={state: _count(state, counts, *some) for state, some in stands.items()},
        chosen=chosen if chosen in VERSION.states else None,
    )


def _count(state: str, counts: Mapping[str, int], found: list[VersionView], more: bool) -> str:
    """How many there are; of the past, and of some models, as far as they are listed."""
    return f"{counts.get(state, 0):,}" if counts else f"{len(found)}{'+' if more else ''}"
