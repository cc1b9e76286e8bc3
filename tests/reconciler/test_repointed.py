"""A deployment that somebody past the registry made serve another model: told, passed over, never healed unasked."""

from __future__ import annotations

import pytest

from registry.application.chatting import target_of
from registry.application.views import DeploymentView
from registry.domain.errors import RefusedError
from registry.domain.ids import VersionRef
from tests.cloud import Deployed
from tests.stage import ANA, Stage

OTHER = "ft:somebody-elses"


def repoint(stage: Stage) -> Deployed:
    (one,) = stage.cloud().deployments.values()
    one.shown_artifact = OTHER
    stage.let_pass(minutes=1)
    return one


def live(stage: Stage) -> list[DeploymentView]:
    return [one for one in stage.deployments() if one.state == "serving"]


def test_the_history_tells_it_once_and_that_it_is_as_it_was_again(stage: Stage) -> None:
    ref = stage.active()
    (before,) = live(stage)
    one = repoint(stage)
    stage.let_pass(minutes=5)
    told = [event for event in stage.history(str(ref)) if event.type == "deployment-repointed"]
    assert [event.data["other_artifact"] for event in told] == [OTHER]
    assert told[0].actor == "provider:cloud"
    assert [one.other_artifact for one in live(stage)] == [OTHER]
    assert stage.version(ref).state == "active"
    assert [one.id for one in live(stage)] == [before.id]
    one.shown_artifact = one.artifact_id.upper()
    stage.let_pass(minutes=1)
    assert [one.other_artifact for one in live(stage)] == [None]


def test_an_activation_makes_another_one_instead_of_taking_it(stage: Stage) -> None:
    stage.policy(superseded="keep")
    first, second = stage.active(), stage.trained()
    repoint(stage)
    stage.activate(second)
    stage.settle()
    stage.activate(first)
    stage.settle()
    assert stage.state(first) == "active"
    mine = [one for one in live(stage) if one.version == first.number]
    assert [one.other_artifact for one in mine] == [OTHER, None]
    _, target = target_of(stage.registry.reading, stage.log, stage.registry.providers, str(first))
    assert target.deployment_name == mine[1].name


def test_a_provider_may_call_an_artifact_by_another_name(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.run()
    (one,) = stage.cloud().deployments.values()
    one.shown_artifact = "arn:of:the:same"
    stage.let_pass(minutes=5)
    assert [each.other_artifact for each in stage.deployments()] == [None]
    one.shown_artifact = OTHER
    stage.let_pass(minutes=1)
    assert [each.other_artifact for each in stage.deployments()] == [OTHER]


def test_a_deployment_by_hand_takes_its_place_and_only_then_may_it_go(stage: Stage) -> None:
    ref = stage.active()
    one = repoint(stage)
    (old,) = live(stage)
    with pytest.raises(RefusedError) as refusal:
        stage.registry.commands.undeploy(old.id, ANA)
    assert refusal.value.hint == f"run first: tenure deploy {ref}"
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    new = next(each for each in live(stage) if each.id != old.id)
    with pytest.raises(RefusedError):
        stage.registry.commands.undeploy(new.id, ANA)
    stage.registry.commands.undeploy(old.id, ANA)
    stage.let_pass(minutes=5)
    assert [each.id for each in live(stage)] == [new.id]
    assert one.id not in stage.cloud().deployments
    assert stage.state(VersionRef(ref.model, ref.number)) == "active"
