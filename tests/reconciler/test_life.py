"""The whole life of a model's versions on an account that behaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from providers.errors import UnavailableError
from registry.domain.errors import RefusedError
from registry.domain.ids import VersionRef
from tests.cloud import unmarked
from tests.fakes import provider_error
from tests.stage import ANA, BEN, BOT, Stage


def test_a_version_is_trained_deployed_activated_replaced_and_comes_back(stage: Stage) -> None:
    first = stage.fine_tune()
    assert stage.state(first) == "queued"
    stage.settle()
    assert stage.state(first) == "trained"
    assert stage.deployments() == []

    stage.activate(first)
    stage.settle()
    assert (stage.state(first), stage.active_ref()) == ("active", "bot@1")

    second = stage.active()
    assert (stage.state(first), stage.state(second), stage.active_ref()) == ("retired", "active", "bot@2")
    assert stage.states() == ["serving", "serving"], "the first one stays for its grace"
    stage.let_pass(minutes=11)
    assert stage.states() == ["deleted", "serving"]

    stage.activate(first)
    stage.settle()
    stage.let_pass(minutes=11)
    assert (stage.active_ref(), stage.states()) == ("bot@1", ["deleted", "deleted", "serving"])
    assert [unmarked(one.name) for one in stage.deployments()] == [
        "tenure-test12-bot-1-1",
        "tenure-test12-bot-2-1",
        "tenure-test12-bot-1-2",
    ]
    assert stage.cloud().count("create") == 3
    assert stage.unbilled_seconds() == 0


def test_a_rollback_within_the_grace_uses_the_deployment_that_still_serves(stage: Stage) -> None:
    first = stage.active()
    stage.active()
    stage.clock.advance(minutes=5)
    stage.activate(first)
    stage.settle()
    assert (stage.active_ref(), stage.cloud().count("create")) == ("bot@1", 2)
    stage.let_pass(minutes=11)
    assert stage.states() == ["serving", "deleted"]


def test_the_switch_is_one_append_retired_before_activated(stage: Stage) -> None:
    stage.active()
    second = stage.active()
    history = stage.history()
    retired, activated, moved = (
        next(event for event in history if event.type == type_ and event.data.get("version") == version)
        for type_, version in (("version-retired", 1), ("version-activated", 2), ("active-version-changed", 2))
    )
    assert activated.position == retired.position + 1
    assert moved.position == retired.position + 2
    assert {retired.recorded_at, activated.recorded_at} == {moved.recorded_at}
    assert (activated.data["replaced"], retired.data["replaced_by"]) == (1, 2)
    assert stage.version(second).activated_at == activated.recorded_at


def test_everything_an_activation_leads_to_carries_its_correlation_and_its_cause(stage: Stage) -> None:
    ref = stage.trained()
    stage.activate(ref)
    stage.settle()
    history = stage.history(str(ref))
    asked = next(event for event in history if event.type == "activation-requested")
    follows = [event for event in history if event.position > asked.position]
    assert [event.type for event in follows] == [
        "deployment-requested",
        "deployment-accepted",
        "deployment-serving",
        "version-activated",
    ]
    assert {event.correlation_id for event in follows} == {asked.correlation_id}
    assert follows[0].causation_id == follows[3].causation_id == asked.id
    assert {follows[1].causation_id, follows[2].causation_id} == {follows[0].id}
    assert (follows[0].actor, follows[1].actor, follows[3].actor) == ("user:ana", "provider:cloud", "user:ana")


def test_everything_a_fine_tune_leads_to_carries_its_correlation_and_its_cause(stage: Stage) -> None:
    history = stage.history(str(stage.trained()))
    asked = history[0]
    assert [event.type for event in history] == [
        "fine-tune-requested",
        "training-submitted",
        "training-started",
        "version-trained",
    ]
    assert {event.correlation_id for event in history} == {asked.correlation_id}
    assert {event.causation_id for event in history[1:]} == {asked.id}


def test_a_superseded_deployment_is_deleted_on_the_policys_word_and_because_of_the_retirement(stage: Stage) -> None:
    stage.active()
    stage.active()
    stage.let_pass(minutes=11)
    history = stage.history()
    deleted = next(event for event in history if event.type == "deployment-deletion-requested")
    retired = next(event for event in history if event.type == "version-retired")
    assert (deleted.actor, deleted.reason) == (
        "policy:delete-superseded",
        "superseded = delete, after 600 s of grace",
    )
    assert (deleted.causation_id, deleted.correlation_id) == (retired.id, retired.correlation_id)


def test_where_tuned_models_serve_as_they_are_nothing_is_deployed(stage: Stage) -> None:
    first = stage.active(connection="alone")
    second = stage.active(connection="alone")
    assert (stage.state(first), stage.state(second)) == ("retired", "active")
    assert stage.deployments() == []
    assert not stage.cloud("alone").count("create")


def test_a_policy_that_keeps_superseded_deployments_keeps_them(stage: Stage) -> None:
    stage.policy(superseded="keep")
    stage.active()
    stage.active()
    stage.let_pass(days=30)
    assert stage.states() == ["serving", "serving"]


def test_retiring_by_hand_leaves_no_active_version_and_the_deployment_goes(stage: Stage) -> None:
    ref = stage.active()
    stage.registry.commands.retire(ref, ANA)
    assert (stage.state(ref), stage.active_ref()) == ("retired", None)
    stage.let_pass(minutes=11)
    assert stage.states() == ["deleted"]


def test_the_losses_come_as_they_are_logged_and_the_last_ones_stand_in_the_record(stage: Stage) -> None:
    stage.cloud().results.append(("succeeded", {"valid_loss": 0.84, "train_loss": 0.71}))
    ref = stage.trained()
    points = [(one.name, one.step, one.value) for one in stage.registry.reading.metrics(ref)]
    assert ("train_loss", 1, 2.0) in points
    assert ("valid_loss", 3, 0.84) in points
    assert stage.version(ref).metrics == {"train_loss": 0.71, "valid_loss": 0.84}


def test_a_status_nobody_knows_is_shown_and_waited_out(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left, job.status = -1, "pausing_for_reasons"
    stage.run()
    stage.run()
    view = stage.version(ref)
    assert (view.state, view.job.status if view.job else None) == ("training", "pausing_for_reasons")
    assert stage.types(str(ref)).count("job-status-changed") == 1
    job.polls_left = 0
    stage.settle()
    assert stage.state(ref) == "trained"


# When training ends otherwise


def test_a_failed_job_fails_its_version_and_a_retry_is_another_attempt(stage: Stage) -> None:
    stage.cloud().results.append(("failed", "bad data"))
    ref = stage.fine_tune()
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == ("failed", "bad data")
    stage.registry.commands.retry(ref, ANA)
    stage.settle()
    assert (stage.state(ref), stage.version(ref).attempt, stage.version(ref).error) == ("trained", 2, None)
    names = sorted(unmarked(one.name) for one in stage.cloud().jobs.values())
    assert names == ["tenure-test12-bot-1-1", "tenure-test12-bot-1-2"]


def test_a_job_that_vanished_fails_its_version(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    stage.cloud().jobs.clear()
    stage.settle()
    assert stage.version(ref).error == "the provider no longer has job job-1"


def test_one_read_that_does_not_show_a_job_is_not_its_end(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    jobs = stage.cloud().jobs
    hidden = dict(jobs)
    jobs.clear()
    stage.clock.advance(seconds=20)
    stage.run()
    assert stage.state(ref) == "training"
    jobs.update(hidden)
    stage.settle()
    assert stage.state(ref) == "trained"


def test_cancelling_stops_the_job_and_sees_it_stopped(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = -1
    stage.registry.commands.cancel(ref, BEN)
    with pytest.raises(RefusedError, match="not been seen to stop"):
        stage.registry.commands.retry(ref, ANA)
    stage.settle()
    assert (stage.state(ref), job.outcome, stage.types(str(ref))[-1]) == ("cancelled", "cancelled", "job-stopped")
    stage.registry.commands.retry(ref, ANA)
    stage.settle()
    assert stage.state(ref) == "trained"


def test_cancelling_before_anything_was_sent_calls_nobody(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.registry.commands.cancel(ref, ANA)
    stage.settle()
    assert (stage.state(ref), stage.cloud().calls) == ("cancelled", [])


def test_a_job_that_does_not_stop_at_once_is_asked_again(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = -1
    stage.cloud().cancels_ignored = 1
    stage.registry.commands.cancel(ref, ANA)
    stage.run()
    assert (job.outcome, stage.registry.reconciler.in_motion()) == ("running", True)
    stage.settle()
    assert (job.outcome, stage.cloud().count("cancel")) == ("cancelled", 2)


def test_a_job_that_is_gone_when_it_is_to_be_stopped_has_stopped(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    stage.registry.commands.cancel(ref, ANA)
    stage.cloud().jobs.clear()
    stage.settle()
    assert stage.history(str(ref))[-1].data["status"] == "gone"


# Deleting


def test_deleting_a_version_deletes_its_deployments_first_and_then_the_artifact(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.registry.commands.delete(ref, ANA)
    stage.settle()
    assert (stage.state(ref), stage.states(), stage.cloud().artifacts) == ("deleted", ["deleted"], {})
    types = stage.types(str(ref))
    assert types.index("deployment-deleted") < types.index("version-deleted")


def test_an_artifact_that_another_version_uses_stays(stage: Stage) -> None:
    first = stage.trained()
    artifact = "ft:tenure-test12-bot-1-1"
    second = stage.registry.commands.import_version(BOT, "cloud", artifact, None, ANA)
    stage.registry.commands.delete(first, ANA)
    stage.settle()
    assert (stage.state(first), artifact in stage.cloud().artifacts) == ("deleted", True)
    stage.registry.commands.delete(second, ANA)
    stage.settle()
    assert artifact not in stage.cloud().artifacts


def test_deleting_a_failed_version_that_made_nothing_is_done_at_once(stage: Stage) -> None:
    stage.cloud().results.append(("failed", "bad data"))
    ref = stage.fine_tune()
    stage.settle()
    stage.registry.commands.delete(ref, ANA)
    stage.settle()
    assert (stage.state(ref), stage.cloud().count("delete-artifact")) == ("deleted", 0)


def test_deleting_a_cancelled_version_stops_its_job_first_and_takes_what_it_made(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    stage.registry.commands.cancel(ref, ANA)
    stage.registry.commands.delete(ref, ANA)
    job.polls_left = 0  # it finishes before the cancel arrives
    stage.settle()
    assert (stage.state(ref), job.outcome, stage.cloud().artifacts) == ("deleted", "succeeded", {})


# Pace


def test_a_paced_pass_looks_no_more_often_than_the_scheduler_says(stage: Stage) -> None:
    stage.fine_tune()
    reconciler = stage.registry.reconciler
    reconciler.run(paced=True)
    polls = stage.cloud().count("poll")
    reconciler.run(paced=True)
    assert stage.cloud().count("poll") == polls
    assert reconciler.next_due() - stage.clock.time <= timedelta(seconds=15)
    stage.clock.advance(seconds=16)
    reconciler.run(paced=True)
    assert stage.cloud().count("poll") > polls


def test_what_serves_is_watched_at_the_pace_of_the_sweep(stage: Stage) -> None:
    stage.active()
    reconciler = stage.registry.reconciler
    stage.clock.advance(minutes=10)
    reconciler.run(paced=True)
    assert timedelta(minutes=9) < reconciler.next_due() - stage.clock.time <= timedelta(minutes=10)


def test_a_provider_with_a_pace_of_its_own_is_looked_at_in_that_pace(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.capabilities = replace(cloud.capabilities, poll_interval_s=1.0, absence_reads=1)
    ref = stage.fine_tune()
    reconciler = stage.registry.reconciler
    reconciler.run(paced=True)
    assert reconciler.next_due() - stage.clock.time <= timedelta(seconds=1)
    stage.settle()
    stage.activate(ref)
    stage.settle()
    stage.clock.advance(seconds=6)
    reconciler.run(paced=True)
    assert timedelta(seconds=4) < reconciler.next_due() - stage.clock.time <= timedelta(seconds=5)


def test_with_nothing_under_way_the_next_look_is_far_off_and_passes_do_nothing(stage: Stage) -> None:
    stage.trained()
    head = stage.log.head()
    assert stage.registry.reconciler.run() == []
    assert stage.registry.reconciler.next_due() - stage.clock.time > timedelta(minutes=59)
    assert stage.log.head() == head


def test_a_plan_says_what_would_be_done_and_why_and_does_nothing(stage: Stage) -> None:
    ref = stage.fine_tune()
    head = stage.log.head()
    (step,) = stage.registry.reconciler.plan()
    assert (step.action, step.subject, step.why, step.outcome) == ("submit job", "bot@1", "asked for", "planned")
    assert (stage.log.head(), stage.cloud().calls) == (head, [])
    stage.settle()
    stage.activate(ref)
    stage.settle()
    stage.active()
    waiting = [one for one in stage.registry.reconciler.plan() if one.outcome == "waiting"]
    assert [one.action for one in waiting] == ["request deletion of deployment"]


def test_two_models_do_not_wait_for_each_other(stage: Stage) -> None:
    stage.cloud("alone").fail("submit", provider_error(UnavailableError), times=20)
    slow = stage.fine_tune("other", "alone")
    fast = stage.fine_tune()
    stage.run()
    stage.clock.advance(seconds=1)
    stage.run()
    assert (stage.state(slow), stage.state(fast)) == ("queued", "trained")
    stage.cloud("alone").faults.clear()
    stage.settle()
    assert stage.state(slow) == "trained"
    assert VersionRef("other", 1) == slow
