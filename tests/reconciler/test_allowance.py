"""A connection is called so often and no more, whatever goes wrong; deletes keep an allowance of their own."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from providers.errors import UnavailableError
from registry.domain.plan import Action
from registry.reconciler.allowance import CREATE, DELETE, KINDS, RATES, READ, Allowance, Rate
from tests.clock import EPOCH
from tests.stage import ANA, Stage

SMALL = {CREATE: Rate(burst=2, per_s=1), DELETE: Rate(burst=2, per_s=1), READ: Rate(burst=2, per_s=0.5)}


def test_a_burst_is_allowed_and_then_so_many_a_second() -> None:
    allowance = Allowance(SMALL)
    for _ in range(2):
        assert allowance.wait_until("cloud", Action.CREATE, EPOCH) is None
        allowance.used("cloud", Action.CREATE, EPOCH)
    assert allowance.wait_until("cloud", Action.CREATE, EPOCH) == EPOCH + timedelta(seconds=1)
    assert allowance.wait_until("cloud", Action.SUBMIT, EPOCH + timedelta(seconds=1)) is None


def test_creates_leave_deletes_reads_and_other_connections_what_they_have() -> None:
    allowance = Allowance(SMALL)
    for _ in range(5):
        allowance.used("cloud", Action.CREATE, EPOCH)
    assert allowance.wait_until("cloud", Action.DELETE, EPOCH) is None
    assert allowance.wait_until("cloud", Action.WATCH, EPOCH) is None
    assert allowance.wait_until("other", Action.CREATE, EPOCH) is None
    assert allowance.wait_until("cloud", Action.REQUEST_DELETION, EPOCH) is None, "it calls nobody"


@given(st.lists(st.floats(0, 10), max_size=60))
def test_in_no_stretch_of_time_are_more_calls_allowed_than_the_burst_and_the_rate(gaps: list[float]) -> None:
    allowance = Allowance(SMALL)
    now, calls = EPOCH, 0
    for gap in gaps:
        now += timedelta(seconds=gap)
        if allowance.wait_until("cloud", Action.CREATE, now) is None:
            allowance.used("cloud", Action.CREATE, now)
            calls += 1
    assert calls <= 2 + (now - EPOCH).total_seconds() + 1e-3


def test_a_plan_says_what_a_step_waits_for(stage: Stage) -> None:
    stage.active()
    later = f"{stage.clock() + timedelta(seconds=90):%H:%M:%S}"

    def foretold() -> tuple[str, str | None]:
        (step,) = stage.registry.reconciler.plan()
        return step.outcome, step.detail

    assert foretold() == ("planned", None)
    stage.cloud().fail("get", UnavailableError("busy", operation="get", retry_after_s=90))
    stage.run()
    assert foretold() == ("waiting", f"the last look failed and is made again: not before {later} UTC")
    stage.clock.advance(seconds=90)
    assert foretold() == ("planned", None)
    stage.registry.reconciler.allowance = used_up = Allowance({**SMALL, READ: Rate(burst=1, per_s=0.01)})
    used_up.used("cloud", Action.WATCH, stage.clock())
    outcome, why = foretold()
    assert (outcome, str(why).partition(":")[0]) == ("waiting", "cloud has had its calls for now")


def test_every_action_that_calls_a_provider_has_a_kind() -> None:
    silent = {
        Action.REQUEST_DEPLOYMENT,
        Action.REQUEST_DELETION,
        Action.ABANDON,
        Action.SWITCH,
        Action.REQUEST_VERSION_DELETION,
        Action.CHECK_BUDGET,
        Action.CHECK_OWNER,
    }
    assert set(KINDS) == set(Action) - silent


def test_a_provider_that_drops_what_it_accepts_is_not_asked_without_end(stage: Stage) -> None:
    """No error, and so no backoff: made, gone, made again."""
    stage.registry.declaring.apply({"scheduler": {"absence": 1}}, ANA, plan=False)
    stage.active()
    cloud = stage.cloud()

    def made_in_100_s() -> int:
        before = len(cloud.bills)
        for _ in range(100):
            for one in list(cloud.deployments.values()):
                if one.outcome == "serving":
                    cloud.lose(one.name)
            stage.run()
            stage.clock.advance(seconds=1)
        return len(cloud.bills) - before

    assert made_in_100_s() > 20
    stage.registry.reconciler.allowance = Allowance({**RATES, CREATE: Rate(burst=3, per_s=0.01)})
    assert 3 <= made_in_100_s() <= 4


def test_a_delete_is_asked_for_while_creates_have_used_up_their_allowance(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    for _ in range(int(RATES[CREATE].burst) + 10):
        stage.registry.reconciler.allowance.used("cloud", Action.CREATE, stage.clock.time)
    other = stage.fine_tune()
    stage.run()
    assert stage.state(other) == "queued"
    stage.registry.commands.undeploy(deployment, ANA)
    stage.run()
    assert stage.cloud().deployments == {}
    stage.clock.advance(minutes=5)
    stage.settle()
    assert stage.state(other) == "trained"
