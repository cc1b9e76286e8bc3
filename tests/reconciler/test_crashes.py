"""Killed before or after any call to the provider and started again: it ends in the same place, all accounted for.

The registry dies with an exception that nobody catches; what follows is a registry composed anew over the same log and
the same account.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.domain.ids import VersionRef
from tests.cloud import unmarked
from tests.fakes import Crash, When
from tests.stage import BOT, PASS_S, PASSES_MAX, Stage

FIRST, SECOND = VersionRef(BOT, 1), VersionRef(BOT, 2)


def live(stage: Stage) -> None:
    """Two versions, the second replaces the first, then back to the first, whose deployment is gone by then."""
    for ref in (FIRST, SECOND):
        stage.fine_tune()
        surely_settle(stage)
        reactivate(stage, ref)
    reactivate(stage, FIRST)


def reactivate(stage: Stage, ref: VersionRef) -> None:
    stage.activate(ref)
    surely_settle(stage)
    stage.clock.advance(minutes=11)
    surely_settle(stage)


def surely_settle(stage: Stage) -> None:
    """As `settle`, by a registry that is started again whenever it was killed."""
    for _ in range(PASSES_MAX):
        try:
            stage.run()
        except Crash:
            stage.restart()
            continue
        if not stage.registry.reconciler.in_motion():
            return
        stage.clock.advance(seconds=PASS_S)
    raise AssertionError(f"still under way: {stage.registry.reconciler.plan()}")


def calls_of_a_life(tmp_path: Path) -> int:
    home = tmp_path / "rehearsal"
    home.mkdir()
    stage = Stage(home)
    live(stage)
    return len(stage.cloud().calls)


def check(stage: Stage) -> None:
    cloud = stage.cloud()
    assert stage.active_ref() == "bot@1"
    assert [stage.state(ref) for ref in (FIRST, SECOND)] == ["active", "retired"]
    assert sorted(unmarked(job.name) for job in cloud.jobs.values()) == [
        "tenure-test12-bot-1-1",
        "tenure-test12-bot-2-1",
    ]
    assert [unmarked(one.name) for one in stage.deployments()] == [
        "tenure-test12-bot-1-1",
        "tenure-test12-bot-2-1",
        "tenure-test12-bot-1-2",
    ]
    assert sorted(bill.name for bill in cloud.bills) == sorted(one.name for one in stage.deployments())
    assert [unmarked(bill.name) for bill in cloud.bills if bill.to is None] == ["tenure-test12-bot-1-2"]
    assert [unmarked(one.name) for one in cloud.deployments.values()] == ["tenure-test12-bot-1-2"]
    assert stage.unbilled_seconds() == 0
    types = stage.types()
    for once in ("training-submitted", "training-started", "version-trained"):
        assert types.count(once) == 2, once
    assert (types.count("version-activated"), types.count("version-retired")) == (3, 2)
    assert (types.count("deployment-requested"), types.count("deployment-deleted")) == (3, 2)


CALLS = 55
"""At least as many as a life makes; a life that makes more fails the test that counts them."""


def test_a_life_makes_no_more_calls_than_the_crashes_below_cover(tmp_path: Path) -> None:
    assert CALLS - 10 < calls_of_a_life(tmp_path) <= CALLS


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(1, CALLS + 1))
def test_killed_around_a_call_it_ends_in_the_same_place(tmp_path: Path, call: int, when: When) -> None:
    stage = Stage(tmp_path)
    stage.cloud().crash_at = (call, when)
    live(stage)
    check(stage)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_every_call_it_still_ends_in_the_same_place(tmp_path: Path, when: When) -> None:
    """One kill after another, each at the next call after the last."""
    stage = Stage(tmp_path)
    cloud = stage.cloud()
    cloud.crash_every = (11, when)
    live(stage)
    cloud.crash_every = None
    surely_settle(stage)
    check(stage)
