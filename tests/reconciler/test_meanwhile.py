"""What was decided a moment ago and is no longer so when it is done: somebody acted while a provider was asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.cloud import unmarked
from tests.stage import ANA, BEN, Stage

Meanwhile = Callable[[Stage, str, Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Right after the next call of an operation has had its effect, this is done once."""

    def arrange(stage: Stage, operation: str, do: Callable[[], object]) -> None:
        cloud = stage.cloud()
        call: Callable[[str, Any], Any] = cloud.call
        left = [do]

        def also(name: str, effect: Callable[[], object]) -> object:
            answer = call(name, effect)
            if name == operation and left:
                left.pop()()
            return answer

        monkeypatch.setattr(cloud, "call", also)

    return arrange


def test_an_activation_that_is_called_off_during_its_probe_does_not_move_the_pointer(
    stage: Stage, meanwhile: Meanwhile
) -> None:
    first, second = stage.trained(), stage.trained()
    stage.registry.commands.deploy(first, ANA)
    stage.settle()
    stage.activate(first)
    meanwhile(stage, "chat", lambda: stage.activate(second, BEN))
    told = stage.registry.reconciler.run()
    assert "failed" not in {one.outcome for one in told}
    stage.settle()
    assert stage.active_ref() == "bot@2"
    assert "version-activated" not in stage.types(str(first))


def test_a_deployment_that_is_stopped_during_its_probe_serves_no_active_version(
    stage: Stage, meanwhile: Meanwhile
) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.activate(ref)
    meanwhile(stage, "chat", lambda: stage.registry.commands.undeploy(deployment, BEN))
    stage.run()
    assert "version-activated" not in stage.types(str(ref))
    stage.settle()
    assert stage.states()[0] == "deleted"


def rolled_back(stage: Stage) -> None:
    """Two versions of the bot, the second one active, on an account whose oldest deployment is another model's."""
    stage.active("another")
    stage.active()
    stage.active()


def test_a_version_that_is_activated_again_as_its_grace_ends_keeps_its_deployment(
    stage: Stage, meanwhile: Meanwhile
) -> None:
    rolled_back(stage)
    stage.clock.advance(minutes=11)
    meanwhile(stage, "get", lambda: stage.tenure().activate("bot@1"))
    stage.settle()
    assert stage.active_ref() == "bot@1"
    assert stage.states() == ["serving", "serving"]


def test_an_artifact_is_not_deleted_of_a_version_that_was_activated_again(stage: Stage, meanwhile: Meanwhile) -> None:
    rolled_back(stage)
    stage.let_pass(minutes=11)
    stage.policy(keep_artifacts=0)
    meanwhile(stage, "get", lambda: stage.tenure().activate("bot@1"))
    told = stage.registry.reconciler.run()
    assert "failed" not in {one.outcome for one in told}
    stage.settle()
    assert stage.active_ref() == "bot@1"
    assert "deletion-requested" not in stage.types("bot@1")


def test_a_version_that_is_cancelled_while_another_is_submitted_gets_no_job(stage: Stage, meanwhile: Meanwhile) -> None:
    stage.fine_tune()
    second = stage.fine_tune()
    meanwhile(stage, "submit", lambda: stage.registry.commands.cancel(second, BEN))
    stage.settle()
    assert [unmarked(job.name) for job in stage.cloud().jobs.values()] == ["tenure-test12-bot-1-1"]
    assert stage.state(second) == "cancelled"


def test_a_duplicate_job_that_has_failed_by_itself_is_not_stopped(stage: Stage, meanwhile: Meanwhile) -> None:
    cloud = stage.cloud()
    cloud.duplicate_jobs = 1

    def fail() -> None:
        duplicate = list(cloud.jobs.values())[-1]
        duplicate.outcome = duplicate.status = "failed"

    meanwhile(stage, "submit", fail)
    ref = stage.trained()
    assert "duplicate-job-found" in stage.types(str(ref))
    assert cloud.count("cancel") == 0


def test_an_orphan_is_not_adopted_for_a_version_that_is_deleted_meanwhile(stage: Stage, meanwhile: Meanwhile) -> None:
    stage.policy(orphans="adopt")
    ref = stage.trained()
    stray = stage.cloud().stranger("tenure-test12-bot-1-7", "ft:tenure-test12-bot-1-1")
    stray.ours = True
    stage.registry.reconciler.run(sweep=True)
    stage.clock.advance(minutes=11)
    meanwhile(stage, "get", lambda: stage.registry.commands.delete(ref, BEN))
    told = stage.registry.reconciler.run()
    assert [(one.outcome, one.detail) for one in told if one.action.startswith("adopt")] == [
        ("waiting", "bot@1 is trained: nothing can be adopted for it")
    ]
    assert "orphan-adopted" not in stage.types(str(ref))


def test_a_deployment_on_which_requests_run_is_deleted_when_they_have_ended_or_take_too_long(stage: Stage) -> None:
    running = {"requests": 2}
    stage.registry.reconciler.ask_before_deleting(lambda _: running["requests"], lambda: True)
    commands = stage.registry.commands
    ref = stage.trained()
    for requests_end in (True, False):
        deployment = commands.deploy(ref, ANA)
        stage.settle()
        running["requests"] = 2
        before = stage.cloud().count("delete")
        commands.undeploy(deployment, ANA)
        told = stage.registry.reconciler.run()
        assert "2 requests run on it" in {one.detail for one in told}
        assert stage.cloud().count("delete") == before
        if requests_end:
            running["requests"] = 0
        else:
            stage.clock.advance(seconds=timedelta(hours=1).total_seconds())
        stage.settle()
        assert stage.cloud().count("delete") == before + 1
