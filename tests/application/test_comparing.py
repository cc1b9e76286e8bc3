"""Log and provider side by side: each difference in words, and connections that do not answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from providers.errors import RejectedError, UnavailableError
from providers.ports import DeploymentOutcome
from registry.application.ports import DeploymentQuery
from registry.application.views import SideBySideView
from registry.domain.ids import VersionRef
from tests.fakes import provider_error
from tests.stage import ANA, BOT, Stage


def rows(stage: Stage, **only: object) -> list[SideBySideView]:
    return stage.registry.comparing.side_by_side(**only)  # pyright: ignore[reportArgumentType] - the caller knows


def differences(stage: Stage) -> list[str | None]:
    return [row.difference for row in rows(stage)]


def test_what_is_the_same_on_both_sides_has_no_difference(stage: Stage) -> None:
    stage.active()
    (row,) = rows(stage)
    assert (row.provider_status, row.difference) == ("Succeeded", None)
    assert row.as_json()["state"] == "serving"
    assert row.value("state") == "serving"


@pytest.mark.parametrize(
    ("outcome", "status", "difference"),
    [
        ("failed", "Failed", "it serves here, and the provider says Failed"),
        ("provisioning", "Creating", "it serves here, and the provider says Creating"),
    ],
)
def test_a_deployment_that_serves_here_and_does_not_there(
    stage: Stage, outcome: DeploymentOutcome, status: str, difference: str
) -> None:
    stage.active()
    (one,) = stage.cloud().deployments.values()
    one.outcome, one.status = outcome, status
    assert differences(stage) == [difference]


def test_one_that_somebody_moved_to_another_model(stage: Stage) -> None:
    stage.active()
    (one,) = stage.cloud().deployments.values()
    one.artifact_id = "ft:somebody-elses"
    assert differences(stage) == ["it serves another model there: ft:somebody-elses"]
    one.artifact_id = str(stage.log.deployments(DeploymentQuery())[0].artifact_id).upper()
    assert differences(stage) == [None]


def test_a_commitment_is_told_and_what_it_keeps_from_being_deleted(stage: Stage) -> None:
    ref = stage.active()
    (one,) = stage.cloud().deployments.values()
    one.committed_until = stage.clock.time + timedelta(days=30)
    stage.run()
    stage.registry.commands.retire(ref, ANA)
    stage.cloud().fail("delete", provider_error(RejectedError), times=9)
    stage.registry.commands.undeploy(next(iter(stage.log.deployments(DeploymentQuery()))).id, ANA)
    stage.run()
    (row,) = rows(stage)
    assert row.value("committed_until") == one.committed_until
    assert row.difference == f"it is committed, and billed, until {one.committed_until:%Y-%m-%d %H:%M} UTC"


def test_one_that_the_provider_does_not_show_and_one_that_it_shows_again(stage: Stage) -> None:
    stage.active()
    (one,) = stage.cloud().deployments.values()
    stage.cloud().lose(one.name)
    assert differences(stage) == ["the provider does not show it"]
    for _ in range(3):
        stage.run()
    stage.settle()
    stage.cloud().deployments[one.id] = one
    assert "it is lost here, and the provider shows it" in differences(stage)


def test_one_on_its_way_is_told_of_when_the_provider_is_ahead(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(UnavailableError), when="after", times=1)
    stage.registry.commands.deploy(ref, ANA)
    assert differences(stage) == [None], "asked for, and not there yet"
    stage.run()
    assert differences(stage) == ["the provider has it already"]
    stage.clock.advance(seconds=20)
    stage.run()
    (one,) = stage.cloud().deployments.values()
    one.outcome = "serving"
    assert differences(stage) == ["the provider says that it serves; it has not answered a probe yet"]
    one.outcome, one.status = "failed", "Failed"
    assert differences(stage) == ["it is provisioning here, and the provider says Failed"]


def test_one_that_is_being_deleted_is_no_difference_while_it_is_still_shown(stage: Stage) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.registry.commands.undeploy(deployment, ANA)
    assert differences(stage) == [None]


def test_strays_come_last_and_only_when_everything_is_asked_for(stage: Stage) -> None:
    stage.active()
    stage.cloud().stranger("theirs", "gpt")
    stage.cloud().stranger("tenure-test12-bot-1-9", "ft:x").ours = True
    kinds = [(row.difference or "").partition(":")[0] for row in rows(stage)]
    assert kinds == ["", "orphan", "foreign"]
    assert rows(stage)[1].as_json()["id"] is None
    assert len(rows(stage, billed=True)) == 1
    assert len(rows(stage, model=BOT)) == 1
    stage.registry.reconciler.run(sweep=True)
    assert [row.value("name") for row in rows(stage)][-1] == "theirs", "a foreign one is shown again and again"


def test_a_connection_that_does_not_answer_says_so_in_its_own_rows(stage: Stage) -> None:
    stage.active()
    stage.trained("donor", "local")
    stage.registry.commands.deploy(VersionRef("donor", 1), ANA)
    stage.settle()
    stage.cloud().fail("list", provider_error(UnavailableError))
    told = {row.deployment.connection: row.difference for row in rows(stage) if row.deployment is not None}
    assert told == {"cloud": "cannot be compared: the provider says UnavailableError", "local": None}


def test_a_connection_that_does_not_answer_and_has_nothing_here_does_not_look_empty(stage: Stage) -> None:
    stage.cloud().fail("list", provider_error(UnavailableError), times=2)
    row = next(one for one in rows(stage) if one.value("connection") == "cloud")
    assert (row.value("id"), row.value("provider_id"), row.provider_status) == (None, None, None)
    assert row.difference == row.as_json()["difference"] == "cannot be compared: the provider says UnavailableError"
    assert rows(stage, billed=True) == []


def test_connections_with_nothing_to_compare_are_not_asked(stage: Stage) -> None:
    stage.active()
    before = stage.cloud("local").count("list")
    assert len(rows(stage, billed=True)) == 1
    assert stage.cloud("local").count("list") == before
