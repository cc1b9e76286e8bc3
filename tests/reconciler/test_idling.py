"""Idle standbys of a provider that counts calls itself: nothing goes that somebody called past this registry."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError, UnauthorizedError, UnavailableError
from registry.application.ports import DeploymentQuery, Usage
from tests.cloud import Deployed
from tests.fakes import provider_error
from tests.stage import ANA, BOT, Stage

LAG = timedelta(minutes=15)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.policy(idle_delete="7d")
    cloud = stage.cloud()
    cloud.capabilities = replace(cloud.capabilities, use_lag=LAG)
    return stage


def standby(stage: Stage) -> Deployed:
    stage.registry.commands.deploy(stage.trained(), ANA)
    stage.settle()
    return list(stage.cloud().deployments.values())[-1]


def attached(stage: Stage) -> Deployed:
    ref = stage.trained()
    theirs = stage.cloud().stranger("prod", f"ft:tenure-test12-{BOT}-{ref.number}-1")
    stage.registry.commands.attach(ref, "prod", ANA)
    stage.settle()
    return theirs


def sweep(stage: Stage, **span: float) -> None:
    stage.clock.advance(**span)
    stage.registry.reconciler.run(sweep=True)
    stage.settle()


def test_a_standby_that_somebody_calls_past_this_registry_stays(stage: Stage) -> None:
    one = standby(stage)
    for _ in range(3):
        sweep(stage, days=5)
        one.last_used_at = stage.clock.time
    sweep(stage, days=4)
    assert stage.states() == ["serving"]
    sweep(stage, days=4)
    assert stage.states() == ["deleted"]


def test_an_attached_standby_that_nobody_called_since_is_idle(stage: Stage) -> None:
    attached(stage)
    sweep(stage, days=6)
    assert stage.states() == ["serving"]
    sweep(stage, days=2)
    assert stage.states() == ["deleted"]
    asked = next(one for one in stage.history(f"{BOT}@1") if one.type == "deployment-deletion-requested")
    assert asked.actor == "policy:delete-idle"


def test_an_attached_standby_that_somebody_called_is_idle_so_long_after_the_last_call(stage: Stage) -> None:
    one = attached(stage)
    stage.clock.advance(days=6)
    one.last_used_at = stage.clock.time
    sweep(stage, days=2)
    assert stage.states() == ["serving"]
    sweep(stage, days=5, minutes=14)
    assert stage.states() == ["serving"], "a call of the last minutes may not be counted yet"
    sweep(stage, minutes=1)
    assert stage.states() == ["deleted"]


def test_nothing_is_deleted_as_idle_before_the_sweep_has_asked(stage: Stage) -> None:
    one = standby(stage)
    stage.clock.advance(days=7, hours=23)
    one.last_used_at = stage.clock.time
    stage.let_pass(hours=1)
    assert stage.states() == ["serving"]
    views = [view for view in stage.registry.reconciler.run() if view.detail]
    assert "the sweep asks" in str(views)
    sweep(stage)
    assert stage.states() == ["serving"]


def test_nobody_is_asked_before_the_last_call_that_matters_would_be_counted(stage: Stage) -> None:
    one = standby(stage)
    stage.clock.advance(days=6, hours=23, minutes=58)
    one.last_used_at = stage.clock.time
    sweep(stage, minutes=5)
    assert (stage.states(), stage.cloud().count("last-used")) == (["serving"], 0), "too early to be counted, and to ask"
    sweep(stage, minutes=15)
    assert (stage.states(), stage.cloud().count("last-used")) == (["serving"], 1)


def test_an_answer_holds_for_the_moments_that_were_counted_by_then(stage: Stage) -> None:
    one = standby(stage)
    stage.clock.advance(minutes=10)
    one.last_used_at = stage.clock.time
    sweep(stage, days=7, minutes=10)
    assert (stage.states(), stage.cloud().count("last-used")) == (["serving"], 1), "seven days less five minutes"
    sweep(stage, minutes=6)
    assert stage.states() == ["deleted"]


def test_providers_are_asked_for_all_at_once_and_only_when_nothing_else_keeps_a_standby(stage: Stage) -> None:
    for _ in range(3):
        standby(stage)
    for _ in range(6):
        sweep(stage, days=1)
    assert stage.cloud().count("last-used") == 0
    for one in stage.cloud().deployments.values():
        one.last_used_at = stage.clock.time
    for _ in range(6):
        sweep(stage, days=1)
    assert stage.cloud().count("last-used") == 1
    assert stage.states() == ["serving"] * 3


def test_active_and_unlimited_ones_are_not_asked_about(stage: Stage) -> None:
    stage.active()
    sweep(stage, days=8)
    stage.policy(idle_delete=None)
    standby(stage)
    sweep(stage, days=8)
    assert stage.cloud().count("last-used") == 0


def test_metrics_tell_hours_so_a_shorter_limit_goes_by_the_calls_of_this_registry_alone(stage: Stage) -> None:
    stage.policy(idle_delete="30m")
    standby(stage)
    stage.let_pass(minutes=31)
    assert (stage.states(), stage.cloud().count("last-used")) == (["deleted"], 0)
    attached(stage)
    sweep(stage, days=30)
    assert (stage.states()[-1], stage.cloud().count("last-used")) == ("serving", 0)


@pytest.mark.parametrize("kind", [UnauthorizedError, RejectedError])
def test_where_metrics_may_not_be_read_an_attached_one_is_never_idle_and_it_is_said_once(
    stage: Stage, caplog: pytest.LogCaptureFixture, kind: type[ProviderError]
) -> None:
    theirs = attached(stage)
    stage.cloud().fail("last-used", provider_error(kind), times=9)
    with caplog.at_level(logging.WARNING, logger="tenure.reconciler"):
        for _ in range(4):
            sweep(stage, days=7)
    assert stage.states() == ["serving"]
    assert len([record for record in caplog.records if "is never idle" in record.message]) == 1
    assert theirs.id in stage.cloud().deployments


def test_one_call_through_this_registry_does_not_say_that_nobody_else_calls(stage: Stage) -> None:
    attached(stage)
    one = stage.log.deployments(DeploymentQuery())[-1]
    now = stage.clock.time
    hour = now.replace(minute=0, second=0, microsecond=0)
    stage.log.record_usage([Usage(model=BOT, version=1, deployment=one.id, hour=hour, requests=1, last_used_at=now)])
    stage.cloud().fail("last-used", provider_error(UnauthorizedError), times=9)
    for _ in range(4):
        sweep(stage, days=7)
    assert stage.states() == ["serving"]
    stage.cloud().faults.clear()
    sweep(stage)
    assert stage.states() == ["deleted"]


def test_where_metrics_may_not_be_read_a_standby_of_ours_is_idle_by_the_calls_of_this_registry(stage: Stage) -> None:
    standby(stage)
    stage.cloud().fail("last-used", provider_error(UnauthorizedError), times=9)
    sweep(stage, days=8)
    assert stage.states() == ["deleted"]


@pytest.mark.parametrize("kind", [UnavailableError, OutcomeUnknownError])
def test_while_metrics_cannot_be_read_nobody_is_idle_and_the_sweep_goes_on(
    stage: Stage, kind: type[ProviderError]
) -> None:
    standby(stage)
    stage.cloud().stranger("another", "ft:else")
    stage.cloud().fail("last-used", provider_error(kind), times=2)
    sweep(stage, days=8)
    assert stage.states() == ["serving"]
    assert [one.name for one in stage.registry.reading.connection_state("cloud").foreign] == ["another"]
    sweep(stage, days=8)
    assert stage.states() == ["serving"]
    sweep(stage, hours=1)
    assert stage.states() == ["deleted"]


def test_nothing_is_deleted_as_idle_while_requests_run_or_are_not_counted_yet(stage: Stage) -> None:
    standby(stage)
    running, written = [1], [True]
    stage.registry.reconciler.ask_before_deleting(lambda _: running[0], lambda: written[0])
    sweep(stage, days=8)
    assert stage.states() == ["serving"]
    running[0], written[0] = 0, False
    sweep(stage, hours=1)
    assert stage.states() == ["serving"]
    written[0] = True
    sweep(stage, hours=1)
    assert stage.states() == ["deleted"]


def test_a_registry_that_starts_again_asks_again(stage: Stage) -> None:
    one = attached(stage)
    stage.clock.advance(days=6)
    one.last_used_at = stage.clock.time
    sweep(stage, days=2)
    stage.restart()
    stage.let_pass(days=2)
    sweep(stage)
    assert stage.states() == ["serving"]
    sweep(stage, days=4)
    assert stage.states() == ["deleted"]
