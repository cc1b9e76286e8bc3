"""Which versions and deployments, in which order, and where a page goes on. Shared by every log and by `as_of` reads.

A cursor holds the last row's place in the order (value, model, number), so pages stay right while versions are added.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from heapq import nsmallest
from math import inf
from operator import itemgetter
from typing import Any

from registry.application.ports import DeploymentQuery, Motion, VersionOrder, VersionPage, VersionQuery
from registry.domain.deploying import same
from registry.domain.errors import BadInputError
from registry.domain.states import DeploymentState, ModelState, VersionState
from registry.store.projection import is_live, is_moving, loss

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Place = tuple[float, str, int]
"""(order value, model, number); see `place_of`."""


def place_of(state: VersionState, order: VersionOrder) -> Place:
    """Ascending places are the order that was asked for: newest and lowest numbers first are negative.

    Times count in microseconds; a version without a loss comes after all that have one.
    """
    match order:
        case "newest":
            return -_micros(state.created_at), state.model, -state.version
        case "oldest":
            return _micros(state.created_at), state.model, state.version
        case "valid_loss" | "train_loss":
            value = loss(state, order)
            return inf if value is None else value, state.model, -state.version


def _micros(time: datetime | None) -> int:
    if time is None:
        return 0
    span = time - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def cursor_of(place: Place, order: VersionOrder) -> str:
    text = json.dumps([order, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_from(cursor: str, order: VersionOrder) -> Place:
    """Raises BadInputError for a cursor that no page of this order gave."""
    try:
        found: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        of, value, model, number = found
        place = (value + 0, model + "", number + 0)
    except (ValueError, TypeError, binascii.Error) as exc:
        raise BadInputError(f"{cursor!r} is not a cursor", field="cursor", hint="begin again without one") from exc
    if of != order:
        raise BadInputError(f"this cursor belongs to the order {of!r}, not {order!r}", field="cursor")
    return place


def page_of(states: Sequence[VersionState], query: VersionQuery) -> VersionPage:
    """`states`: in order, one more than the limit if there is more."""
    limit = query.limit
    if limit is None or len(states) <= limit:
        return VersionPage(items=tuple(states), next=None)
    items = tuple(states[:limit])
    return VersionPage(items=items, next=cursor_of(place_of(items[-1], query.order), query.order))


def check_limit(query: VersionQuery) -> None:
    if query.limit is not None and query.limit < 1:
        raise BadInputError(f"a page holds at least one version, not {query.limit}", field="limit")


def select_versions(states: Iterable[VersionState], query: VersionQuery) -> VersionPage:
    check_limit(query)
    after = None if query.after is None else place_from(query.after, query.order)
    # One by one: a hundred thousand pairs at once make the collector look through everything there is.
    left = ((place_of(state, query.order), state) for state in states if _is_chosen(state, query))
    if after is not None:
        left = (pair for pair in left if pair[0] > after)
    first = itemgetter(0)
    chosen = sorted(left, key=first) if query.limit is None else nsmallest(query.limit + 1, left, key=first)
    return page_of([state for _, state in chosen], query)


def _is_chosen(state: VersionState, query: VersionQuery) -> bool:
    return (
        (query.model is None or state.model == query.model)
        and (not query.states or state.state in query.states)
        and (query.connection is None or state.connection == query.connection)
        and (query.artifact is None or same(state.artifact_id, query.artifact))
    )


def select_deployments(states: Iterable[DeploymentState], query: DeploymentQuery) -> Sequence[DeploymentState]:
    """Oldest request first."""
    chosen = [
        state
        for state in states
        if (query.model is None or state.model == query.model)
        and (query.version is None or state.version == query.version)
        and (query.connection is None or state.connection == query.connection)
        and (not query.live or is_live(state))
    ]
    return sorted(chosen, key=lambda state: (_micros(state.requested_at), state.id))


def surplus_of(versions: Iterable[VersionState], keep: Mapping[str, int]) -> Sequence[VersionState]:
    """See `EventLog.surplus`."""
    retired: dict[str, list[VersionState]] = {}
    for state in versions:
        if state.state == "retired" and state.model in keep:
            retired.setdefault(state.model, []).append(state)
    found: list[VersionState] = []
    for model in sorted(retired):
        newest_first = sorted(retired[model], key=lambda state: state.version, reverse=True)
        found += reversed(newest_first[keep[model] :])
    return [state for state in found if state.method != "imported" and not state.deletion_requested]


def motion_of(
    versions: Iterable[VersionState], deployments: Iterable[DeploymentState], models: Iterable[ModelState]
) -> Motion:
    by_name = sorted(versions, key=lambda state: (state.model, state.version))
    moving = [state for state in by_name if is_moving(state)]
    live = select_deployments(deployments, DeploymentQuery(live=True))
    served = {(state.model, state.version) for state in live}
    names = {state.model for state in (*moving, *live)}
    return Motion(
        versions=tuple(moving),
        deployments=tuple(live),
        models=tuple(sorted((state for state in models if state.name in names), key=lambda state: state.name)),
        serving=tuple(one for one in by_name if (one.model, one.version) in served and not is_moving(one)),
    )
