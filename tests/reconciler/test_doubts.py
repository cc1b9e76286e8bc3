"""Answers that mislead: a create that was refused and has happened, one that shows late, losses not to be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from registry.application.ports import DeploymentQuery
from tests.fakes import FakeProviders, provider_error
from tests.stage import ANA, BEN, BOT, Stage

# Deployments


def test_a_create_that_is_refused_because_it_has_happened_already_is_taken_up(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(UnavailableError), when="after")
    stage.cloud().fail("create", provider_error(RejectedError))
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    assert (stage.states(), stage.cloud().count("create")) == (["serving"], 2)
    assert stage.unbilled_seconds() == 0


def test_a_deployment_that_nobody_heard_of_is_billed_and_deleted_when_it_is_not_wanted_any_more(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(UnavailableError), when="after")
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.run()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.clock.advance(hours=1)
    stage.settle()
    assert (stage.states(), stage.cloud().deployments) == (["deleted"], {})
    assert stage.unbilled_seconds() == 0


def test_one_that_shows_itself_only_after_its_deletion_was_accepted_is_billed_and_deleted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = stage.trained()
    cloud = stage.cloud()
    cloud.fail("create", provider_error(UnavailableError), when="after")
    cloud.deletes_ignored = 1
    call: Callable[[str, Any], Any] = cloud.call
    hidden = 3

    def late(operation: str, effect: Callable[[], object]) -> object:
        nonlocal hidden
        answer = call(operation, effect)
        if operation == "get" and hidden:
            hidden -= 1
            return None
        return answer

    monkeypatch.setattr(cloud, "call", late)
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.run()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    assert (hidden, stage.states(), cloud.deployments, cloud.count("delete")) == (0, ["deleted"], {}, 2)
    assert stage.unbilled_seconds() == 0


# Jobs and artifacts


def test_a_job_that_is_asked_for_again_and_again_without_an_answer_is_made_once(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.idempotent = False
    cloud.lists_wrong.append(None)
    cloud.fail("submit", provider_error(OutcomeUnknownError))
    cloud.fail("submit", provider_error(UnavailableError), when="after")
    ref = stage.trained()
    assert (len(cloud.lists_wrong), len(cloud.jobs)) == (0, 1)
    assert stage.types(str(ref)).count("training-outcome-unknown") == 1


def test_a_job_whose_first_look_fails_after_an_earlier_refusal_is_not_sent_again_for_one_stale_list(
    stage: Stage,
) -> None:
    cloud = stage.cloud()
    cloud.idempotent = False
    cloud.lists_wrong.extend((provider_error(UnavailableError), None))
    cloud.fail("submit", provider_error(UnavailableError))
    stage.trained()
    assert (len(cloud.lists_wrong), len(cloud.jobs), cloud.calls.count("submit")) == (0, 1, 2)


def test_one_list_that_was_cut_short_does_not_have_a_job_sent_again_however_long_ago_it_was_asked_for(
    stage: Stage,
) -> None:
    cloud = stage.cloud()
    cloud.idempotent = False
    cloud.lists_wrong.append(None)
    cloud.fail("submit", provider_error(OutcomeUnknownError), when="after")
    stage.fine_tune()
    stage.run()
    stage.clock.advance(hours=1)
    stage.restart()
    stage.run()
    assert (len(cloud.lists_wrong), len(cloud.jobs), cloud.calls.count("submit")) == (0, 1, 1)


def test_losses_that_may_not_be_read_keep_no_job_from_ending(stage: Stage) -> None:
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = 1
    stage.cloud().fail("metrics", provider_error(RejectedError), times=100)
    known = stage.registry.reading.metrics(ref)
    told = stage.registry.reconciler.run()
    assert ("failed", "the provider says RejectedError") in {(one.outcome, one.detail) for one in told}
    assert stage.state(ref) == "training"
    stage.settle()
    assert (stage.state(ref), stage.registry.reading.metrics(ref)) == ("trained", known)


def test_an_artifact_whose_deletion_is_refused_is_asked_for_again(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("delete-artifact", provider_error(RejectedError), times=2)
    stage.registry.commands.delete(ref, ANA)
    stage.run()
    assert (stage.state(ref), len(stage.cloud().artifacts)) == ("trained", 1)
    stage.settle()
    assert (stage.state(ref), stage.cloud().artifacts) == ("deleted", {})


def test_a_folder_that_is_not_ours_stays_when_its_version_is_deleted(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    ref = stage.registry.commands.import_version(BOT, "local", str(folder), None, ANA)
    stage.cloud("local").fail("delete-artifact", provider_error(RejectedError), times=100)
    stage.registry.commands.delete(ref, BEN)
    stage.settle()
    assert (stage.state(ref), folder.exists()) == ("deleted", True)


# Strays and connections


@pytest.mark.parametrize("name", ["tenure-something", "tenure-test12-bot-0-1", "tenure-test12-bot-9-1"])
def test_a_stray_whose_name_says_no_version_that_is_known_belongs_to_none(stage: Stage, name: str) -> None:
    stage.trained()
    stray = stage.cloud().stranger(name, "ft:tenure-test12-bot-1-1")
    stray.ours = True
    stage.registry.reconciler.run(sweep=True)
    (one,) = stage.log.deployments(DeploymentQuery())
    assert (one.orphan, one.suspected) == (True, None)


def test_a_stray_at_another_connection_than_its_versions_belongs_to_none(stage: Stage) -> None:
    stage.trained()
    stray = stage.cloud("local").stranger("tenure-test12-bot-1-7", "ft:tenure-test12-bot-1-1")
    stray.ours = True
    stage.registry.reconciler.run(sweep=True)
    (one,) = stage.log.deployments(DeploymentQuery())
    assert (one.orphan, one.suspected) == (True, None)


def test_a_connection_that_cannot_be_opened_keeps_no_other_from_its_sweep(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.cloud().stranger("theirs", "gpt")
    monkeypatch.setattr(FakeProviders, "SERVING", {"azure-openai": "deployment"})
    told = stage.registry.reconciler.run(sweep=True)
    assert [(one.subject, one.outcome) for one in told] == [("cloud", "done")]


def test_a_policy_about_one_models_artifacts_deletes_no_other_models_after_a_restart(stage: Stage) -> None:
    for model in (BOT, "another"):
        stage.active(model)
        stage.active(model)
    stage.registry.declaring.set_policy("another", {"keep_artifacts": 0, "superseded_grace": "0s"}, ANA)
    stage.restart()
    stage.let_pass(minutes=11)
    assert len(stage.cloud().artifacts) == 3
    assert stage.tenure().version("another@1").state == "deleted"
