"""A clock that is set back by an hour: nothing waits for it to come round again, and nothing is forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from providers.errors import UnavailableError
from tests.fakes import Crash
from tests.stage import ANA, Stage

HOUR = timedelta(hours=1)


def test_a_retry_does_not_wait_until_the_clock_has_made_up_for_it(stage: Stage) -> None:
    ref = stage.fine_tune()
    busy = UnavailableError("too many requests", operation="submit", retry_after_s=30)
    stage.cloud().fail("submit", busy)
    stage.run()
    stage.clock.time -= HOUR
    stage.run()
    assert stage.state(ref) == "queued"
    stage.clock.advance(seconds=31)
    stage.run()
    assert stage.state(ref) == "training"


def test_a_create_that_a_killed_process_may_have_sent_is_looked_for_before_it_is_called_deleted(stage: Stage) -> None:
    deployment = stage.registry.commands.deploy(stage.trained(), ANA)
    cloud = stage.cloud()
    cloud.crash_at = (len(cloud.calls) + 1, "after")
    with pytest.raises(Crash):
        stage.run()
    cloud.crash_at = None
    stage.clock.time -= HOUR
    stage.restart()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    view = stage.registry.reading.deployment(deployment)
    assert (view.state, cloud.deployments) == ("deleted", {})
    assert view.billed_from is not None
