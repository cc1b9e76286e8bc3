"""Many jobs and deployments on one connection: one look for all of them, and nothing recorded that has not changed."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from providers.errors import UnavailableError
from providers.ports import DeploymentReport
from registry.domain.ids import VersionRef
from registry.reconciler import deployment_steps, job_steps
from tests.fakes import FakeDeployments, provider_error
from tests.stage import ANA, BOT, Stage


def in_training(stage: Stage, count: int) -> list[VersionRef]:
    refs = [stage.fine_tune() for _ in range(count)]
    stage.run()
    for job in stage.cloud().jobs.values():
        job.outcome, job.status, job.polls_left = "running", "running", -1
    stage.run()
    stage.cloud().calls.clear()
    return refs


def test_all_jobs_of_a_connection_are_polled_with_one_call(stage: Stage) -> None:
    in_training(stage, 30)
    stage.run()
    assert stage.cloud().calls == ["poll"]


def test_what_has_not_changed_writes_no_event_and_is_not_even_asked_of_the_log(stage: Stage) -> None:
    in_training(stage, 5)
    head = stage.log.head()
    outcomes = stage.registry.reconciler.run()
    assert {one.outcome for one in outcomes} == {"waiting"}
    assert (len(outcomes), stage.log.head()) == (5, head)


def test_one_of_many_that_ends_is_recorded_and_the_others_go_on(stage: Stage) -> None:
    refs = in_training(stage, 5)
    job = stage.cloud().jobs["job-3"]
    job.polls_left = 0
    stage.run()
    assert [stage.state(ref) for ref in refs] == ["training", "training", "trained", "training", "training"]


def test_jobs_started_at_different_moments_are_polled_together(stage: Stage) -> None:
    reconciler = stage.registry.reconciler
    for _ in range(6):
        stage.fine_tune()
        reconciler.run(paced=True)
        for job in stage.cloud().jobs.values():
            job.polls_left = -1
        stage.clock.advance(seconds=2)
    stage.clock.advance(seconds=20)
    stage.cloud().calls.clear()
    for _ in range(15):
        reconciler.run(paced=True)
        stage.clock.advance(seconds=1)
    assert stage.cloud().calls == ["poll"]
    assert reconciler.next_due() - stage.clock.time <= timedelta(seconds=15)


def test_the_curves_of_a_few_jobs_are_read_while_they_train_and_of_many_when_they_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_steps, "CURVES_MAX", 2)
    refs = in_training(stage, 3)
    assert not any(stage.registry.reading.metrics(ref) for ref in refs)
    stage.cloud().jobs["job-1"].polls_left = 0
    stage.run()
    assert stage.state(refs[0]) == "trained"
    assert [bool(stage.registry.reading.metrics(ref)) for ref in refs] == [True, False, False]
    stage.run()
    assert all(stage.registry.reading.metrics(ref) for ref in refs)


def test_a_poll_that_fails_is_one_failure_and_ends_nothing(stage: Stage) -> None:
    refs = in_training(stage, 4)
    stage.cloud().fail("poll", provider_error(UnavailableError))
    outcomes = stage.registry.reconciler.run()
    assert [one.outcome for one in outcomes] == ["failed"] * 4
    assert stage.cloud().calls == ["poll"]
    assert {stage.state(ref) for ref in refs} == {"training"}


def test_jobs_that_are_being_stopped_are_looked_at_in_the_same_call(stage: Stage) -> None:
    refs = in_training(stage, 3)
    stage.registry.commands.cancel(refs[0], ANA)
    stage.run()
    assert stage.cloud().calls == ["poll", "cancel", "poll"]
    assert stage.history(str(refs[0]))[-1].type == "job-stopped"


def standbys(stage: Stage, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        found.append(stage.registry.commands.deploy(stage.trained(), ANA))
        stage.settle()
    stage.cloud().calls.clear()
    return found


def test_many_deployments_are_looked_at_with_one_list(stage: Stage) -> None:
    standbys(stage, deployment_steps.FEW + 1)
    stage.run()
    assert stage.cloud().calls == ["list"]


def test_few_deployments_are_asked_for_by_name(stage: Stage) -> None:
    standbys(stage, 2)
    stage.run()
    assert stage.cloud().calls == ["get", "get"]


def test_what_a_list_does_not_show_is_asked_for_by_name_before_it_counts_as_missed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    standbys(stage, deployment_steps.FEW + 1)
    shown = FakeDeployments.list

    def cut_short(self: FakeDeployments) -> list[DeploymentReport]:
        return list(shown(self))[:2]

    monkeypatch.setattr(FakeDeployments, "list", cut_short)
    for _ in range(5):
        stage.run()
    assert set(stage.states()) == {"serving"}
    assert stage.cloud().count("get") == 5 * (deployment_steps.FEW + 1 - 2)


def test_a_deployment_that_does_not_come_up_in_time_has_failed_and_is_deleted(stage: Stage) -> None:
    active = stage.active()
    ref = stage.trained()
    stage.activate(ref)
    stage.run()
    coming = next(one for one in stage.cloud().deployments.values() if one.outcome == "provisioning")
    coming.polls_left = -1
    stage.run()
    stage.clock.advance(hours=1)
    stage.run()
    assert stage.states() == ["serving", "provisioning"]
    stage.clock.advance(hours=1)
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == ("trained", "not serving after 2 hours: Creating")
    assert (stage.states(), stage.active_ref()) == (["serving", "deleted"], str(active))
    assert stage.unbilled_seconds() == 0


def test_an_attached_deployment_is_looked_at_by_its_own_id(stage: Stage) -> None:
    ref = stage.trained()
    theirs = stage.cloud().stranger("theirs", "ft:tenure-test12-bot-1-1")
    stage.registry.commands.attach(ref, "theirs", ANA)
    seen: list[str] = []
    cloud = stage.cloud()
    named = cloud.named
    cloud.named = lambda name: (seen.append(name), named(name))[1]  # pyright: ignore[reportAttributeAccessIssue]
    stage.run()
    assert theirs.id in seen


# Lanes


def test_a_connection_that_hangs_keeps_no_other_waiting(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    slow, fast = stage.fine_tune("slow", "alone"), stage.fine_tune(BOT)
    hanging, release = threading.Event(), threading.Event()
    alone = stage.cloud("alone")
    call = alone.call

    def hang(operation: str, effect: object) -> object:
        hanging.set()
        assert release.wait(30)
        return call(operation, effect)  # pyright: ignore[reportUnknownVariableType, reportArgumentType]

    alone.call = hang  # pyright: ignore[reportAttributeAccessIssue]
    beside = threading.Thread(target=lambda: stage.registry.reconciler.run(paced=True))
    beside.start()
    try:
        assert hanging.wait(30)
        for _ in range(20):
            stage.registry.reconciler.run(paced=True)
            stage.clock.advance(seconds=20)
            if stage.state(fast) == "trained":
                break
        assert (stage.state(fast), stage.state(slow)) == ("trained", "queued")
        assert stage.registry.reconciler.next_due() - stage.clock.time > timedelta(minutes=50), "the slow one is left"
    finally:
        release.set()
        beside.join()
    alone.call = call
    stage.settle()
    assert stage.state(slow) == "trained"
