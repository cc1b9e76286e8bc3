"""What a connection's account has, against the log: strays, what comes back, what is lost, and what is not ours."""

from __future__ import annotations

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from registry.application.ports import DeploymentQuery
from registry.application.views import StepView
from registry.domain.states import DeploymentState
from tests.cloud import Deployed, unmarked
from tests.fakes import Crash, When, provider_error
from tests.stage import ANA, BOT, PASS_S, Stage


def sweep(stage: Stage) -> list[StepView]:
    return stage.registry.reconciler.run(sweep=True)


def later(stage: Stage, **span: float) -> None:
    """Time goes by in steps of the sweep's pace, and each of them sweeps."""
    stage.clock.advance(**span)
    for _ in range(12):
        sweep(stage)
        if not stage.registry.reconciler.in_motion():
            return
        stage.clock.advance(seconds=PASS_S)


def orphan(stage: Stage, name: str = "tenure-test12-bot-1-7", artifact: str = "ft:tenure-test12-bot-1-1") -> Deployed:
    """Ours by its tag, and by no intent: a create that came through after everybody had given it up."""
    one = stage.cloud().stranger(name, artifact)
    one.ours = True
    return one


def found(stage: Stage) -> DeploymentState:
    (one,) = [one for one in stage.log.deployments(DeploymentQuery()) if one.suspected or one.orphan]
    return one


# Orphans


def test_an_orphan_is_reported_counted_as_billed_and_left_alone_by_default(stage: Stage) -> None:
    stage.trained()
    made = orphan(stage)
    (told,) = sweep(stage)
    assert told.detail == "tenure-test12-bot-1-7 bears our tag and has no owner (Succeeded)"
    later(stage, days=30)
    one = found(stage)
    assert (one.orphan, one.state, one.suspected, one.model) == (True, "serving", "bot@1", "")
    assert one.billed_from == made.created_at
    assert stage.unbilled_seconds() == 0
    assert made.id in stage.cloud().deployments
    event = stage.registry.log.read(stream=f"deployment:{one.id}")
    assert [(each.type, each.actor) for each in event] == [("orphan-found", "provider:cloud")]


def test_an_orphan_is_found_once(stage: Stage) -> None:
    stage.trained()
    orphan(stage)
    sweep(stage)
    head = stage.log.head()
    stage.restart()
    assert sweep(stage) == []
    assert stage.log.head() == head


def test_an_orphan_is_deleted_by_policy_after_its_grace_and_seen_to_be_gone(stage: Stage) -> None:
    stage.policy(orphans="delete")
    stage.trained()
    made = orphan(stage)
    sweep(stage)
    later(stage, minutes=9)
    assert made.id in stage.cloud().deployments, "younger strays are left alone"
    later(stage, minutes=2)
    one = found(stage)
    assert (one.state, stage.cloud().deployments) == ("deleted", {})
    asked = next(e for e in stage.log.read(stream=f"deployment:{one.id}") if e.type == "deployment-deletion-requested")
    assert asked.actor == "policy:delete-orphans"
    assert "orphans = delete" in (asked.reason or "")
    assert stage.unbilled_seconds() == 0


def test_an_orphan_is_adopted_by_policy_as_a_standby_of_the_version_that_it_was_made_for(stage: Stage) -> None:
    stage.policy(orphans="adopt")
    ref = stage.trained()
    made = orphan(stage)
    sweep(stage)
    later(stage, minutes=11)
    (view,) = stage.deployments()
    assert (view.ref, view.state, view.provider_id, view.requested_by) == (
        str(ref),
        "serving",
        made.id,
        "policy:adopt-orphans",
    )
    assert view.billed_from == made.created_at
    assert stage.types(str(ref))[-1] == "orphan-adopted"


def test_an_orphan_that_serves_something_else_belongs_to_no_version_and_is_not_adopted(stage: Stage) -> None:
    stage.registry.declaring.apply({"policy": {"orphans": "adopt"}}, ANA, plan=False)
    stage.trained()
    orphan(stage, artifact="ft:other")
    sweep(stage)
    later(stage, minutes=11)
    assert (found(stage).suspected, found(stage).orphan) == (None, True)


def test_an_orphan_that_no_model_is_known_for_follows_the_registrys_own_policy(stage: Stage) -> None:
    stage.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    orphan(stage, name="tenure-test12-gone-3-1", artifact="ft:gone")
    sweep(stage)
    later(stage, minutes=11)
    assert stage.cloud().deployments == {}


def test_an_orphan_that_does_not_serve_is_not_adopted(stage: Stage) -> None:
    stage.policy(orphans="adopt")
    stage.trained()
    orphan(stage).outcome = "failed"
    sweep(stage)
    later(stage, minutes=11)
    assert found(stage).orphan


