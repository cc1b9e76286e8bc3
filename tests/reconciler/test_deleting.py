"""Deleted is what is seen to be gone: not accepted, ignored, late, or back again."""

from __future__ import annotations

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from registry.domain.versions import Who
from tests.fakes import When, provider_error
from tests.stage import ANA, Stage


def undeployed(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.undeploy(stage.registry.commands.deploy(ref, ANA), ANA)


def test_deleted_is_what_three_reads_do_not_show(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.registry.commands.undeploy(deployment, ANA)
    reads = stage.cloud().count("get")
    stage.settle()
    assert stage.cloud().count("get") - reads == 3
    deleted = stage.history(str(ref))[-1]
    assert (deleted.type, deleted.data["reads"]) == ("deployment-deleted", 3)
    assert stage.unbilled_seconds() == 0


def test_a_delete_that_does_nothing_is_asked_for_again(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.cloud().deletes_ignored = 1
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    assert (stage.states(), stage.cloud().deployments, stage.cloud().count("delete")) == (["deleted"], {}, 2)
    assert stage.unbilled_seconds() == 0


def test_one_that_comes_back_is_deleted_again(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.cloud().reappearing = 1
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    assert (stage.states(), stage.cloud().deployments, stage.cloud().count("delete")) == (["deleted"], {}, 2)
    assert stage.unbilled_seconds() == 0


def test_one_that_takes_its_time_to_go_is_not_asked_again(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.cloud().deletes_ignored = 1
    stage.registry.commands.undeploy(deployment, ANA)
    (deployed,) = stage.cloud().deployments.values()
    deployed.outcome = "deleting"
    stage.run()
    assert (stage.states(), stage.cloud().count("delete")) == (["deleting"], 1)
    stage.cloud().lose(deployed.name)
    stage.settle()
    assert (stage.states(), stage.cloud().count("delete")) == (["deleted"], 1)


@pytest.mark.parametrize("kind", [UnavailableError, OutcomeUnknownError, RejectedError])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delete_is_asked_for_until_it_is_accepted(
    stage: Stage, kind: type[UnavailableError | OutcomeUnknownError | RejectedError], when: When
) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.cloud().fail("delete", provider_error(kind), when=when, times=2)
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    assert (stage.states(), stage.cloud().deployments) == (["deleted"], {})
    assert stage.unbilled_seconds() == 0


def test_a_plan_says_why_a_delete_has_failed_and_not_why_there_was_a_deployment(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, Who(actor="user:ana", reason="for the launch"))
    stage.settle()
    locked = UnavailableError("the account is busy", operation="delete-deployment", retry_after_s=60)
    stage.cloud().fail("delete", locked, when="before", times=1)
    stage.registry.commands.undeploy(deployment, ANA)
    stage.run()
    (step,) = [one for one in stage.registry.reconciler.plan() if one.action == "delete deployment"]
    assert step.outcome == "waiting"
    assert (step.detail or "").startswith("the account is busy; it failed and is tried again: not before ")
    assert step.why == "asked to go"


def test_one_that_was_never_made_is_gone_without_ever_having_been_billed(stage: Stage) -> None:
    undeployed(stage)
    stage.settle()
    (view,) = stage.deployments()
    assert (view.state, view.billed_from, view.billed_to, stage.cloud().bills) == ("deleted", None, None, [])


def test_an_artifact_stays_while_another_version_has_it_by_whichever_connection(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.declaring.apply(
        {"connections": {"again": {"provider": "azure-openai", "sku": "Standard"}}}, ANA, plan=False
    )
    stage.providers.clouds["again"] = stage.cloud()
    artifact = str(stage.log.version(ref).artifact_id)  # pyright: ignore[reportOptionalMemberAccess] - it was trained
    other = stage.registry.commands.import_version("other", "again", artifact, None, ANA)
    stage.registry.commands.delete(ref, ANA)
    stage.settle()
    assert (stage.state(ref), [*stage.cloud().artifacts]) == ("deleted", [artifact])
    stage.registry.commands.delete(other, ANA)
    stage.settle()
    assert (stage.state(other), [*stage.cloud().artifacts]) == ("deleted", [])


def test_an_artifact_that_something_still_serves_is_deleted_later(stage: Stage) -> None:
    ref = stage.trained()
    stranger = stage.cloud().stranger("theirs", "ft:tenure-test12-bot-1-1")
    stage.registry.commands.delete(ref, ANA)
    stage.run()
    assert (stage.state(ref), stage.version(ref).legal) == ("trained", ())
    stage.cloud().lose(stranger.name)
    stage.settle()
    assert stage.state(ref) == "deleted"
