"""Training jobs of ours that no version knows: found by the sweep, shown, stopped by policy; others' jobs never."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from providers.errors import OutcomeUnknownError, UnavailableError
from registry.application.views import EventView
from registry.domain import orphan_jobs
from tests.cloud import Job
from tests.fakes import Crash, When, provider_error
from tests.stage import ANA, BOT, PASS_S, Stage


def stray(stage: Stage, name: str = "tenure-test12-bot-7-1", *, ours: bool = True) -> Job:
    """A job that somebody made for a version that this log does not know, and that does not end by itself."""
    stage.trained()
    pattern = next(iter(stage.cloud().jobs.values()))
    made = Job(id=f"job-{name}", name=name, token=name, request=replace(pattern.request, name=name), polls_left=-1)
    made.ours = ours
    stage.cloud().jobs[made.id] = made
    return made


def sweep(stage: Stage, times: int = 1) -> None:
    for _ in range(times):
        stage.registry.reconciler.run(sweep=True)
        stage.clock.advance(seconds=PASS_S)


def told(stage: Stage) -> list[EventView]:
    events = stage.registry.log.read(stream="connection:cloud")
    return [EventView.of(one) for one in events if one.type.startswith("orphan-job")]


def test_a_stray_job_is_reported_once_shown_in_the_audit_and_left_alone_by_default(stage: Stage) -> None:
    job = stray(stage)
    sweep(stage, 3)
    stage.clock.advance(days=2)
    sweep(stage)
    (event,) = told(stage)
    assert (event.type, event.actor, event.data["suspected"]) == ("orphan-job-found", "provider:cloud", "bot@7")
    (entry,) = stage.registry.auditing.audit().unknown
    assert (entry["connection"], entry["name"], entry["ref"]) == ("cloud", job.name, "bot@7")
    assert job.id in str(entry["why"])
    assert job.outcome == "running"


def test_a_stray_job_is_stopped_after_the_grace_where_the_policy_says_so(stage: Stage) -> None:
    stage.policy(orphans="delete")
    job = stray(stage)
    sweep(stage)
    assert job.outcome == "running", "it is younger than the grace"
    (step,) = stage.registry.reconciler.plan()
    assert (step.action, step.subject, step.outcome) == ("stop orphan job", job.id, "waiting")
    assert step.why == "orphans = delete, 600 s after it was found: no version here is trained by it"
    (planned,) = stage.registry.reconciler.policy_plan(BOT)
    assert planned.actor == "policy:delete-orphans"
    stage.clock.advance(minutes=11)
    stage.cloud().cancels_ignored = 2
    for _ in range(3):
        stage.run()
        stage.clock.advance(seconds=PASS_S)
    assert job.outcome == "cancelled"
    found, ended = told(stage)
    assert (found.type, ended.type, ended.actor) == ("orphan-job-found", "orphan-job-ended", "policy:delete-orphans")
    assert ended.reason is not None
    assert "orphans = delete" in ended.reason
    assert stage.registry.auditing.audit().unknown == ()


def test_the_policy_is_that_of_the_model_whose_name_it_bears(stage: Stage) -> None:
    stage.policy(orphans="delete")
    other = stray(stage, "tenure-test12-unheard-of-7-1")
    sweep(stage)
    stage.clock.advance(hours=1)
    sweep(stage, 2)
    assert other.outcome == "running"
    stage.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    sweep(stage, 2)
    assert other.outcome == "cancelled", "what belongs to no model is the registry's"


def test_another_registry_s_job_is_never_touched(stage: Stage) -> None:
    stage.policy(orphans="delete")
    theirs = stray(stage, "tenure-other1-bot-7-1", ours=False)
    sweep(stage)
    stage.clock.advance(hours=1)
    sweep(stage, 2)
    assert theirs.outcome == "running"
    assert told(stage) == []


def test_a_second_job_of_a_version_is_stopped_whatever_the_policy(stage: Stage) -> None:
    stray(stage).outcome = "cancelled"
    ref = stage.fine_tune()
    stage.run()
    known = stage.version(ref)
    assert known.job is not None
    first = stage.cloud().jobs[str(known.job.id)]
    first.polls_left = -1
    second = Job(id="job-second", name=first.name, token=first.token, request=first.request, polls_left=-1)
    stage.cloud().jobs[second.id] = second
    sweep(stage, 2)
    assert (first.outcome, second.outcome) == ("running", "cancelled")
    assert [(one.type, one.actor) for one in told(stage)] == [
        ("orphan-job-found", "provider:cloud"),
        ("orphan-job-ended", "policy:delete-duplicates"),
    ]


def test_jobs_that_are_known_or_being_made_are_no_strays(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.cloud().fail("submit", provider_error(UnavailableError), when="after")
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = -1
    sweep(stage, 3)
    assert stage.state(ref) == "training"
    assert told(stage) == []


def test_a_stray_job_that_ends_by_itself_is_told_and_shown_no_more(stage: Stage) -> None:
    job = stray(stage)
    sweep(stage)
    job.outcome, job.status = "succeeded", "succeeded"
    sweep(stage)
    assert [one.type for one in told(stage)] == ["orphan-job-found", "orphan-job-ended"]
    assert told(stage)[1].data["status"] == "succeeded"
    assert stage.registry.auditing.audit().unknown == ()


def ended(stage: Stage, name: str, **ago: float) -> Job:
    """A job that is nobody's, and that had ended before a list showed it."""
    job = stray(stage, name)
    job.outcome, job.status, job.finished_at = "succeeded", "succeeded", stage.clock.time - timedelta(**ago)
    return job


