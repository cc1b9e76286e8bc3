"""What people ask of a training job itself: pausing, going on, its checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from providers.errors import RejectedError, UnauthorizedError
from providers.ports import Artifact, Checkpoint
from registry.domain.errors import RefusedError, UnavailableError
from registry.domain.ids import VersionRef
from tests.fakes import provider_error
from tests.stage import BEN, Stage


@pytest.fixture
def training(stage: Stage) -> VersionRef:
    """A version that trains at a cloud which has pausing."""
    ref = stage.fine_tune()
    stage.run()
    cloud = stage.cloud()
    cloud.capabilities = replace(cloud.capabilities, pause=True)
    next(iter(cloud.jobs.values())).polls_left = -1
    return ref


def status(stage: Stage, ref: VersionRef) -> str | None:
    job = stage.version(ref).job
    return job.status if job else None


def test_a_job_is_paused_and_goes_on_on_somebodys_word(stage: Stage, training: VersionRef) -> None:
    stage.registry.jobs.steer(training, "pause", BEN)
    assert status(stage, training) == "paused"
    last = stage.history(str(training))[-1]
    assert (last.type, last.actor) == ("job-status-changed", BEN.actor)
    stage.run()
    assert stage.state(training) == "training", "a pause is waited out"
    stage.registry.jobs.steer(training, "resume", BEN)
    assert status(stage, training) == "running"


def test_pausing_what_is_paused_is_success_and_says_nothing_more(stage: Stage, training: VersionRef) -> None:
    stage.registry.jobs.steer(training, "pause", BEN)
    before = stage.log.head()
    stage.cloud().fail("pause", provider_error(RejectedError))
    stage.registry.jobs.steer(training, "pause", BEN)
    assert stage.log.head() == before


def test_what_the_provider_refuses_is_refused_and_a_credential_is_no_state(stage: Stage, training: VersionRef) -> None:
    stage.cloud().fail("resume", provider_error(RejectedError))
    stage.registry.jobs.steer(training, "resume", BEN)  # it runs already
    stage.cloud().fail("pause", provider_error(RejectedError))
    with pytest.raises(RefusedError, match="cannot pause: the provider says"):
        stage.registry.jobs.steer(training, "pause", BEN)
    stage.cloud().fail("pause", provider_error(UnauthorizedError))
    with pytest.raises(UnavailableError):
        stage.registry.jobs.steer(training, "pause", BEN)


def test_there_is_nothing_to_pause_where_nothing_trains_or_pauses(stage: Stage, training: VersionRef) -> None:
    next(iter(stage.cloud().jobs.values())).polls_left = 0
    stage.settle()
    with pytest.raises(RefusedError, match="there is no job to pause"):
        stage.registry.jobs.steer(training, "pause", BEN)
    stage.cloud().capabilities = replace(stage.cloud().capabilities, pause=False)
    with pytest.raises(RefusedError, match="no pausing"):
        stage.registry.jobs.steer(training, "pause", BEN)


def test_a_provider_without_checkpoints_is_not_asked_for_any(stage: Stage, training: VersionRef) -> None:
    assert stage.registry.jobs.checkpoints(training) == []


def test_checkpoints_are_shown_with_what_they_can_be_imported_as(stage: Stage, training: VersionRef) -> None:
    cloud = stage.cloud()
    cloud.capabilities = replace(cloud.capabilities, checkpoints=True)
    (job,) = cloud.jobs.values()
    job.checkpoints = [Checkpoint(step=10, artifact=Artifact(id="ft:ckpt-10"), metrics={"valid_loss": 1.5})]
    (shown,) = stage.registry.jobs.checkpoints(training)
    assert (shown.step, shown.artifact, shown.metrics) == (10, "ft:ckpt-10", {"valid_loss": 1.5})


def test_what_was_never_submitted_has_no_checkpoints(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.capabilities = replace(cloud.capabilities, checkpoints=True)
    assert stage.registry.jobs.checkpoints(stage.fine_tune()) == []
