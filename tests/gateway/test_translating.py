"""Where the provider speaks no OpenAI: its adapter translates, and callers notice nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import openai
import pytest

from providers.errors import ChatError, OutcomeUnknownError, ProviderError, UnauthorizedError, UnavailableError
from providers.ports import ChatChunk, ChatRequest, ServingTarget
from registry.domain.states import ConnectionState
from registry.gateway import Limits
from registry.gateway.translating import AHEAD_MAX
from tests.gateway.conftest import Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX
from tests.stage import BOT, Stage

QUESTION: Any = [{"role": "user", "content": "Where is my order?"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Woken(Iterator[ChatChunk]):
    """A stream that goes on, and finds itself closed, when it is interrupted."""

    def __init__(self, pieces: Iterator[ChatChunk], going_on: threading.Event) -> None:
        self._pieces = pieces
        self._going_on = going_on

    def __next__(self) -> ChatChunk:
        return next(self._pieces)

    def interrupt(self) -> None:
        self._going_on.set()


class Translator:
    """In the place of the fake provider's chat: says what it is told, and remembers what it was asked."""

    def __init__(self, stage: Stage) -> None:
        self.asked: list[ChatRequest] = []
        self.chunks: list[ChatChunk | ProviderError] = [_delta("Hel"), _delta("lo"), {"choices": [], "usage": USAGE}]
        self.pulled = 0
        self.interruptible = False
        self.closed = threading.Event()
        self.entered = threading.Event()
        self.going_on = threading.Event()
        self.going_on.set()
        doors: Any = stage.providers
        provider = doors.of(stage.registry.reading.connection_state("cloud"))
        provider.chat = self

        def of(connection: ConnectionState) -> object:
            return provider

        doors.of = of

    def upstream(self, target: ServingTarget) -> None:
        return None

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        self.asked.append(request)
        self.entered.set()
        assert self.going_on.wait(WAIT_S_MAX)
        if isinstance(self.chunks[0], ProviderError):
            raise self.chunks[0]
        message = {"role": "assistant", "content": "Hello"}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        pieces = self._pieces(request)
        return Woken(pieces, self.going_on) if self.interruptible else pieces

    def _pieces(self, request: ChatRequest) -> Generator[ChatChunk]:
        self.asked.append(request)
        try:
            self.entered.set()
            assert self.going_on.wait(WAIT_S_MAX)
            for chunk in self.chunks:
                if isinstance(chunk, ProviderError):
                    raise chunk
                self.pulled += 1
                yield chunk
        finally:
            self.closed.set()


def _delta(text: str) -> Mapping[str, object]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


@pytest.fixture
def translator(stage: Stage) -> Translator:
    stage.active()
    return Translator(stage)


@pytest.fixture
def door(open_door: OpenDoor, translator: Translator) -> Door:
    del translator
    return open_door()


def test_an_answer_is_translated_with_the_headers_of_every_answer(
    stage: Stage, translator: Translator, door: Door
) -> None:
    answer = door.openai.chat.completions.with_raw_response.create(model=BOT, messages=QUESTION, temperature=0.5)
    assert answer.parse().choices[0].message.content == "Hello"
    assert answer.headers["tenure-version"] == "bot@1"
    assert answer.headers["tenure-deployment"] == stage.deployments()[0].id
    assert translator.asked[0]["temperature"] == 0.5