def test_a_job_that_had_ended_before_a_list_showed_it_is_recorded_once_also_after_a_restart(stage: Stage) -> None:
    job = ended(stage, "tenure-test12-bot-7-1", hours=5)
    sweep(stage, 2)
    stage.restart()
    sweep(stage, 2)
    found, over = told(stage)
    assert (found.type, found.data["suspected"], found.data["duplicate"]) == ("orphan-job-found", "bot@7", False)
    assert (over.type, over.data["job_id"], over.data["status"]) == ("orphan-job-ended", job.id, "succeeded")
    assert stage.registry.auditing.audit().unknown == (), "it spends nothing any more"


def test_a_second_job_that_had_ended_before_a_list_showed_it_is_told_as_that(stage: Stage) -> None:
    ref = stage.trained()
    first = next(iter(stage.cloud().jobs.values()))
    second = ended(stage, first.name, hours=1)
    (detail,) = (one.detail for one in stage.registry.reconciler.plan(sweep=True))
    assert detail == f"training job {second.id} is a second one of {ref}, and has ended (succeeded)"
    sweep(stage)
    found, over = told(stage)
    assert (found.data["suspected"], found.data["duplicate"], over.data["job_id"]) == (str(ref), True, second.id)


def test_a_second_job_that_has_ended_is_left_to_its_version_while_that_is_trained(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (first,) = stage.cloud().jobs.values()
    first.polls_left = -1
    second = Job(id="job-second", name=first.name, token=first.token, request=first.request, outcome="succeeded")
    second.finished_at = stage.clock.time
    stage.cloud().jobs[second.id] = second
    sweep(stage, 2)
    assert (stage.state(ref), told(stage)) == ("training", []), "its own polls find it, and remove it"
    first.polls_left = 0
    sweep(stage)
    stage.settle()
    sweep(stage, 2)
    named = [one.type for one in stage.registry.log.read() if orphan_jobs.named_by(one) == second.id]
    assert named == ["duplicate-job-found"]


def test_one_that_ended_long_ago_is_left_alone(stage: Stage) -> None:
    ended(stage, "tenure-test12-bot-7-1", days=8)
    sweep(stage, 2)
    assert told(stage) == []


def test_jobs_of_earlier_attempts_are_known_by_the_log(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (first,) = stage.cloud().jobs.values()
    first.outcome, first.status, first.finished_at = "failed", "failed", stage.clock.time
    stage.settle()
    assert stage.state(ref) == "failed"
    stage.registry.commands.retry(ref, ANA)
    stage.settle()
    assert stage.state(ref) == "trained"
    sweep(stage, 2)
    stage.restart()
    sweep(stage)
    assert len(stage.cloud().jobs) == 2
    assert told(stage) == []


def test_one_that_ended_while_its_create_is_still_looked_for_is_adopted(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.cloud().fail("submit", provider_error(OutcomeUnknownError), when="after")
    stage.cloud().fail("find", provider_error(UnavailableError))
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = 0
    stage.cloud().progress(job)
    assert (job.outcome, stage.version(ref).job) == ("succeeded", None)
    sweep(stage)
    stage.settle()
    assert (stage.state(ref), told(stage)) == ("trained", [])


def test_one_that_a_stale_list_still_shows_is_no_stray(stage: Stage) -> None:
    job = stray(stage)
    job.polls_left = 0  # its own report says that it has ended
    sweep(stage)
    assert told(stage) == []


def test_a_list_of_jobs_that_fails_leaves_the_sweep_to_be_made_again(stage: Stage) -> None:
    stray(stage)
    stage.cloud().fail("unfinished", provider_error(UnavailableError))
    sweep(stage)
    assert told(stage) == []
    sweep(stage)
    assert len(told(stage)) == 1


def test_a_look_ahead_tells_of_strays_and_changes_nothing(stage: Stage) -> None:
    job = stray(stage)
    before = stage.log.head()
    details = [one.detail for one in stage.registry.reconciler.plan(sweep=True)]
    assert f"training job {job.id} ({job.name}) runs, and no version here knows it" in details
    assert stage.log.head() == before


def test_a_look_ahead_goes_on_telling_of_a_stray_that_nothing_stops(stage: Stage) -> None:
    job = stray(stage)
    sweep(stage)
    (detail,) = (one.detail or "" for one in stage.registry.reconciler.plan(sweep=True) if job.id in (one.detail or ""))
    assert detail.startswith(f"training job {job.id} ({job.name}) runs since 2026-11-01 12:0")
    job.outcome = "cancelled"
    sweep(stage)
    assert not any(job.id in (one.detail or "") for one in stage.registry.reconciler.plan(sweep=True))


def test_a_stray_job_stands_on_its_connection_now_and_as_of_then(stage: Stage) -> None:
    job = stray(stage)
    before = stage.log.head()
    sweep(stage)
    (shown,) = (one for one in stage.tenure().connections() if one.name == "cloud")
    (entry,) = shown.orphan_jobs
    assert (entry.id, entry.name, entry.suspected) == (job.id, job.name, "bot@7")
    assert all(one.orphan_jobs == () for one in stage.tenure().connections(as_of=before))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 9))
def test_killed_at_any_call_it_is_stopped_by_the_next_process(stage: Stage, number: int, when: When) -> None:
    stage.policy(orphans="delete")
    job = stray(stage)
    sweep(stage)
    stage.clock.advance(minutes=11)
    stage.cloud().crash_at = (len(stage.cloud().calls) + number, when)
    try:
        sweep(stage)
    except Crash:
        stage.restart()
    stage.cloud().crash_at = None
    sweep(stage, 2)
    assert job.outcome == "cancelled"
    assert [one.type for one in told(stage)] == ["orphan-job-found", "orphan-job-ended"]
