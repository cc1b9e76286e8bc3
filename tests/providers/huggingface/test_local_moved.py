"""A home that was moved, copied or is reached by another path still has its models."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.errors import RejectedError
from providers.huggingface.artifacts import located
from tests.providers.huggingface.local_harness import LocalHarness
from tests.providers.huggingface.stand_in import make_model


@pytest.fixture
def elsewhere(harness: LocalHarness) -> Iterator[Path]:
    """Where the connection's folder is moved, copied or linked to; the harness is on it from then on."""
    folder = harness.folder / "elsewhere" / harness.connection.folder.parent.name / harness.connection.folder.name
    folder.parent.mkdir(parents=True)
    yield folder
    harness.close()


def use(harness: LocalHarness, folder: Path) -> None:
    harness.connection = dataclasses.replace(harness.connection, folder=folder)


def test_a_model_is_served_and_deleted_where_its_home_was_moved_to(harness: LocalHarness, elsewhere: Path) -> None:
    request = harness.deployment("d1")
    harness.connection.folder.rename(elsewhere)
    use(harness, elsewhere)
    provider = harness.connect()
    provider.deployments.create(request)
    assert harness.settled("d1").outcome == "serving"
    with pytest.raises(RejectedError, match="is being served"):
        provider.artifacts.delete(request.artifact.id)
    provider.deployments.delete("d1")

    found = provider.artifacts.get(request.artifact.id)
    assert found is not None
    assert found.id == request.artifact.id
    provider.artifacts.delete(request.artifact.id)
    assert not (elsewhere / "artifacts" / "plain" / "model").exists()


def test_a_model_is_deleted_by_another_path_to_the_same_home(harness: LocalHarness, elsewhere: Path) -> None:
    model = harness.model()
    elsewhere.symlink_to(harness.connection.folder)
    use(harness, elsewhere)
    harness.connect().artifacts.delete(str(model))
    assert not model.exists()


def test_a_copy_of_a_home_works_with_its_own_jobs(harness: LocalHarness, elsewhere: Path) -> None:
    model = harness.connection.folder / "jobs" / "tenure-r1-bot-1-1" / "model"
    make_model(model)
    (model.parent / "record.json").write_text("{}")
    shutil.copytree(harness.connection.folder, elsewhere)
    use(harness, elsewhere)
    harness.connect().artifacts.delete(str(model))
    assert model.exists()
    assert not (elsewhere / "jobs" / "tenure-r1-bot-1-1" / "model").exists()


def test_a_namesake_in_another_home_is_another_model(harness: LocalHarness, elsewhere: Path) -> None:
    own = harness.model()
    make_model(elsewhere / "artifacts" / "plain" / "model")
    assert located(elsewhere, str(own)) == own
