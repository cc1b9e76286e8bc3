"""Losses whose files show only some time after the job has ended."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from providers.errors import RejectedError, UnavailableError
from providers.ports import MetricPoint
from registry.application.views import StepView
from registry.domain.ids import VersionRef
from tests.fakes import provider_error
from tests.stage import Stage

POINTS = [MetricPoint(step=step, metrics={"train_loss": 3.0 - step}) for step in (1, 2)]


def trained_without_losses(stage: Stage, **changes: object) -> VersionRef:
    stage.cloud().fail("metrics", provider_error(RejectedError), times=100)
    ref = stage.trained(**changes)  # pyright: ignore[reportArgumentType] - the caller knows the fields
    assert curve(stage, ref) == []
    del stage.cloud().faults["metrics"]
    return ref


def curve(stage: Stage, ref: VersionRef) -> list[tuple[str, int, float]]:
    return [(one.name, one.step, one.value) for one in stage.registry.reading.metrics(ref)]


def show(stage: Stage, points: list[MetricPoint]) -> None:
    (job,) = stage.cloud().jobs.values()
    job.points = list(points)


def sweep(stage: Stage) -> list[StepView]:
    return stage.registry.reconciler.run(sweep=True)


def test_losses_that_show_after_the_job_has_ended_are_read_by_the_sweep_also_by_another_process(stage: Stage) -> None:
    ref = trained_without_losses(stage)
    stage.restart()
    show(stage, POINTS)
    sweep(stage)
    assert curve(stage, ref) == [("train_loss", 1, 2.0), ("train_loss", 2, 1.0)]


def test_losses_of_the_validation_set_that_show_later_are_read_too_and_nothing_is_asked_once_all_are_there(
    stage: Stage,
) -> None:
    data = replace(stage.wanted().data, validation=stage.train)
    ref = trained_without_losses(stage, data=data)
    show(stage, POINTS)
    sweep(stage)
    show(stage, [replace(one, metrics={**one.metrics, "valid_loss": 2.5}) for one in POINTS])
    sweep(stage)
    whole = [("train_loss", 1, 2.0), ("train_loss", 2, 1.0), ("valid_loss", 1, 2.5), ("valid_loss", 2, 2.5)]
    assert curve(stage, ref) == whole
    show(stage, [MetricPoint(step=9, metrics={"train_loss": 9.0})])
    sweep(stage)
    assert curve(stage, ref) == whole


def test_losses_are_looked_for_during_an_hour_and_what_keeps_them_from_being_read_keeps_no_sweep(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    ref = trained_without_losses(stage)
    show(stage, POINTS)
    stage.cloud().fail("metrics", provider_error(UnavailableError))
    with caplog.at_level(logging.WARNING):
        assert not [one for one in sweep(stage) if one.outcome == "failed"]
    assert "bot@1: its losses cannot be read" in caplog.text
    stage.clock.advance(minutes=61)
    sweep(stage)
    assert curve(stage, ref) == []
