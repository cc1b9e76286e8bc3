"""The gateway's counts, on every log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from registry.application.ports import Usage
from tests.store.samples import START, Counting, Log, Ticking

HOUR = datetime(2026, 11, 22, 20, tzinfo=UTC)


def counted(version: int = 1, deployment: str | None = "dep_1", hour: datetime = HOUR, **counts: int) -> Usage:
    return Usage(
        model="support-bot",
        version=version,
        deployment=deployment,
        hour=hour,
        requests=counts.get("requests", 1),
        errors=counts.get("errors", 0),
        unmetered=counts.get("unmetered", 0),
        prompt_tokens=counts.get("prompt_tokens", 10),
        completion_tokens=counts.get("completion_tokens", 5),
        duration_s=0.25,
        last_used_at=hour + timedelta(minutes=counts.get("minute", 1)),
    )


def test_usage_of_the_same_hour_is_added_up(log: Log) -> None:
    log.record_usage([counted(), counted(errors=1, minute=7)])
    log.record_usage([counted(requests=3, minute=3)])
    log.record_usage([])
    (found,) = log.usage()
    assert (found.requests, found.errors, found.prompt_tokens, found.completion_tokens) == (5, 1, 30, 15)
    assert found.duration_s == 0.75
    assert found.last_used_at == HOUR + timedelta(minutes=7)
    assert found.hour == HOUR


def test_usage_is_kept_by_version_deployment_and_hour(log: Log) -> None:
    later = HOUR + timedelta(hours=1)
    log.record_usage([counted(hour=later), counted(version=2, deployment=None), counted(), counted(deployment="dep_2")])
    assert [(one.version, one.deployment, one.hour) for one in log.usage()] == [
        (1, "dep_1", HOUR),
        (1, "dep_2", HOUR),
        (2, None, HOUR),
        (1, "dep_1", later),
    ]
    assert [one.deployment for one in log.usage(model="support-bot", version=2)] == [None]
    assert list(log.usage(model="other")) == []
    assert [one.hour for one in log.usage(since=later)] == [later]
    assert len(log.usage(since=later - timedelta(seconds=1))) == 4


def test_the_last_use_of_a_deployment_is_the_newest_of_all_hours(log: Log) -> None:
    assert dict(log.last_used()) == {}
    log.record_usage([counted(hour=HOUR + timedelta(hours=1)), counted(minute=59), counted(deployment=None)])
    assert dict(log.last_used()) == {"dep_1": HOUR + timedelta(hours=1, minutes=1)}


def test_usage_is_no_event(log: Log) -> None:
    head = log.head()
    log.record_usage([counted()])
    assert log.head() == head


def test_usage_that_was_recorded_is_there_once_after_the_log_is_opened_again(home: Path) -> None:
    from registry.store.duckdb_log import open_log

    def opened() -> Log:
        clock = Ticking()
        clock.now = START
        return cast("Log", open_log(home, clock=clock, ids=Counting()))

    log = opened()
    log.record_usage([counted()])
    log.close()
    log = opened()
    log.record_usage([counted()])
    assert [one.requests for one in log.usage()] == [2]
    log.close()
    log = opened()
    assert [one.requests for one in log.usage()] == [2]
    log.close()
