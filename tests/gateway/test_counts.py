"""What was handed through is counted: in the log's files in batches, for Prometheus at once."""

from __future__ import annotations

import threading
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry, generate_latest

from registry.application.ports import Usage
from registry.domain.errors import UnavailableError
from registry.gateway import Gateway, Limits
from tests.gateway.conftest import Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX, Front, Server
from tests.gateway.upstream import Upstream, refusing
from tests.stage import ANA, BOT, Stage

OFTEN = Limits(flush_s=0.02)


def recorded(stage: Stage, requests: int) -> list[Usage]:
    """By deployment, once so many requests are recorded."""
    for _ in range(int(WAIT_S_MAX / 0.02)):
        found = list(stage.log.usage())
        if sum(one.requests for one in found) >= requests:
            return found
        threading.Event().wait(0.02)
    raise AssertionError(f"{requests} requests were not recorded: {stage.log.usage()}")


def test_requests_tokens_and_times_are_recorded_by_version_and_deployment(
    stage: Stage, upstream: Upstream, open_door: OpenDoor
) -> None:
    stage.active()
    head = stage.log.head()
    door = open_door(OFTEN)
    door.ask(BOT)
    door.ask(BOT, stream=True, stream_options={"include_usage": True})
    door.ask(BOT, stream=True)
    upstream.behave(stage.deployments()[0].name, refusing(429))
    door.ask(BOT)
    (used,) = recorded(stage, 4)
    assert (used.model, used.version, used.deployment) == (BOT, 1, stage.deployments()[0].id)
    assert (used.requests, used.errors, used.unmetered) == (4, 1, 1)
    assert (used.prompt_tokens, used.completion_tokens) == (14, 11)
    assert used.duration_s > 0
    assert stage.log.last_used() == {used.deployment: used.last_used_at}
    assert stage.log.head() == head, "no event"


def test_what_was_counted_is_recorded_when_the_server_stops(stage: Stage, upstream: Upstream) -> None:
    stage.active()
    front = Front(Gateway(stage.registry, prometheus=CollectorRegistry()))
    with Server(front, lifespan=True) as server:
        httpx2.post(f"{server.url}/v1/chat/completions", json={"model": BOT}, trust_env=False)
        assert list(stage.log.usage()) == []
    assert [one.requests for one in stage.log.usage()] == [1]


def test_nothing_is_deleted_as_idle_that_was_called_a_moment_ago_and_is_not_recorded_yet(
    stage: Stage, upstream: Upstream
) -> None:
    """With `idle_delete` below an hour, by the calls through this gateway alone."""
    stage.policy(idle_delete="10m")
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    front = Front(Gateway(stage.registry, prometheus=CollectorRegistry()))
    with Server(front, lifespan=True) as server:
        stage.clock.advance(minutes=9)
        httpx2.post(f"{server.url}/v1/chat/completions", json={"model": str(ref)}, trust_env=False).raise_for_status()
        assert list(stage.log.usage()) == []
        stage.clock.advance(minutes=2)
        stage.settle()
        assert stage.states() == ["serving"]
        stage.clock.advance(minutes=9)
        stage.settle()
        assert stage.states() == ["deleted"]
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.clock.advance(minutes=11)
    stage.settle()
    assert stage.states()[-1] == "deleted", "also when the gateway has stopped"


def test_nothing_is_deleted_as_idle_while_calls_cannot_be_recorded(
    stage: Stage, upstream: Upstream, monkeypatch: Any
) -> None:
    stage.policy(idle_delete="10m")
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    record = stage.log.record_usage

    def refuse(_: Any) -> None:
        raise UnavailableError("the disk is full")

    monkeypatch.setattr(stage.log, "record_usage", refuse)
    with Server(Front(Gateway(stage.registry, prometheus=CollectorRegistry())), lifespan=True) as server:
        stage.clock.advance(minutes=9)
        httpx2.post(f"{server.url}/v1/chat/completions", json={"model": str(ref)}, trust_env=False).raise_for_status()
        stage.clock.advance(minutes=2)
        stage.run()
        assert stage.states() == ["serving"]
        monkeypatch.setattr(stage.log, "record_usage", record)
        stage.settle()
        assert stage.states() == ["serving"], "it was called two minutes ago"
        stage.clock.advance(minutes=9)
        stage.settle()
        assert stage.states() == ["deleted"]


def test_what_cannot_be_recorded_now_is_recorded_later(
    stage: Stage, upstream: Upstream, open_door: OpenDoor, monkeypatch: Any
) -> None:
    stage.active()
    refused = threading.Semaphore(0)
    record = stage.log.record_usage
    left = [2]

    def recording(usage: Any) -> None:
        if left[0]:
            left[0] -= 1
            refused.release()
            raise UnavailableError("the disk is full")
        record(usage)

    monkeypatch.setattr(stage.log, "record_usage", recording)
    door = open_door(OFTEN)
    door.ask(BOT)
    assert refused.acquire(timeout=WAIT_S_MAX)
    door.ask(BOT)
    assert sum(one.requests for one in recorded(stage, 2)) == 2


def test_prometheus_sees_statuses_tokens_and_seconds_and_no_prompt(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.active()
    door.ask(BOT)
    door.ask("no-such-bot")
    text = generate_latest(door.prometheus).decode()
    assert 'tenure_gateway_requests_total{status="200",version="bot@1"} 1.0' in text
    assert 'tenure_gateway_tokens_total{kind="completion",version="bot@1"} 5.0' in text
    assert 'tenure_gateway_seconds_count{version="bot@1"} 1.0' in text
    assert 'tenure_gateway_refusals_total{code="model_not_found"} 1.0' in text
    assert "no-such-bot" not in text
    assert "order" not in text
