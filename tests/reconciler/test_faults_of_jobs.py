"""An account that misbehaves about jobs: refused, later, unknown, made twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from providers.ports import Artifact, JobReport
from tests.fakes import Crash, FakeTraining, When, provider_error
from tests.stage import ANA, Stage


def test_a_refused_job_ends_the_attempt_with_the_providers_words(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(RejectedError))
    ref = stage.fine_tune()
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == ("failed", "the provider says RejectedError")
    assert stage.cloud().count("submit") == 1


def test_a_provider_that_is_away_is_asked_again_and_nothing_is_lost(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(UnavailableError), times=3)
    ref = stage.fine_tune()
    stage.settle()
    assert (stage.state(ref), len(stage.cloud().jobs)) == ("trained", 1)


def test_a_wait_that_the_provider_asked_for_is_kept(stage: Stage) -> None:
    stage.cloud().fail("submit", UnavailableError("slow down", operation="submit", retry_after_s=60))
    stage.fine_tune()
    stage.run()
    stage.run()
    assert (stage.cloud().count("submit"), stage.cloud().count("find")) == (1, 0)
    stage.clock.advance(seconds=61)
    stage.run()
    assert stage.cloud().count("submit") == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_submit_with_an_unknown_outcome_is_looked_up_and_never_trained_twice(stage: Stage, when: When) -> None:
    stage.cloud().idempotent = False
    stage.cloud().fail("submit", provider_error(OutcomeUnknownError), when=when)
    ref = stage.fine_tune()
    stage.settle()
    assert (stage.state(ref), len(stage.cloud().jobs)) == ("trained", 1)
    assert stage.types(str(ref)).count("training-outcome-unknown") == 1
    assert stage.cloud().calls.index("find") > stage.cloud().calls.index("submit")
    assert stage.cloud().count("submit") == (2 if when == "before" else 1)


def test_a_submit_that_stays_unknown_is_told_once(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(OutcomeUnknownError), times=4)
    ref = stage.fine_tune()
    stage.settle()
    assert stage.types(str(ref)).count("training-outcome-unknown") == 1


def test_a_job_that_the_provider_made_twice_is_recorded_and_the_second_is_stopped(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1
    cloud.fail("submit", provider_error(OutcomeUnknownError), when="after")
    ref = stage.fine_tune()
    stage.settle()
    assert stage.state(ref) == "trained"
    found = next(event for event in stage.history(str(ref)) if event.type == "duplicate-job-found")
    assert found.data["job"] == {"id": "job-2", "name": cloud.jobs["job-1"].name, "status": "running"}
    assert [job.outcome for job in cloud.jobs.values()] == ["succeeded", "cancelled"]


def test_a_duplicate_that_could_not_be_stopped_is_recorded_once(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1
    cloud.fail("submit", provider_error(OutcomeUnknownError), when="after")
    cloud.fail("cancel", provider_error(UnavailableError))
    ref = stage.fine_tune()
    stage.settle()
    assert stage.types(str(ref)).count("duplicate-job-found") == 1
    assert [job.outcome for job in cloud.jobs.values()] == ["succeeded", "cancelled"]


def test_a_job_made_by_a_cancelled_version_with_an_unknown_outcome_is_found_and_stopped(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(OutcomeUnknownError), when="after")
    stage.cloud().fail("find", provider_error(UnavailableError), times=1)
    ref = stage.fine_tune()
    stage.run()
    stage.registry.commands.cancel(ref, ANA)
    for job in stage.cloud().jobs.values():
        job.polls_left = -1
    stage.settle()
    assert stage.state(ref) == "cancelled"
    assert [job.outcome for job in stage.cloud().jobs.values()] == ["cancelled"]


def test_a_version_cancelled_before_its_unknown_job_exists_learns_that_there_was_none(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(OutcomeUnknownError))
    stage.cloud().fail("find", provider_error(UnavailableError), times=20)
    ref = stage.fine_tune()
    stage.run()
    stage.cloud().faults.clear()
    stage.registry.commands.cancel(ref, ANA)
    stage.settle()
    assert stage.history(str(ref))[-1].data["status"] == "never started"


@pytest.mark.parametrize("behind", [False, True])
def test_a_create_that_was_delivered_twice_and_answered_once_leaves_one_job(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, behind: bool
) -> None:
    """`behind`: the list does not show either of them at first."""
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1
    if behind:
        find = FakeTraining.find
        reads = iter([False, False])

        def late(self: FakeTraining, *, name: str, token: str) -> Sequence[JobReport]:
            return find(self, name=name, token=token) if next(reads, True) else []

        monkeypatch.setattr(FakeTraining, "find", late)
    ref = stage.fine_tune()
    stage.run()
    for job in cloud.jobs.values():
        job.polls_left = max(job.polls_left, 3)
    stage.settle()
    assert stage.state(ref) == "trained"
    assert [job.outcome for job in cloud.jobs.values()] == ["succeeded", "cancelled"]
    assert stage.types(str(ref)).count("duplicate-job-found") == 1
    assert stage.types(str(ref)).count("training-started") == 1


def test_a_duplicate_that_has_finished_already_leaves_no_model(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1
    cloud.fail("submit", provider_error(OutcomeUnknownError), when="after")
    ref = stage.fine_tune()
    stage.run()
    second = cloud.jobs["job-2"]
    second.outcome, second.status, second.name = "succeeded", "succeeded", "twin"
    cloud.artifacts["ft:twin"] = Artifact(id="ft:twin")
    stage.settle()
    assert (stage.state(ref), list(cloud.artifacts)) == ("trained", ["ft:tenure-test12-bot-1-1"])
    assert cloud.count("cancel") == 0


def test_which_of_two_jobs_is_the_duplicate_does_not_change_with_a_kill(stage: Stage) -> None:
    """It is killed when the second is known for a duplicate, and before it is stopped."""
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1
    cloud.fail("cancel", Crash())
    ref = stage.fine_tune()
    with pytest.raises(Crash):
        stage.run()
    stage.restart()
    stage.settle()
    assert stage.state(ref) == "trained"
    assert [job.outcome for job in cloud.jobs.values()] == ["succeeded", "cancelled"]
