"""What goes wrong between the gateway and the provider, and what callers are told of it."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

import providers.ports
from providers.errors import ChatError, UnauthorizedError
from providers.ports import ServingTarget
from registry.gateway import Limits
from registry.reconciler import performing
from tests.gateway.conftest import Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX
from tests.gateway.upstream import Call, Held, Upstream, answer, events, refusing
from tests.stage import ANA, BOT, Stage

QUESTION: Any = [{"role": "user", "content": "Where is my order?"}]


def name_of(stage: Stage) -> str:
    return stage.deployments()[-1].name


async def hanging_up(call: Call) -> None:
    """Ends the connection without an answer: what a server that dies does."""
    call.send.__self__.transport.abort()  # pyright: ignore[reportFunctionMemberAccess] - uvicorn's own request


async def only_a_head(call: Call) -> None:
    """Says 200, and dies before the first byte of what it would have said."""
    await call.start(content_type="text/event-stream")
    await hanging_up(call)


def replicas(stage: Stage, door: Door) -> list[str]:
    """Two deployments of the active version; answers what the provider calls them."""
    ref = stage.active()
    stage.cloud().stranger("second", stage.cloud().deployments["srv-2"].artifact_id)
    stage.registry.commands.attach(ref, "second", ANA)
    door.follow()
    return [one.name for one in stage.deployments()]


@pytest.mark.parametrize("status", [400, 503])
def test_a_credential_that_a_provider_quotes_stays_here(
    stage: Stage, upstream: Upstream, door: Door, status: int
) -> None:
    stage.active()
    upstream.behave(name_of(stage), refusing(status, "Bearer quoted-credential-1 may not: Where is my order?"))
    with pytest.raises(openai.APIStatusError) as refused:
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)
    assert refused.value.status_code == status
    assert "quoted-credential-1" not in refused.value.response.text
    assert "[secret] may not: Where is my order?" in refused.value.response.text


@pytest.mark.parametrize("status", [400, 500, 503])
def test_a_failure_says_which_version_and_deployment_it_is_of(
    stage: Stage, upstream: Upstream, door: Door, status: int
) -> None:
    stage.active()
    upstream.behave(name_of(stage), refusing(status, "not now"))
    headers = door.ask(BOT).headers
    assert (headers["tenure-version"], headers["tenure-deployment"]) == ("bot@1", stage.deployments()[0].id)


def test_a_refusal_that_is_longer_than_such_answers_are_is_cut(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.active()
    upstream.behave(name_of(stage), refusing(400, "word " * 100_000))
    with pytest.raises(openai.BadRequestError) as refused:
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)
    assert len(refused.value.response.content) <= 100_000


def test_a_refusal_that_breaks_off_is_told_as_what_breaks_off(stage: Stage, upstream: Upstream, door: Door) -> None:
    async def half(call: Call) -> None:
        await call.start(400, content_length="100")
        await call.write(b'{"error": ')
        await hanging_up(call)

    stage.active()
    upstream.behave(name_of(stage), half)
    with pytest.raises(openai.InternalServerError) as broken:
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)
    assert broken.value.status_code == 502


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429])
def test_the_providers_own_4xx_are_handed_through(stage: Stage, upstream: Upstream, door: Door, status: int) -> None:
    stage.active()
    upstream.behave(name_of(stage), refusing(status, "their words", retry_after="7"))
    with pytest.raises(openai.APIStatusError) as refused:
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)
    assert refused.value.status_code == status
    assert refused.value.code == "their_code"
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.response.headers["tenure-version"] == "bot@1"


@pytest.mark.parametrize(("status", "told"), [(500, 502), (502, 502), (503, 503), (504, 504), (529, 502), (302, 502)])
def test_the_providers_5xx_are_502_503_or_504_with_its_words(
    stage: Stage, upstream: Upstream, door: Door, status: int, told: int
) -> None:
    stage.active()
    upstream.behave(name_of(stage), refusing(status, "their words", retry_after="7", location="http://elsewhere"))
    with pytest.raises(openai.InternalServerError, match=f"answered {status}: their words") as failed:
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)
    assert failed.value.status_code == told
    assert failed.value.code == "upstream_failed"
    assert failed.value.response.headers["retry-after"] == "7"
    assert "location" not in failed.value.response.headers


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"[1, 2]", b'{"detail": null}'])
def test_a_5xx_whose_body_is_no_error_of_openais_is_told_all_the_same(
    stage: Stage, upstream: Upstream, door: Door, body: bytes
) -> None:
    async def fail(call: Call) -> None:
        await call.reply(500, body, content_type="text/html")

    stage.active()
    upstream.behave(name_of(stage), fail)
    failed = door.ask(BOT)
    assert failed.status_code == 502
    assert failed.json()["error"]["message"].startswith("what serves this version answered 500")


def test_nobody_there_is_502(stage: Stage, upstream: Upstream, door: Door) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/chat/completions"
        stage.cloud().reached = lambda target: providers.ports.Upstream(url=url, model="m")
        stage.active()
        failed = door.ask(BOT)
    assert failed.status_code == 502
    assert failed.json()["error"]["code"] == "upstream_unreachable"


def test_a_provider_that_is_silent_too_long_is_504_and_not_asked_twice(
    stage: Stage, upstream: Upstream, open_door: OpenDoor
) -> None:
    door = open_door(Limits(silence_s_max=0.2))
    stage.active()
    held = Held()
    upstream.behave(name_of(stage), held)
    failed = door.ask(BOT)
    assert (failed.status_code, failed.json()["error"]["code"]) == (504, "upstream_timeout")
    assert len(upstream.calls) == 1
    assert held.call is not None
    assert held.call.gone.wait(WAIT_S_MAX)


def test_a_connection_that_breaks_without_an_answer_is_tried_once_more(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    async def once(call: Call) -> None:
        await (hanging_up(call) if len(upstream.calls) == 1 else answer(call))

    stage.active()
    upstream.behave(name_of(stage), once)
    assert door.ask(BOT).status_code == 200
    assert len(upstream.calls) == 2


@pytest.mark.parametrize("failing", [hanging_up, only_a_head])
def test_one_that_always_breaks_is_502_after_the_second_time(
    stage: Stage, upstream: Upstream, door: Door, failing: Any
) -> None:
    stage.active()
    upstream.behave(name_of(stage), failing)
    failed = door.ask(BOT)
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "upstream_broken")
    assert len(upstream.calls) == 2


@pytest.mark.parametrize("failing", [hanging_up, only_a_head, refusing(500), refusing(503)])
def test_another_replica_is_asked_before_the_first_byte(
    stage: Stage, upstream: Upstream, door: Door, failing: Any
) -> None:
    first, second = replicas(stage, door)
    upstream.behave(first, failing)
    for _ in range(3):
        answered = door.ask(BOT)
        assert answered.status_code == 200
        assert answered.headers["tenure-deployment"] == stage.deployments()[1].id
    assert upstream.models().count(second) == 3
    assert upstream.models().count(first) == 1, "one that has just failed is asked last"


def test_when_every_replica_fails_each_was_asked_once(stage: Stage, upstream: Upstream, door: Door) -> None:
    for name in replicas(stage, door):
        upstream.behave(name, refusing(503))
    assert door.ask(BOT).status_code == 503
    assert sorted(upstream.models()) == sorted(one.name for one in stage.deployments())


def test_the_less_busy_replica_is_asked(stage: Stage, upstream: Upstream, door: Door) -> None:
    held = Held()
    first, second = replicas(stage, door)
    upstream.behave(first, held)
    upstream.behave(second, answer)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(door.ask, BOT)
        assert held.arrived.wait(WAIT_S_MAX)
        for _ in range(3):
            assert door.ask(BOT).headers["tenure-deployment"] == stage.deployments()[1].id
        held.let_go()
        assert waiting.result(WAIT_S_MAX).status_code == 200


def test_a_4xx_is_an_answer_and_not_asked_for_elsewhere(stage: Stage, upstream: Upstream, door: Door) -> None:
    first, _ = replicas(stage, door)
    upstream.behave(first, refusing(400))
    assert door.ask(BOT).status_code == 400
    assert upstream.models() == [first]


def test_what_would_break_on_a_request_is_not_asked(stage: Stage, upstream: Upstream, door: Door) -> None:
    reached = stage.cloud().reached
    assert reached is not None
    body = {"error": {"message": "must be 1", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}}

    def check(request: Mapping[str, object]) -> None:
        if request.get("n"):
            raise ChatError("must be 1", status=400, body=body)

    def checking(target: ServingTarget) -> providers.ports.Upstream:
        found = reached(target)
        assert found is not None
        return dataclasses.replace(found, check=check)

    stage.cloud().reached = checking
    stage.active()
    refused = door.ask(BOT, n=2)
    assert (refused.status_code, refused.json()) == (400, body)
    assert upstream.calls == []
    assert door.ask(BOT).status_code == 200


def test_a_stream_that_breaks_between_two_events_says_so_in_the_stream(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    async def breaking(call: Call) -> None:
        await call.start(content_type="text/event-stream")
        await call.write(events("m")[0])
        await hanging_up(call)

    replicas(stage, door)
    for one in stage.deployments():
        upstream.behave(one.name, breaking)
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    next(chunks)
    with pytest.raises(openai.APIError, match="broke off"):
        next(chunks)
    assert len(upstream.calls) == 1, "after the first byte nobody else is asked"


@pytest.mark.parametrize("begun", [b'data: {"choi', b'{"choices": [{"mess'])
def test_an_answer_that_breaks_in_the_middle_is_never_taken_for_a_whole_one(
    stage: Stage, upstream: Upstream, door: Door, begun: bytes
) -> None:
    async def breaking(call: Call) -> None:
        await call.start(content_type="text/event-stream")
        await call.write(begun)
        await hanging_up(call)

    stage.active()
    upstream.behave(name_of(stage), breaking)
    with pytest.raises(httpx2.RemoteProtocolError):
        door.ask(BOT, stream=True)


def test_a_credential_that_is_missing_is_told_by_its_name_and_found_when_it_is_there(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    reached = stage.cloud().reached

    def missing(target: ServingTarget) -> providers.ports.Upstream:
        raise UnauthorizedError("the environment variable THE_KEY is not set", operation="connect")

    stage.cloud().reached = missing
    stage.active()
    failed = door.ask(BOT)
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "connection_failed")
    assert "THE_KEY" in failed.json()["error"]["message"]
    stage.cloud().reached = reached
    assert door.ask(BOT).status_code == 200


def test_a_credential_that_is_replaced_is_used_after_a_while_without_a_gap(
    stage: Stage, upstream: Upstream, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.gateway import backends

    stage.active()
    assert door.ask(BOT).status_code == 200
    monkeypatch.setattr(backends, "FRESH_S", 0.0)
    stage.cloud().reached = lambda target: providers.ports.Upstream(
        url=f"{upstream.url}/v1/chat/completions", model="m", headers={"authorization": "Bearer new"}
    )
    for _ in range(int(WAIT_S_MAX / 0.02)):
        assert door.ask(BOT).status_code == 200
        if upstream.calls[-1].headers["authorization"] == "Bearer new":
            return
        threading.Event().wait(0.02)
    pytest.fail("the old credential is still used")


# Queues


@pytest.fixture
def crowded(stage: Stage, upstream: Upstream, open_door: OpenDoor) -> Iterator[tuple[Door, Held]]:
    """One request at a time, one behind it; and one that holds the place until it is let go."""
    stage.active()
    held = Held()
    upstream.behave(name_of(stage), held)
    door = open_door(Limits(running_max=1, waiting_max=1, waiting_s_max=0.3))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(door.ask, BOT)
        assert held.arrived.wait(WAIT_S_MAX)
        yield door, held
        held.let_go()
        assert first.result(WAIT_S_MAX).status_code == 200


def test_what_waits_too_long_for_its_turn_is_503(crowded: tuple[Door, Held]) -> None:
    refused = crowded[0].ask(BOT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"


def test_what_waits_gets_its_turn(stage: Stage, upstream: Upstream, crowded: tuple[Door, Held]) -> None:
    door, held = crowded
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(door.ask, BOT)
        held.let_go()
        assert second.result(WAIT_S_MAX).status_code == 200
    assert len(upstream.calls) == 2


# Draining


def test_a_deployment_is_not_deleted_while_a_stream_runs_on_it(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.policy(superseded_grace="0s")
    stage.active()
    held = Held(begun=True)
    upstream.behave(name_of(stage), held)
    old = stage.deployments()[0].id
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    next(chunks)
    second = stage.trained()
    stage.activate(second)
    for _ in range(5):
        stage.run()
        stage.clock.advance(seconds=20)
    assert stage.state(second) == "active"
    assert stage.registry.reading.deployment(old).state == "deleting"
    assert stage.cloud().count("delete") == 0
    assert door.gateway.in_flight(old) == 1
    held.let_go()
    assert len(list(chunks)) == 5
    _until_drained(door, old)
    stage.settle()
    assert stage.registry.reading.deployment(old).state == "deleted"


def test_a_stream_that_never_ends_does_not_keep_what_is_billed_for_ever(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.policy(superseded_grace="0s")
    stage.active()
    held = Held(begun=True)
    upstream.behave(name_of(stage), held)
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    next(chunks)
    second = stage.trained()
    stage.activate(second)
    stage.run()
    assert stage.cloud().count("delete") == 0
    stage.clock.advance(seconds=performing.DRAIN_MAX.total_seconds())
    stage.settle()
    assert stage.cloud().count("delete") == 1
    held.let_go()
    list(chunks)


def _until_drained(door: Door, deployment: str) -> None:
    for _ in range(int(WAIT_S_MAX / 0.02)):
        if not door.gateway.in_flight(deployment):
            return
        threading.Event().wait(0.02)
    pytest.fail("requests are still counted as running")
