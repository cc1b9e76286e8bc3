"""Every state and every trigger of both lifecycles: it moves, or it is refused with what is legal instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from statemachine import DEPLOYMENT, VERSION, IllegalMoveError, Lifecycle, legal_moves, move
from statemachine.diagram import mermaid, page

VERSION_MOVES = """
start     queued                                  training
finish    training                                trained
fail      queued,training                         failed
cancel    queued,training                         cancelled
retry     failed,cancelled                        queued
activate  trained,retired                         deploying
serve     deploying                               active
abandon   deploying                               trained
retire    active                                  retired
lose      active                                  deploying
delete    trained,retired,failed,cancelled        deleted
"""
DEPLOYMENT_MOVES = """
accept    requested                               provisioning
serve     provisioning                            serving
fail      requested,provisioning                  failed
lose      serving                                 lost
delete    requested,provisioning,serving,failed,lost  deleting
confirm   deleting                                deleted
reappear  deleted,lost                            deleting
"""


def written(table: str) -> dict[tuple[str, str], str]:
    """(state, trigger) -> target, from a table as the design writes it."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {(source, trigger): target for trigger, sources, target in rows for source in sources.split(",")}


EVERYTHING = [
    (lifecycle, state, trigger, written(table).get((state, trigger)))
    for lifecycle, table in ((VERSION, VERSION_MOVES), (DEPLOYMENT, DEPLOYMENT_MOVES))
    for state in lifecycle.states
    for trigger in lifecycle.triggers
]


@pytest.mark.parametrize(("lifecycle", "state", "trigger", "target"), EVERYTHING)
def test_every_trigger_moves_from_every_state_or_is_refused_with_what_is_legal(
    lifecycle: Lifecycle, state: str, trigger: str, target: str | None
) -> None:
    if target is not None:
        assert move(lifecycle, state, trigger) == target
        return
    with pytest.raises(IllegalMoveError) as refusal:
        move(lifecycle, state, trigger)
    assert (refusal.value.lifecycle, refusal.value.state, refusal.value.trigger) == (lifecycle.name, state, trigger)
    table = VERSION_MOVES if lifecycle is VERSION else DEPLOYMENT_MOVES
    assert set(refusal.value.legal) == {trigger for source, trigger in written(table) if source == state}


@pytest.mark.parametrize(("lifecycle", "table"), [(VERSION, VERSION_MOVES), (DEPLOYMENT, DEPLOYMENT_MOVES)])
def test_the_tables_are_those_of_the_design(lifecycle: Lifecycle, table: str) -> None:
    moves = {(source, one.trigger): one.target for one in lifecycle.moves for source in one.sources}
    assert moves == written(table)


def test_one_enters_where_its_story_begins() -> None:
    assert set(VERSION.entries) == {"queued", "training", "trained"}
    assert set(DEPLOYMENT.entries) == {"requested", "serving"}


def test_a_final_state_allows_nothing_and_says_so() -> None:
    assert legal_moves(VERSION, "deleted") == ()
    assert legal_moves(DEPLOYMENT, "deleted") == ("reappear",), "what comes back is deleted again"
    with pytest.raises(IllegalMoveError, match="none, it is final"):
        move(VERSION, "deleted", "activate")


def test_a_state_that_does_not_exist_is_a_bug_and_no_refusal() -> None:
    with pytest.raises(ValueError, match="'activ' is not a state of a version"):
        move(VERSION, "activ", "retire")


def test_a_trigger_that_does_not_exist_is_refused() -> None:
    with pytest.raises(IllegalMoveError) as refusal:
        move(VERSION, "trained", "promote")
    assert refusal.value.legal == ("activate", "delete")


def test_the_page_about_lifecycles_is_not_stale() -> None:
    path = Path(__file__).parents[2] / "docs" / "lifecycle.md"
    assert path.read_text("utf-8") == page(), "run: python -m statemachine.diagram > docs/lifecycle.md"


def test_the_diagram_draws_entries_moves_and_ends() -> None:
    drawn = mermaid(VERSION).splitlines()
    assert drawn[0] == "stateDiagram-v2"
    assert "    [*] --> trained: import" in drawn
    assert "    active --> deploying: lose" in drawn
    assert "    deleted --> [*]" in drawn