def test_an_orphan_can_be_attached_or_deleted_by_hand(stage: Stage) -> None:
    ref = stage.trained()
    first = orphan(stage)
    second = orphan(stage, name="tenure-test12-bot-1-8")
    sweep(stage)
    attached = stage.registry.commands.attach(ref, first.name, ANA)
    ours = {one.name: one for one in stage.log.deployments(DeploymentQuery())}
    assert (ours[first.name].id, ours[first.name].orphan) == (attached, False)
    stage.registry.commands.undeploy(ours[second.name].id, ANA)
    stage.settle()
    assert list(stage.cloud().deployments) == [first.id]


def test_an_orphan_that_goes_by_itself_is_lost_after_as_many_reads_as_any_other(stage: Stage) -> None:
    stage.trained()
    made = orphan(stage)
    sweep(stage)
    stage.cloud().lose(made.name)
    for state in ("serving", "serving", "lost"):
        sweep(stage)
        assert found(stage).state == state
    assert stage.unbilled_seconds() == 0


def test_a_stale_list_makes_no_orphan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that shows what a read by itself no longer does."""
    stage.trained()
    made = orphan(stage)
    cloud = stage.cloud()
    call = cloud.call

    def stale(operation: str, effect: object) -> object:
        if operation == "get":
            cloud.deployments.pop(made.id, None)
        return call(operation, effect)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]

    monkeypatch.setattr(cloud, "call", stale)
    assert sweep(stage) == []


def test_a_second_deployment_under_one_name_is_recorded_and_removed_and_the_first_stays(stage: Stage) -> None:
    stage.active()
    (first,) = stage.cloud().deployments.values()
    second = orphan(stage, name=first.name)
    told = sweep(stage)
    assert f"{second.id} is a second {first.name}" in str([step.detail for step in told])
    later(stage)
    assert list(stage.cloud().deployments) == [first.id]
    assert stage.active_ref() == "bot@1"
    assert found(stage).duplicate_of == stage.deployments()[0].id


# What comes back, what was never heard of, what is lost


def test_a_deployment_that_was_seen_gone_and_is_back_is_deleted_again(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    (one,) = stage.cloud().deployments.values()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    stage.clock.advance(hours=2)
    back = stage.cloud().stranger(one.name, one.artifact_id)
    back.ours, back.id, stage.cloud().bills[-1].id = True, one.id, one.id
    stage.cloud().deployments = {one.id: back}
    stage.clock.advance(hours=1)
    sweep(stage)
    assert stage.states() == ["deleting"]
    assert "deployment-reappeared" in stage.types(str(ref))
    later(stage)
    assert (stage.states(), stage.cloud().deployments) == (["deleted"], {})
    assert stage.unbilled_seconds() <= 0, "the time between is counted as billed: nobody knows when it came back"


def test_one_that_is_made_again_when_the_first_is_gone_is_a_duplicate_with_an_entry_of_its_own(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    (one,) = stage.cloud().deployments.values()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    stage.clock.advance(hours=2)
    second = orphan(stage, name=one.name)
    sweep(stage)
    assert (found(stage).provider_id, found(stage).duplicate_of) == (second.id, deployment)
    later(stage)
    assert stage.cloud().deployments == {}
    assert stage.unbilled_seconds() == 0


def test_one_that_somebody_else_makes_under_the_name_of_one_that_is_gone_is_theirs(stage: Stage) -> None:
    ref = stage.trained()
    theirs = stage.cloud().stranger("prod", "ft:tenure-test12-bot-1-1")
    deployment = stage.registry.commands.attach(ref, "prod", ANA)
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    stage.clock.advance(hours=1)
    again = stage.cloud().stranger("prod", "ft:tenure-test12-bot-1-1")
    again.id, stage.cloud().deployments = theirs.id, {theirs.id: again}
    later(stage, minutes=30)
    assert stage.states() == ["deleted"]
    assert [one.name for one in stage.registry.log.connections()[1].foreign] == ["prod"]


@pytest.mark.parametrize("kind", [OutcomeUnknownError, UnavailableError])
def test_an_intent_whose_create_nobody_heard_of_is_found_by_its_name(
    stage: Stage, kind: type[OutcomeUnknownError | UnavailableError]
) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(kind), when="after")
    stage.registry.commands.deploy(ref, ANA)
    stage.run()
    assert stage.states() == ["requested"]
    stage.cloud().fail("create", provider_error(UnavailableError), times=100)
    stage.cloud().fail("get", provider_error(UnavailableError), times=1)
    told = sweep(stage)
    assert "the create of" in str([step.detail for step in told])
    assert stage.states() == ["provisioning"]
    assert len(stage.cloud().bills) == 1


def test_the_lost_deployment_of_the_active_version_is_made_again(stage: Stage) -> None:
    stage.active()
    (one,) = stage.cloud().deployments.values()
    stage.cloud().lose(one.name)
    for _ in range(4):
        later(stage, minutes=10)
    stage.settle()
    assert stage.states() == ["lost", "serving"]
    assert stage.active_ref() == "bot@1"
    assert stage.unbilled_seconds() == 0


# Foreign ones, and lists that fail


def test_what_is_not_ours_is_shown_until_it_goes_and_never_touched(stage: Stage) -> None:
    stage.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    stage.active()
    theirs = stage.cloud().stranger("theirs", "gpt")
    later(stage)
    connection = stage.log.connection("cloud")
    assert connection is not None
    assert [(one.name, one.status) for one in connection.foreign] == [("theirs", "Succeeded")]
    head = stage.log.head()
    later(stage, days=30)
    assert theirs.id in stage.cloud().deployments
    assert stage.log.head() == head
    stage.cloud().lose("theirs")
    sweep(stage)
    connection = stage.log.connection("cloud")
    assert connection is not None
    assert connection.foreign == ()


def test_a_foreign_one_that_is_attached_is_no_longer_foreign(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().stranger("prod", "ft:tenure-test12-bot-1-1")
    sweep(stage)
    stage.registry.commands.attach(ref, "prod", ANA)
    sweep(stage)
    connection = stage.log.connection("cloud")
    assert connection is not None
    assert connection.foreign == ()


def test_a_list_that_fails_is_never_absence(stage: Stage) -> None:
    stage.active()
    for _ in range(5):
        stage.cloud().fail("list", provider_error(UnavailableError), times=1)
        told = sweep(stage)
        assert [step.outcome for step in told if step.action == "compare with provider"] in (["failed"], [])
        stage.clock.advance(minutes=10)
    assert stage.states() == ["serving"]


def test_the_scheduler_sweeps_at_its_own_pace(stage: Stage) -> None:
    stage.active()
    reconciler = stage.registry.reconciler
    before = stage.cloud().count("list")
    for _ in range(4):
        reconciler.run(paced=True, sweep=True)
        stage.clock.advance(minutes=5)
    assert stage.cloud().count("list") - before == 2
    assert (reconciler.next_due(sweep=True) - stage.clock.time).total_seconds() <= 600


def test_a_plan_says_what_a_sweep_would_find_and_records_nothing(stage: Stage) -> None:
    stage.active()
    orphan(stage)
    stage.cloud().stranger("theirs", "gpt")
    head = stage.log.head()
    told = stage.registry.reconciler.plan(sweep=True)
    assert {step.detail for step in told if step.action == "compare with provider"} == {
        "tenure-test12-bot-1-7 bears our tag and has no owner (Succeeded)",
        "theirs is not ours (Succeeded)",
    }
    stage.cloud().fail("list", provider_error(UnavailableError))
    told = stage.registry.reconciler.plan(sweep=True)
    assert [step.outcome for step in told if step.subject == "cloud"] == ["failed"]
    assert stage.log.head() == head


# Killed anywhere

CALLS = 24


def messy(stage: Stage) -> None:
    """An active version, an orphan, a duplicate and a stranger; the policy deletes strays."""
    stage.policy(orphans="delete")
    stage.active()
    (first,) = stage.cloud().deployments.values()
    orphan(stage)
    orphan(stage, name=first.name)
    stage.cloud().stranger("theirs", "gpt")


def surely(stage: Stage) -> None:
    stage.clock.advance(minutes=15)
    for _ in range(40):
        try:
            sweep(stage)
        except Crash:
            stage.restart()
            continue
        if not stage.registry.reconciler.in_motion():
            return
        stage.clock.advance(seconds=PASS_S)
    raise AssertionError("still under way")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(1, CALLS + 1))
def test_a_sweep_that_is_killed_around_a_call_is_simply_made_again(stage: Stage, call: int, when: When) -> None:
    messy(stage)
    cloud = stage.cloud()
    cloud.crash_at = (len(cloud.calls) + call, when)
    surely(stage)
    assert sorted(unmarked(one.name) for one in cloud.deployments.values()) == ["tenure-test12-bot-1-1", "theirs"]
    kinds = [event.type for event in stage.log.read()]
    assert (kinds.count("orphan-found"), kinds.count("foreign-found")) == (2, 1)
    assert stage.active_ref() == f"{BOT}@1"
    assert stage.unbilled_seconds() <= 0, "two share a name, so that each covers the other"


def test_no_sweep_of_a_mess_makes_more_calls_than_the_crashes_above_cover(stage: Stage) -> None:
    messy(stage)
    before = len(stage.cloud().calls)
    surely(stage)
    assert CALLS - 12 < len(stage.cloud().calls) - before <= CALLS


# Training data


def test_a_sweep_deletes_training_data_that_no_job_needs_any_more(stage: Stage) -> None:
    stage.trained()
    (job,) = stage.cloud().jobs.values()
    assert job.data_kept
    sweep(stage)
    assert not job.data_kept


def test_training_data_that_cannot_be_deleted_does_not_keep_a_sweep_from_its_work(stage: Stage) -> None:
    stage.trained()
    made = orphan(stage)
    stage.cloud().fail("clean_up", provider_error(RejectedError))
    sweep(stage)
    assert found(stage).billed_from == made.created_at