def test_a_stream_is_translated_and_ends_as_openais_do(translator: Translator, door: Door) -> None:
    answer = door.ask(BOT, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert [json.loads(line) for line in lines[:-1]] == [_delta("Hel"), _delta("lo")]
    assert lines[-1] == "[DONE]"
    chunks = list(
        door.openai.chat.completions.create(
            model=BOT, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_a_stream_of_nothing_is_a_stream(translator: Translator, door: Door) -> None:
    translator.chunks = []
    assert door.ask(BOT, stream=True).text == "data: [DONE]\n\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ChatError("no tools", status=400, body={"error": {"code": "theirs"}}), 400, "theirs"),
        (ChatError("slow down", status=429, body={"error": {"code": "theirs"}}), 429, "theirs"),
        (ChatError("broken", status=500), 502, "upstream_failed"),
        (ChatError("busy", status=503), 503, "upstream_failed"),
        (UnavailableError("nobody there", operation="chat", retry_after_s=3), 503, "upstream_unavailable"),
        (OutcomeUnknownError("Read timeout on endpoint", operation="chat", code="timeout"), 504, "upstream_timeout"),
        (OutcomeUnknownError("https://bedrock-runtime broke off", operation="chat"), 502, "upstream_broken"),
        (UnauthorizedError("no credentials", operation="chat"), 502, "connection_failed"),
    ],
)
def test_errors_before_the_first_piece_have_their_status(
    translator: Translator, door: Door, stream: bool, error: ProviderError, status: int, code: str
) -> None:
    translator.chunks = [error]
    answer = door.ask(BOT, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("status", "told"), [(429, 429), (503, 503), (500, 502)])
def test_how_long_the_provider_asks_to_wait_is_told_to_the_caller(
    translator: Translator, door: Door, status: int, told: int
) -> None:
    translator.chunks = [ChatError("slow down", status=status, retry_after_s=6.6)]
    answer = door.ask(BOT)
    assert (answer.status_code, answer.headers["retry-after"]) == (told, "7")


def test_a_refusal_without_a_body_says_what_it_is(translator: Translator, door: Door) -> None:
    translator.chunks = [ChatError("too long", status=400)]
    with pytest.raises(openai.BadRequestError, match="too long"):
        door.openai.chat.completions.create(model=BOT, messages=QUESTION)


@pytest.mark.parametrize("error", [ChatError("gone", status=400), UnavailableError("gone", operation="chat")])
def test_an_error_after_the_first_piece_is_told_in_the_stream(
    translator: Translator, door: Door, error: ProviderError
) -> None:
    translator.chunks = [_delta("Hel"), error]
    chunks = iter(door.openai.chat.completions.create(model=BOT, messages=QUESTION, stream=True))
    assert next(chunks).choices[0].delta.content == "Hel"
    with pytest.raises(openai.APIError, match="broke off"):
        next(chunks)


def test_a_caller_that_goes_away_ends_the_providers_stream_at_its_next_piece(
    translator: Translator, door: Door
) -> None:
    translator.chunks = [_delta("x" * 1000)] * 1_000_000
    with door.http.stream("POST", "/v1/chat/completions", json={"model": BOT, "stream": True}) as answer:
        next(answer.iter_bytes())
    assert translator.closed.wait(WAIT_S_MAX)
    assert translator.pulled < 1_000_000


def test_a_caller_that_reads_slowly_holds_the_provider_back(translator: Translator, door: Door) -> None:
    translator.chunks = [_delta("x" * 10_000)] * 100_000
    with door.http.stream("POST", "/v1/chat/completions", json={"model": BOT, "stream": True}) as answer:
        assert answer.status_code == 200
        before = -1
        while before != translator.pulled:
            before = translator.pulled
            translator.closed.wait(0.3)
        assert AHEAD_MAX <= translator.pulled < 100_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_goes_away_while_the_provider_is_silent_leaves_its_place_taken_until_the_thread_ends(
    translator: Translator, open_door: OpenDoor, stream: bool
) -> None:
    door = open_door(Limits(running_max=1, waiting_s_max=0.1))
    translator.going_on.clear()
    host, port = door.url.removeprefix("http://").split(":")
    body = json.dumps({"model": BOT, "stream": stream}).encode()
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert translator.entered.wait(WAIT_S_MAX)
    for _ in range(3):
        assert door.ask(BOT).json()["error"]["code"] == "overloaded"
    assert len(translator.asked) == 1, "no second thread was begun"
    translator.going_on.set()
    for _ in range(int(WAIT_S_MAX / 0.02)):
        if door.ask(BOT).status_code == 200:
            return
        threading.Event().wait(0.02)
    pytest.fail("the place is never given back")


def test_a_silent_stream_that_can_be_interrupted_is_when_its_caller_goes_away(
    translator: Translator, door: Door
) -> None:
    translator.interruptible = True
    translator.going_on.clear()
    translator.chunks = [_delta("never told")]
    host, port = door.url.removeprefix("http://").split(":")
    body = json.dumps({"model": BOT, "stream": True}).encode()
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert translator.entered.wait(WAIT_S_MAX)
    assert translator.going_on.wait(WAIT_S_MAX)
    assert translator.closed.wait(WAIT_S_MAX)
