"""The table follows the log: event by event it is what it would be if everything were read anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.application.ports import EventLog
from registry.domain.states import ConnectionState
from registry.gateway.refusal import RefusalError
from registry.gateway.table import Fold, Table
from tests.stage import ANA, BOT, Stage


class Following:
    """A table kept up by one fold, compared at every step with one that is loaded whole."""

    def __init__(self, stage: Stage) -> None:
        self._log: EventLog = stage.log
        self._fold = Fold(self._log, _alone)
        self.table = Table()
        self.table.install(self._fold.load())

    def step(self) -> Table:
        self.table.install(self._fold.advance())
        whole = Table()
        whole.install(Fold(self._log, _alone).load())
        assert self.table.models == whole.models
        assert self.table.served == whole.served
        assert self.table.position == whole.position == self._log.head()
        return self.table

    def answers(self, name: str) -> list[str]:
        return [one.id for one in self.step().resolve(name)]

    def refused(self, name: str) -> int:
        self.step()
        with pytest.raises(RefusalError) as refusal:
            self.table.resolve(name)
        return refusal.value.status


def _alone(connection: ConnectionState) -> bool:
    return connection.provider == "openai"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def following(stage: Stage) -> Following:
    return Following(stage)


def test_a_version_answers_from_the_moment_in_which_its_deployment_serves(stage: Stage, following: Following) -> None:
    ref = stage.fine_tune()
    assert following.refused(BOT) == 409
    assert following.refused("bot@1") == 409
    assert following.refused("bot@2") == 404
    stage.settle()
    stage.activate(ref)
    for _ in range(4):
        stage.run()
        stage.clock.advance(seconds=20)
        following.step()
    (deployment,) = stage.deployments()
    assert following.answers(BOT) == following.answers("bot@1") == [deployment.id]


def test_a_deployment_that_is_to_go_answers_no_more(stage: Stage, following: Following) -> None:
    stage.policy(superseded_grace="0s")
    stage.active()
    stage.active()
    assert following.refused("bot@1") == 409
    assert following.answers(BOT) == following.answers("bot@2")


def test_a_deployment_that_was_lost_answers_no_more_and_its_successor_does(stage: Stage, following: Following) -> None:
    stage.active()
    (first,) = following.answers(BOT)
    stage.cloud().lose(stage.deployments()[0].name)
    gap = False
    for _ in range(60):
        stage.run()
        stage.clock.advance(seconds=60)
        gap = gap or (BOT, 1) not in following.step().served
    assert gap
    assert following.answers(BOT) == [stage.deployments()[1].id] != [first]


def test_a_model_without_an_active_version_still_has_versions(stage: Stage, following: Following) -> None:
    ref = stage.active()
    stage.policy(superseded="keep")
    stage.registry.commands.retire(ref, ANA)
    assert following.refused(BOT) == 409
    assert following.answers("bot@1")


def test_a_tuned_model_that_serves_alone_answers_as_soon_as_it_is_trained(stage: Stage, following: Following) -> None:
    ref = stage.fine_tune(connection="alone")
    assert following.refused("bot@1") == 409
    stage.settle()
    assert following.answers("bot@1") == ["bot@1"]
    stage.activate(ref)
    stage.settle()
    assert following.answers(BOT) == ["bot@1"]
    second = stage.trained(connection="alone")
    assert following.answers("bot@2") == ["bot@2"]
    stage.registry.commands.delete(second, ANA)
    stage.settle()
    assert following.refused("bot@2") == 409


def test_nothing_is_asked_through_a_connection_that_was_removed(stage: Stage, following: Following) -> None:
    stage.trained(connection="alone")
    (before,) = following.step().resolve("bot@1")
    stage.registry.declaring.declare_connection("alone", {"provider": "openai", "base_url": "https://a"}, ANA)
    (after,) = following.step().resolve("bot@1")
    assert after == before
    assert after is not before, "its address is to be asked for anew"
    stage.registry.declaring.remove_connection("alone", ANA)
    assert following.refused("bot@1") == 409


def test_a_fold_that_begins_late_or_reads_what_it_knows_is_none_the_wiser(stage: Stage) -> None:
    stage.active()
    late = Following(stage)
    late.step()
    late.step()
    stage.active()
    late.step()


def test_a_deployment_that_was_gone_and_is_back_is_known_again_for_what_it_is(
    stage: Stage, following: Following
) -> None:
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    assert following.answers("bot@1")
    (one,) = stage.cloud().deployments.values()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    assert following.refused("bot@1") == 409
    stage.cloud().deployments[one.id] = one
    one.outcome, one.status = "serving", "Succeeded"
    stage.clock.advance(hours=1)
    stage.registry.reconciler.run(sweep=True)
    assert "deployment-reappeared" in stage.types()
    assert following.refused("bot@1") == 409


def test_an_orphan_answers_for_nobody_until_it_is_adopted(stage: Stage, following: Following) -> None:
    stage.policy(orphans="adopt")
    ref = stage.trained()
    artifact = stage.version(ref).artifact
    assert artifact is not None
    stage.cloud().stranger("tenure-test12-bot-1-7", artifact.id).ours = True
    stage.registry.reconciler.run(sweep=True)
    assert "orphan-found" in [event.type for event in stage.log.read()]
    assert list(following.step().listed()) == []
    stage.clock.advance(minutes=11)
    stage.registry.reconciler.run(sweep=True)
    assert following.answers("bot@1") == [stage.deployments()[0].id]
