"""Connections that do not answer: each is left alone for a while, and it alone; it is shown, and recovers by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError, UnauthorizedError, UnavailableError
from registry.application import doctor
from registry.application.views import CheckView
from registry.composition import compose
from registry.domain.ids import VersionRef
from tests.fakes import provider_error
from tests.stage import ANA, FakeData, Stage

FAILED, RECOVERED = "connection-failed", "connection-recovered"


def told(stage: Stage, name: str = "cloud") -> list[str]:
    return [event.type for event in stage.log.read(stream=f"connection:{name}") if event.type in {FAILED, RECOVERED}]


def error_of(stage: Stage, name: str = "cloud") -> str | None:
    return next(one.error for one in stage.registry.reading.connections() if one.name == name)


def in_training(stage: Stage, count: int = 1, connection: str = "cloud") -> list[VersionRef]:
    refs = [stage.fine_tune("bot" if connection == "cloud" else "other", connection) for _ in range(count)]
    stage.run()
    for job in stage.cloud(connection).jobs.values():
        job.outcome, job.status, job.polls_left = "running", "running", -1
    stage.run()
    stage.cloud(connection).calls.clear()
    return refs


def spread(stage: Stage) -> None:
    """Retries as far apart as the backoff makes them."""
    stage.registry = compose(
        stage.home,
        stage.log,
        clock=stage.clock,
        jitter=lambda: 1.0,
        new_registry_id=lambda: "test12",
        data=FakeData(),
        providers=stage.providers,
    )


def passes(stage: Stage, span: timedelta, pace_s: float = 1.0) -> datetime:
    end = stage.clock.time + span
    while stage.clock.time < end:
        stage.registry.reconciler.run(paced=True)
        stage.clock.advance(seconds=pace_s)
    return end


def test_an_expired_credential_stops_the_polling_of_its_connection_and_of_no_other(stage: Stage) -> None:
    expired, fine = in_training(stage, 5), in_training(stage, 5, "alone")
    spread(stage)
    stage.cloud().fail("poll", provider_error(UnauthorizedError), times=1000)
    passes(stage, timedelta(minutes=20))
    assert 4 <= stage.cloud().count("poll") <= 15, "twice as far apart each time, up to five minutes"
    assert stage.cloud("alone").count("poll") == pytest.approx(20 * 60 / 15, abs=2)
    assert told(stage) == [FAILED]
    assert (error_of(stage), error_of(stage, "alone")) == ("the provider says UnauthorizedError", None)
    assert {stage.state(ref) for ref in [*expired, *fine]} == {"training"}
    stage.cloud().faults.clear()
    passes(stage, timedelta(minutes=6))
    assert (told(stage), error_of(stage)) == ([FAILED, RECOVERED], None)


def test_while_the_credential_is_refused_nothing_new_is_tried_there(stage: Stage) -> None:
    in_training(stage)
    spread(stage)
    stage.cloud().fail("poll", provider_error(UnauthorizedError), times=1000)
    passes(stage, timedelta(minutes=2))
    ref = stage.fine_tune()
    stage.cloud().calls.clear()
    stage.registry.reconciler.run(paced=True)
    assert (stage.state(ref), stage.cloud().calls) == ("queued", [])
    stage.cloud().faults.clear()
    passes(stage, timedelta(minutes=6))
    assert stage.state(ref) != "queued"


def test_what_is_to_be_deleted_is_asked_for_all_the_same(stage: Stage) -> None:
    deployment = stage.registry.commands.deploy(stage.trained(), ANA)
    stage.settle()
    spread(stage)
    stage.cloud().fail("submit", provider_error(UnauthorizedError), times=1000)
    stage.cloud().fail("find", provider_error(UnauthorizedError), times=1000)
    stage.fine_tune()
    stage.registry.reconciler.run(paced=True)
    assert told(stage) == [FAILED]
    stage.registry.commands.undeploy(deployment, ANA)
    passes(stage, timedelta(minutes=2), 5)
    assert (stage.states(), stage.cloud().deployments) == (["deleted"], {})


def test_a_permission_that_lacks_for_creates_is_told_once_although_reads_are_answered(stage: Stage) -> None:
    in_training(stage)
    spread(stage)
    stage.cloud().fail("submit", provider_error(UnauthorizedError), times=1000)
    stage.fine_tune()
    passes(stage, timedelta(minutes=30), 15)
    assert (told(stage), error_of(stage)) == ([FAILED], "the provider says UnauthorizedError")
    assert stage.cloud().count("poll") > 100
    stage.cloud().faults.clear()
    passes(stage, timedelta(minutes=6), 15)
    assert told(stage) == [FAILED, RECOVERED]


@pytest.mark.parametrize("kind", [UnavailableError, OutcomeUnknownError])
def test_an_outage_is_told_when_three_calls_in_a_row_got_no_answer(stage: Stage, kind: type[ProviderError]) -> None:
    in_training(stage)
    for failures in range(1, 4):
        stage.cloud().fail("poll", provider_error(kind))
        stage.run()
        assert told(stage) == ([FAILED] if failures == 3 else [])
    stage.run()
    assert told(stage) == [FAILED, RECOVERED]


def test_calls_that_are_answered_in_between_are_no_outage(stage: Stage) -> None:
    in_training(stage)
    for _ in range(4):
        stage.cloud().fail("poll", provider_error(UnavailableError), times=2)
        for _ in range(3):
            stage.run()
    assert told(stage) == []


def test_a_provider_that_says_when_to_come_again_is_there(stage: Stage) -> None:
    in_training(stage)
    for _ in range(6):
        stage.cloud().fail("poll", UnavailableError("slow down", operation="poll", retry_after_s=5))
        stage.run()
        stage.clock.advance(seconds=6)
    assert told(stage) == []


def test_a_refusal_is_an_answer(stage: Stage) -> None:
    in_training(stage)
    stage.cloud().fail("poll", provider_error(RejectedError), times=6)
    for _ in range(6):
        stage.run()
    assert told(stage) == []


def test_doctor_shows_a_connection_whose_polling_stands_still(stage: Stage, tmp_path: Path) -> None:
    in_training(stage)
    stage.cloud().fail("poll", provider_error(UnauthorizedError))
    stage.run()
    registry = stage.registry

    def passed(name: str) -> list[CheckView]:
        return [CheckView(name="credential", passed=True, detail="accepted")]

    checks = doctor.examine(tmp_path, registry.tools, registry.reading, passed)
    (standing,) = [one for one in checks if one.name == "cloud: polling"]
    assert not standing.passed
    assert standing.detail == "stands still: the provider says UnauthorizedError"
