"""A home that is put back to an earlier state, through the vendors' own SDKs: what was made meanwhile is still there.

Version numbers are given out again; names at the provider are not.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.application.ports import DeploymentQuery
from registry.domain.ids import VersionRef
from registry.store.memory_log import MemoryLog
from tests.fakes import SequentialIds
from tests.reconciler.test_clouds import EVERY, SERVED, Sky, sky
from tests.stage import ANA

__all__ = ["sky"]
"""The fixture, which pytest finds by its name."""
FIRST, SECOND = VersionRef("bot", 1), VersionRef("bot", 2)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def put_back(sky: Sky, backup: Path) -> None:
    sky.log = MemoryLog(clock=sky.clouds.clock.now, ids=SequentialIds())
    sky.log.import_(backup)
    sky.restart()


def swept(sky: Sky) -> None:
    for _ in range(4):
        sky.clouds.clock.advance(600)
        sky.registry.reconciler.run(sweep=True)


def other_data(sky: Sky) -> None:
    rows = [{"prompt": f"What is {n} and {n}?", "completion": str(2 * n)} for n in range(20)]
    (sky.home / "train.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


@EVERY
def test_a_version_whose_number_is_given_out_again_is_trained_on_its_own_data(
    sky: Sky, connection: str, backup: Path
) -> None:
    sky.trained(connection)
    sky.log.export(backup)
    lost = sky.version(sky.trained(connection)).artifact
    put_back(sky, backup)
    other_data(sky)
    assert sky.fine_tune(connection) == SECOND
    sky.settle()
    mine = sky.version(SECOND)
    assert lost is not None
    assert mine.artifact is not None
    assert (mine.state, mine.artifact.id == lost.id, len(sky.jobs())) == ("trained", False, 3)


@EVERY
def test_a_training_that_was_asked_for_before_the_backup_is_not_made_twice(
    sky: Sky, connection: str, backup: Path
) -> None:
    ref = sky.fine_tune(connection)
    sky.log.export(backup)
    sky.settle()
    put_back(sky, backup)
    sky.settle()
    assert (sky.version(ref).state, len(sky.jobs())) == ("trained", 1)


@SERVED
def test_what_was_deployed_meanwhile_is_an_orphan_beside_what_takes_its_number(
    sky: Sky, connection: str, backup: Path
) -> None:
    sky.trained(connection)
    sky.log.export(backup)
    sky.activate(sky.trained(connection))
    sky.settle()
    put_back(sky, backup)
    swept(sky)
    (orphan,) = sky.log.deployments(DeploymentQuery())
    sky.activate(sky.trained(connection))
    sky.settle()
    swept(sky)
    named = {one.name: one.state for one in sky.log.deployments(DeploymentQuery())}
    assert len(named) == 2
    assert set(named.values()) == {"serving"}
    assert {one.name for one in sky.clouds.truth.billed()} == set(named)
    sky.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    swept(sky)
    swept(sky)
    assert sky.registry.reading.model("bot").active == str(SECOND)
    assert [one.name for one in sky.clouds.truth.billed()] == [name for name in named if name != orphan.name]


@SERVED
def test_a_deployment_that_was_made_meanwhile_for_the_same_version_is_billed_once(
    sky: Sky, connection: str, backup: Path
) -> None:
    ref = sky.trained(connection)
    sky.log.export(backup)
    sky.registry.commands.deploy(ref, ANA)
    sky.settle()
    put_back(sky, backup)
    swept(sky)
    sky.registry.commands.deploy(ref, ANA)
    sky.settle()
    ids = [one.provider_id for one in sky.log.deployments(DeploymentQuery(live=True))]
    assert len(ids) == len(set(ids)) == len(sky.clouds.truth.billed()) == 2


@EVERY
def test_a_training_whose_data_was_not_put_back_fails_and_can_be_tried_again(
    sky: Sky, connection: str, backup: Path
) -> None:
    ref = sky.fine_tune(connection)
    sky.log.export(backup)
    data, away = sky.home / "data", sky.home / "away"
    data.rename(away)
    put_back(sky, backup)
    sky.settle()
    told = sky.version(ref)
    assert told.state == "failed"
    assert told.error is not None
    assert told.error.startswith(str(data))
    assert told.error.endswith(" is missing: put it back from a copy of the home, and retry")
    assert sky.jobs() == []
    away.rename(data)
    sky.registry.commands.retry(ref, ANA)
    sky.settle()
    assert (sky.version(ref).state, len(sky.jobs())) == ("trained", 1)
