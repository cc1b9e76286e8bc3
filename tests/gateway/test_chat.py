"""Chats through OpenAI's own client: what is asked and answered passes as it is."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from registry.application.access import Grant, Principal
from tests.gateway.conftest import SECRET, Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX
from tests.gateway.upstream import WORDS, Held, Upstream, completion, events
from tests.stage import BOT, Stage

QUESTION: Any = [{"role": "user", "content": "Where is my order?"}]


def named(stage: Stage) -> list[str]:
    """What the provider calls the deployments, oldest first."""
    return [one.name for one in stage.deployments()]


def test_a_model_is_answered_by_its_active_version_and_the_answer_says_by_which(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.active()
    answer = door.openai.chat.completions.with_raw_response.create(model=BOT, messages=QUESTION)
    assert answer.http_response.content == completion(named(stage)[0])
    assert answer.headers["tenure-version"] == "bot@1"
    assert answer.headers["tenure-deployment"] == stage.deployments()[0].id
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["tenure-upstream-request-id"] == "req_up"
    assert answer.parse().usage is not None
    assert upstream.models() == named(stage)


def test_everything_that_is_asked_is_handed_through_byte_for_byte_but_the_name(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.active()
    asked = (
        '{"messages": [{"role":"user","content":"naïve — model\\n"}], "model" : "bot", "of_tomorrow": [1.0, 1e400],'
        ' "tools": [{"type":"function","function":{"name":"look","parameters":{}}}], "seed": 123456789012345678901}'
    )
    answer = door.http.post("/v1/chat/completions", content=asked.encode())
    assert answer.status_code == 200
    assert upstream.calls[0].body == asked.replace('"bot"', f'"{named(stage)[0]}"').encode()


def test_the_callers_credential_stays_here_and_the_connections_goes_out(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.active()
    door.http.post(
        "/v1/chat/completions",
        json={"model": BOT, "messages": []},
        headers={"authorization": "Bearer callers", "cookie": "a=b", "traceparent": "00-1-2-01", "x-secret": "y"},
    )
    seen = upstream.calls[0].headers
    assert seen["authorization"] == f"Bearer {SECRET}"
    assert seen["traceparent"] == "00-1-2-01"
    assert not {"cookie", "x-secret"} & seen.keys()


def test_a_stream_is_passed_on_byte_for_byte(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.active()
    answer = door.ask(BOT, stream=True)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.content == b"".join(events(named(stage)[0]))
    chunks = list(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(WORDS)


def test_the_first_piece_of_a_stream_comes_before_the_second_exists(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    stage.active()
    held = Held(begun=True)
    upstream.behave(named(stage)[0], held)
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    assert next(chunks).choices[0].delta.content == WORDS[0]
    held.let_go()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(WORDS[1:])


def test_a_version_can_be_asked_for_by_its_number(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.policy(superseded="keep")
    stage.active()
    stage.active()
    assert door.ask("bot@1").headers["tenure-version"] == "bot@1"
    assert door.ask("bot@2").headers["tenure-version"] == "bot@2"
    assert door.ask(BOT).headers["tenure-version"] == "bot@2"


def test_the_active_version_is_followed_as_it_changes(stage: Stage, upstream: Upstream, door: Door) -> None:
    first = stage.active()
    assert door.ask(BOT).headers["tenure-version"] == "bot@1"
    stage.active()
    door.follow()
    assert door.ask(BOT).headers["tenure-version"] == "bot@2"
    stage.activate(first)
    stage.settle()
    door.follow()
    assert door.ask(BOT).headers["tenure-version"] == "bot@1"


def test_a_tuned_model_that_serves_as_it_is_needs_no_deployment(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.active(connection="alone")
    answer = door.ask(BOT)
    assert answer.status_code == 200
    assert answer.headers["tenure-version"] == "bot@1"
    assert "tenure-deployment" not in answer.headers
    assert door.ask("bot@1").status_code == 200


def test_models_lists_each_model_and_every_version_that_is_served(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.policy(superseded="keep")
    stage.active()
    stage.active()
    stage.trained()
    stage.trained("other-bot")
    door.follow()
    assert [one.id for one in door.openai.models.list()] == [BOT, "bot@1", "bot@2"]
    one = door.openai.models.retrieve("bot@2")
    assert (one.id, one.object, one.owned_by) == ("bot@2", "model", "tenure")
    assert one.created > 0
    with pytest.raises(openai.ConflictError, match="nothing serves bot@3"):
        door.openai.models.retrieve("bot@3")


def test_what_does_not_exist_is_404_and_what_nothing_serves_409(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.trained()
    for name in ("no-such-bot", "bot@9", "bot@0", "BOT", "bot@x"):
        with pytest.raises(openai.NotFoundError) as unknown:
            door.openai.chat.completions.create(model=name, messages=QUESTION)
        assert unknown.value.code == "model_not_found", name
        assert str(unknown.value).count(name) == 1, "said once, in our words"
    for name in (BOT, "bot@1"):
        with pytest.raises(openai.ConflictError) as unserved:
            door.openai.chat.completions.create(model=name, messages=QUESTION)
        assert unserved.value.code == "not_served"
        assert unserved.value.response.headers["x-should-retry"] == "false"
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"\xff\xfe\xff", "invalid_json"),
        (b"{}", "missing_model"),
        (b'{"model": 3}', "missing_model"),
        (b'{"model": ""}', "missing_model"),
    ],
)
def test_a_body_that_makes_no_sense_is_400(door: Door, body: bytes, code: str) -> None:
    answer = door.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code


def test_other_paths_and_methods_are_refused_in_openais_shape(door: Door) -> None:
    for method, path, status in (
        ("POST", "/v1/responses", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
    ):
        answer = door.http.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_whoever_may_chat_with_one_model_may_not_with_another_nor_learn_of_it(
    stage: Stage, upstream: Upstream, open_door: OpenDoor
) -> None:
    stage.active()
    stage.active("other-bot")
    door = open_door(principal=Principal(actor="user:eve", grants=frozenset({Grant("user", BOT), Grant("viewer")})))
    assert door.ask(BOT).status_code == 200
    assert [one.id for one in door.openai.models.list()] == [BOT, "bot@1"]
    for name in ("other-bot", "other-bot@1", "no-such-bot"):
        with pytest.raises(openai.PermissionDeniedError):
            door.openai.chat.completions.create(model=name, messages=QUESTION)
        with pytest.raises(openai.PermissionDeniedError):
            door.openai.models.retrieve(name)


def test_a_caller_that_goes_away_ends_the_request_at_the_provider(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.active()
    held = Held(begun=True)
    upstream.behave(named(stage)[0], held)
    stream = door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    assert held.call is not None
    assert held.call.gone.wait(WAIT_S_MAX)


def test_a_caller_that_goes_away_before_the_first_byte_ends_it_too(
    stage: Stage, upstream: Upstream, door: Door
) -> None:
    import socket

    stage.active()
    held = Held()
    upstream.behave(named(stage)[0], held)
    host, port = door.url.removeprefix("http://").split(":")
    body = json.dumps({"model": BOT, "messages": QUESTION}).encode()
    with socket.create_connection((host, int(port))) as caller:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        assert held.arrived.wait(WAIT_S_MAX)
    assert held.call is not None
    assert held.call.gone.wait(WAIT_S_MAX)


def test_a_caller_that_reads_slowly_holds_the_provider_back(stage: Stage, upstream: Upstream, door: Door) -> None:
    """What is in between does not grow with the answer: far less than all of it is taken from the provider."""
    import threading

    from tests.gateway.upstream import Call

    stage.active()
    written: list[int] = []
    stuck = threading.Event()
    piece = b"data: " + b"x" * 65_536 + b"\n\n"

    async def flood(call: Call) -> None:
        import asyncio

        await call.start(content_type="text/event-stream")
        for _ in range(2_000):
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(call.write(piece))), 0.5)
            except TimeoutError:
                stuck.set()
                await call.leaving()
                return
            written.append(len(piece))

    upstream.behave(named(stage)[0], flood)
    with door.http.stream("POST", "/v1/chat/completions", json={"model": BOT, "stream": True}) as answer:
        assert answer.status_code == 200
        assert stuck.wait(WAIT_S_MAX)
    assert sum(written) < 50_000_000
