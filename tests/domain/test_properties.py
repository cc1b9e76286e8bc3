"""Whatever is decided in whatever order: states move only along the tables, and at most one version is active."""

from __future__ import annotations

from hypothesis import given as with_examples
from hypothesis import settings
from hypothesis import strategies as st

from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.states import DeploymentState, VersionState
from statemachine import DEPLOYMENT, VERSION, Lifecycle
from tests.domain import histories as h

STEPS: list[h.Step] = [
    *(
        make(number)
        for number in (1, 2)
        for make in (
            *(h.submitted, h.started, h.job_over, h.failed, h.cancel, h.retry, h.approve, h.activate, h.switch),
            *(h.abandon, h.retire, h.delete, h.gone, h.requested, h.attached, h.unsure, h.accepted, h.serving),
            *(h.broken, h.lost, h.undeploy, h.delete_accepted, h.seen_gone),
        )
    ),
    *(h.job_over(number, outcome="failed") for number in (1, 2)),
    *(h.requested(number, purpose="activation") for number in (1, 2)),
    *(h.lost(number, exists=True) for number in (1, 2)),
]


def allowed(lifecycle: Lifecycle, before: str, after: str) -> bool:
    if before == "":
        return after in lifecycle.entries
    moves = {(source, one.target) for one in lifecycle.moves for source in one.sources}
    return before == after or (before, after) in moves


def taken(past: h.Past, step: h.Step) -> list[NewEvent]:
    try:
        return list(step(past))
    except (RefusedError, KeyError, IndexError, AssertionError):
        return []  # refused, or about what does not exist


@settings(max_examples=80, deadline=None)
@with_examples(st.lists(st.integers(0, 10_000), max_size=40))
def test_states_move_only_along_the_tables_and_at_most_one_version_is_active(choices: list[int]) -> None:
    past = h.given(h.queued(), h.imported()).past
    for choice in choices:
        possible = [events for step in STEPS if (events := taken(past, step))]
        if not possible:
            break
        for event in possible[choice % len(possible)]:
            known = past.states.get(event.stream)
            before = known.state if isinstance(known, VersionState | DeploymentState) else ""
            past.append([event])
            state = past.states[event.stream]
            if isinstance(state, VersionState):
                assert allowed(VERSION, before, state.state), (before, event)
            elif isinstance(state, DeploymentState):
                assert allowed(DEPLOYMENT, before, state.state), (before, event)
            assert len([one for one in past.versions if one.state == "active"]) <= 1
        serving = {one.version for one in past.versions if one.state == "active" or one.reactivating}
        assert serving == ({past.known.active} if past.known.active is not None else set())
