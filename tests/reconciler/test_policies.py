"""What policies do by themselves, when it is due, and on whose word: idle standbys, old artifacts, months that cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from providers.errors import OutcomeUnknownError
from registry.application.ports import DeploymentQuery, Usage
from registry.domain.errors import BadInputError, RefusedError, UnavailableError
from registry.domain.ids import VersionRef
from registry.domain.states import DeploymentState
from registry.reconciler.using import FRESH
from tests.fakes import When, provider_error
from tests.stage import ANA, BEN, BOT, Stage

ROOMY = 2**40


def standby(stage: Stage) -> VersionRef:
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    return ref


def deployment(stage: Stage) -> DeploymentState:
    return stage.log.deployments(DeploymentQuery())[-1]


def called(stage: Stage, id: str | None = None) -> None:
    """Through the gateway, now."""
    now = stage.clock.time
    one = deployment(stage)
    hour = now.replace(minute=0, second=0, microsecond=0)
    stage.log.record_usage(
        [Usage(model=BOT, version=1, deployment=id or one.id, hour=hour, requests=1, last_used_at=now)]
    )


# Idle


def test_a_standby_that_nobody_calls_is_deleted_on_the_policys_word(stage: Stage) -> None:
    stage.policy(idle_delete="7d")
    ref = standby(stage)
    stage.let_pass(days=6, hours=23)
    assert stage.states() == ["serving"]
    stage.let_pass(hours=2)
    assert stage.states() == ["deleted"]
    asked = next(event for event in stage.history(str(ref)) if event.type == "deployment-deletion-requested")
    assert asked.actor == "policy:delete-idle"
    assert (asked.reason or "").startswith("idle_delete = 604800 s: nobody has called it since 2026-11-01T")


def test_a_call_begins_the_time_anew_also_when_it_comes_in_the_last_moment(stage: Stage) -> None:
    stage.policy(idle_delete="7d")
    standby(stage)
    stage.let_pass(days=6)
    called(stage)
    stage.let_pass(days=6)
    assert stage.states() == ["serving"]
    stage.clock.advance(days=1, minutes=-1)
    stage.registry.reconciler.plan()
    called(stage)
    stage.clock.advance(seconds=FRESH.total_seconds() / 2)
    stage.clock.advance(minutes=1)
    stage.settle()
    assert stage.states() == ["serving"], "what was called since it was planned stays"


def test_without_the_key_a_standby_stays_for_ever(stage: Stage) -> None:
    standby(stage)
    stage.let_pass(days=365)
    assert stage.states() == ["serving"]


def test_the_active_version_is_never_idle(stage: Stage) -> None:
    stage.policy(idle_delete="7d")
    stage.active()
    stage.let_pass(days=30)
    assert stage.states() == ["serving"]


def test_unknown_use_is_never_idle(stage: Stage) -> None:
    """One that existed before may be called by anyone, past this registry."""
    stage.policy(idle_delete="7d")
    ref = stage.trained()
    stage.cloud().stranger("prod", "ft:tenure-test12-bot-1-1")
    stage.registry.commands.attach(ref, "prod", ANA)
    stage.let_pass(days=30)
    assert stage.states() == ["serving"]
    called(stage)
    stage.let_pass(days=8)
    assert stage.states() == ["deleted"], "once it is known when it was called, it can be idle"


# Artifacts


def test_artifacts_of_retired_versions_beyond_those_kept_are_deleted_oldest_first(stage: Stage) -> None:
    stage.policy(keep_artifacts=1, superseded_grace="0s")
    refs = [stage.active() for _ in range(4)]
    stage.settle()
    assert [stage.state(ref) for ref in refs] == ["deleted", "deleted", "retired", "active"]
    assert set(stage.cloud().artifacts) == {"ft:tenure-test12-bot-3-1", "ft:tenure-test12-bot-4-1"}
    asked = next(event for event in stage.history("bot@1") if event.type == "deletion-requested")
    assert asked.actor == "policy:keep-artifacts"
    assert asked.reason == "keep_artifacts = 1, and as many later versions are retired"


def test_a_policy_that_comes_later_and_a_registry_that_starts_again_see_old_artifacts(stage: Stage) -> None:
    stage.policy(superseded_grace="0s")
    refs = [stage.active() for _ in range(4)]
    stage.settle()
    stage.restart()
    stage.policy(keep_artifacts=2)
    stage.settle()
    assert [stage.state(ref) for ref in refs] == ["deleted", "retired", "retired", "active"]
    document = {"policy": {"keep_artifacts": 0}, "models": {BOT: {"policy": {"keep_artifacts": "default"}}}}
    stage.registry.declaring.apply(document, ANA, plan=False)
    stage.restart().reconciler.run()
    stage.let_pass(minutes=20)
    assert [stage.state(ref) for ref in refs] == ["deleted", "deleted", "deleted", "active"]


def test_what_was_imported_and_what_still_serves_is_not_deleted_by_policy(stage: Stage) -> None:
    stage.policy(keep_artifacts=0, superseded="keep")
    donor = stage.trained("donor")
    imported = stage.registry.commands.import_version(
        BOT, "cloud", f"ft:tenure-test12-donor-{donor.number}-1", None, ANA
    )
    for ref in (imported, stage.active()):
        stage.activate(ref)
        stage.settle()
    stage.active()
    stage.settle()
    assert {stage.state(VersionRef(BOT, number)) for number in (1, 2)} == {"retired"}
    for one in stage.deployments():
        if one.ref != "bot@3":
            stage.registry.commands.undeploy(one.id, ANA)
    stage.settle()
    assert [stage.state(VersionRef(BOT, number)) for number in (1, 2, 3)] == ["retired", "deleted", "active"]


# Money


def test_two_deployments_that_fit_one_by_one_are_not_both_allowed(stage: Stage) -> None:
    stage.policy(max_hourly_cost="3.00")
    first, second = stage.trained(), stage.trained()
    stage.registry.commands.deploy(first, ANA)
    with pytest.raises(RefusedError, match=r"another 1\.80 would exceed max_hourly_cost"):
        stage.registry.commands.deploy(second, ANA)


def test_a_month_that_has_no_room_left_refuses_deployments_and_trainings(stage: Stage) -> None:
    stage.policy(max_monthly_cost="1300.00")
    ref = standby(stage)
    with pytest.raises(RefusedError, match=r"max_monthly_cost = 1300\.00"):
        stage.registry.commands.deploy(stage.trained(), ANA)
    assert stage.version(ref).deployments != ()
    stage.policy(max_monthly_cost="1250.00")
    with pytest.raises(RefusedError, match=r"this training would cost 0\.50 more"):
        stage.fine_tune()


def test_a_month_that_costs_more_than_its_limit_is_told_once_and_nothing_is_cut_off(stage: Stage) -> None:
    stage.active()
    stage.policy(max_monthly_cost="100.00")
    for _ in range(10):
        stage.let_pass(days=1)
    told = [event for event in stage.history() if event.type == "budget-exceeded"]
    assert [(event.actor, event.data["month"]) for event in told] == [("policy:max-monthly-cost", "2026-11")]
    assert stage.active_ref() == "bot@1"
    for _ in range(30):
        stage.let_pass(days=1)
    months = [event.data["month"] for event in stage.history() if event.type == "budget-exceeded"]
    assert months == ["2026-11", "2026-12"]


def test_what_the_registry_says_holds_for_every_model_that_does_not_say_otherwise(stage: Stage) -> None:
    stage.registry.declaring.apply({"policy": {"max_hourly_cost": "1.00"}}, ANA, plan=False)
    ref = stage.trained()
    with pytest.raises(RefusedError, match=r"max_hourly_cost = 1\.00"):
        stage.registry.commands.deploy(ref, ANA)
    assert stage.registry.reading.policy(BOT)["max_hourly_cost"] == "1.00"
    assert stage.registry.reading.model(BOT).policy["max_hourly_cost"] == "1.00"
    stage.policy(max_hourly_cost="2.00")
    stage.registry.commands.deploy(ref, ANA)


# Four eyes


def test_the_approval_that_was_missing_lets_the_policy_activate(stage: Stage) -> None:
    stage.policy(activate="on-trained", approvals=2)
    ref = stage.trained()
    stage.registry.commands.approve(ref, BEN)
    assert stage.state(ref) == "trained"
    (waiting,) = stage.registry.reconciler.policy_plan(BOT)
    assert (waiting.action, waiting.subject, waiting.outcome) == ("activate", str(ref), "waiting")
    assert waiting.detail == "it needs 2 approvals and has 1"
    assert stage.registry.reconciler.foretell(BOT, rules={"activate": "manual"}) == []
    assert stage.registry.reconciler.foretell(BOT, past=(stage.log.head(), stage.clock())) == [waiting]
    with pytest.raises(RefusedError, match="who asks cannot approve"):
        stage.registry.commands.approve(ref, ANA)
    stage.registry.commands.approve(ref, type(BEN)(actor="user:cleo"))
    stage.settle()
    assert stage.active_ref() == str(ref)
    assert stage.registry.reconciler.policy_plan(BOT) == []
    asked = next(event for event in stage.history(str(ref)) if event.type == "activation-requested")
    assert asked.actor == "policy:activate-on-trained"


def test_an_approval_activates_nothing_that_is_worse(stage: Stage) -> None:
    stage.cloud().results.extend([("succeeded", {"valid_loss": 0.5}), ("succeeded", {"valid_loss": 0.9})])
    stage.active()
    stage.policy(activate="if-better", approvals=1)
    worse = stage.trained()
    assert stage.registry.reconciler.policy_plan(BOT) == [], "no approval would activate it"
    stage.registry.commands.approve(worse, BEN)
    stage.settle()
    assert stage.active_ref() == "bot@1"


# Room


BELOW = "100 MiB are free at {}: nothing that is billed is begun below 256 MiB, because it could soon not be recorded"


@pytest.mark.parametrize("operation", ["submit", "create"])
def test_below_the_floor_a_create_that_nobody_heard_of_is_looked_for_and_not_made_again(
    stage: Stage, operation: str
) -> None:
    free = [ROOMY]
    stage.free_bytes = lambda: free[0]
    stage.restart()
    ref = stage.trained() if operation == "create" else None
    stage.cloud().fail(operation, provider_error(OutcomeUnknownError), times=99)
    if ref is not None:
        stage.activate(ref)
    else:
        stage.fine_tune()
    stage.run()
    free[0] = 100 * 2**20
    stage.cloud().faults.clear()
    made = stage.cloud().calls.count(operation)
    for _ in range(6):
        stage.run()
        stage.clock.advance(seconds=60)
    assert stage.cloud().calls.count(operation) == made
    free[0] = ROOMY
    stage.clock.advance(minutes=6)
    stage.settle()
    assert stage.cloud().calls.count(operation) == made + 1


def test_below_the_floor_nothing_billed_is_begun_and_everything_else_goes_on(stage: Stage) -> None:
    free = [ROOMY]
    stage.free_bytes = lambda: free[0]
    stage.restart()
    first = stage.active()
    second = stage.trained()
    third = stage.fine_tune()
    free[0] = 100 * 2**20
    with pytest.raises(UnavailableError, match="100 MiB are free at"):
        stage.registry.commands.deploy(second, ANA)
    with pytest.raises(UnavailableError, match="nothing that is billed is begun below 256 MiB"):
        stage.fine_tune()
    with pytest.raises(UnavailableError):
        stage.activate(second)
    stage.run()
    assert stage.state(third) == "queued", "an intent of before waits"
    (begun,) = [one for one in stage.registry.reconciler.plan() if one.action == "submit job"]
    assert (begun.outcome, begun.detail) == ("waiting", BELOW.format(stage.home))
    assert stage.active_ref() == str(first)
    stage.registry.commands.retire(first, ANA)
    stage.clock.advance(minutes=11)
    for _ in range(5):
        stage.run()
        stage.clock.advance(seconds=20)
    assert stage.states() == ["deleted"]
    free[0] = ROOMY
    stage.clock.advance(minutes=6)
    stage.settle()
    assert stage.state(third) == "trained"
    stage.activate(second)
    stage.settle()
    assert stage.active_ref() == str(second)


# Plans


def test_a_policys_plan_names_what_it_will_do_when_and_why(stage: Stage) -> None:
    stage.policy(superseded_grace="10m", idle_delete="7d")
    stage.active()
    stage.active()
    superseded, idle = stage.registry.reconciler.policy_plan(BOT)
    assert (superseded.actor, superseded.outcome) == ("policy:delete-superseded", "waiting")
    assert superseded.due_at is not None
    assert superseded.due_at - stage.clock.time < timedelta(minutes=10)
    assert idle.actor == "policy:delete-idle"
    assert stage.registry.reconciler.policy_plan("other") == []


def test_other_rules_are_planned_without_being_set(stage: Stage) -> None:
    stage.policy(superseded="keep", idle_delete="7d")
    stage.active()
    stage.active()
    foretell = stage.registry.reconciler.foretell
    position = stage.log.head()
    (idle,) = stage.registry.reconciler.policy_plan(BOT)
    assert [one.actor for one in foretell(BOT, rules={"superseded": "delete"})] == ["policy:delete-superseded"]
    (same,) = foretell(BOT, rules={"superseded": "keep", "idle_delete": "7d"})
    assert (same.why, same.due_at) == (idle.why, idle.due_at)
    assert foretell("other", rules={"superseded": "delete"}) == []
    with pytest.raises(BadInputError, match="idle_delete = 'soon' is not a duration"):
        foretell(BOT, rules={"idle_delete": "soon"})
    assert stage.log.head() == position


def test_artifacts_beyond_those_kept_are_planned_as_they_would_be_and_as_they_were(stage: Stage) -> None:
    stage.policy(superseded_grace="0s")
    first = stage.active()
    stage.active()
    stage.active()
    stage.settle()
    foretell = stage.registry.reconciler.foretell
    (would,) = foretell(BOT, rules={"keep_artifacts": 1})
    assert (would.actor, would.subject) == ("policy:keep-artifacts", str(first))
    stage.policy(keep_artifacts=1)
    then = stage.log.head(), stage.clock.time
    stage.settle()
    assert stage.state(first) == "deleted"
    (was,) = foretell(BOT, past=then)
    assert was.subject == str(first)
    assert foretell(BOT) == []


def test_what_a_policy_would_have_done_is_told_by_the_calls_that_were_known_then(stage: Stage) -> None:
    stage.policy(idle_delete="7d")
    standby(stage)
    stage.let_pass(days=1)
    called(stage)
    then = stage.log.head(), stage.clock.time
    stage.clock.advance(days=2)
    called(stage)
    (idle,) = stage.registry.reconciler.foretell(BOT, past=then)
    assert idle.due_at == then[1] + timedelta(days=7)
    (later,) = stage.registry.reconciler.foretell(BOT, past=(stage.log.head(), stage.clock.time))
    assert later.due_at == stage.clock.time + timedelta(days=7)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delete_goes_on_while_creates_fail(stage: Stage, when: When) -> None:
    """Creates and reads that get no answer close the connection to creates; what is to go is still asked for."""
    from providers.errors import UnavailableError as Unavailable

    standby(stage)
    stage.registry.commands.deploy(stage.trained(), ANA)
    cloud = stage.cloud()
    cloud.fail("create", provider_error(Unavailable), when=when, times=50)
    for _ in range(5):
        stage.run()
        stage.clock.advance(seconds=1)
    deletes = cloud.count("delete")
    stage.registry.commands.undeploy(stage.deployments()[0].id, ANA)
    stage.run()
    assert cloud.count("delete") == deletes + 1


def test_spending_adds_up_what_is_known(stage: Stage) -> None:
    stage.policy(max_monthly_cost="5000.00")
    standby(stage)
    stage.let_pass(hours=10)
    _, spending = stage.registry.commands.limits.spending(BOT)
    assert Decimal("18.00") <= spending.spent() < Decimal("18.10")
