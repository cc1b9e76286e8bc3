"""A real server process in front of all four providers, and OpenAI's own client in front of that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
import psutil
import pydantic
import pytest

import registry
from providers.huggingface.process import PID_FILE
from providers.rehearsal import Pace, Rehearsal, faults
from tests.providers.huggingface.stand_in import make_model

QUESTION: Any = [{"role": "user", "content": "Where is my order?"}]
AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
BASES = {
    "rehearsal-openai": "gpt-4.1-mini-2025-04-14",
    "rehearsal-azure": "gpt-4.1-2025-04-14",
    "rehearsal-aws": "amazon.nova-lite-v1:0:300k",
    "local": "tiny",
}
STAND_IN = Path(__file__).parents[1] / "providers" / "huggingface" / "stand_in.py"


@dataclass(frozen=True, slots=True)
class Serving:
    """A server process with one active version per provider: `bot-openai`, `bot-azure`, `bot-aws`, `bot-local`."""

    url: str
    client: openai.OpenAI
    process: subprocess.Popen[str]
    errors: Path
    rehearsal: Rehearsal


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("gateway")
    with Rehearsal(speed=0.0, pace=AT_ONCE) as rehearsal, pytest.MonkeyPatch.context() as patch:
        for name, value in rehearsal.environment().items():
            patch.setenv(name, value)
        try:
            _prepare(home, rehearsal)
            with _served(home, rehearsal) as serving:
                yield serving
        finally:
            for file in home.rglob(PID_FILE):
                with contextlib.suppress(psutil.Error, ValueError):
                    psutil.Process(int(file.read_text())).kill()


def _prepare(home: Path, rehearsal: Rehearsal) -> None:
    interpreter = home / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(STAND_IN)])} "$@"\n')
    interpreter.chmod(0o755)
    make_model(home / "models" / "tiny")
    train = home / "train.csv"
    train.write_text("prompt,completion\n" + "".join(f"question {row},answer {row}\n" for row in range(12)))
    local = {"provider": "huggingface", "models": str(home / "models"), "python": str(interpreter), "device": "cpu"}
    connections = {**rehearsal.connections(), "local": local}
    with registry.open(home, background=False) as tenure:
        tenure.apply({"connections": connections, "scheduler": {"poll": "20ms"}})
        for connection, base in BASES.items():
            version = tenure.fine_tune(
                f"bot-{connection.removeprefix('rehearsal-')}",
                connection=connection,
                base_model=base,
                train=train,
                activate=True,
            )
            tenure.wait(version, until=frozenset({"active"}), timeout_s=60)


@contextlib.contextmanager
def _served(home: Path, rehearsal: Rehearsal) -> Generator[Serving]:
    command = [str(Path(sys.executable).with_name("tenure")), "serve", "--port", "0"]
    environment = {**os.environ, "TENURE_HOME": str(home)}
    errors = home / "stderr.txt"
    with (
        errors.open("w") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("Tenure serves http"), errors.read_text()
            url = said.split()[-1]
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
                yield Serving(url, client, process, errors, rehearsal)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.mark.parametrize("provider", ["openai", "azure", "aws", "local"])
def test_openais_client_talks_to_every_provider(serving: Serving, provider: str) -> None:
    model = f"bot-{provider}"
    answer = serving.client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    assert answer.parse().choices[0].message.content
    assert answer.headers["tenure-version"] == f"{model}@1"
    assert ("tenure-deployment" in answer.headers) == (provider != "openai")
    chunks = list(serving.client.chat.completions.create(model=f"{model}@1", messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_models_are_listed_with_their_versions(serving: Serving) -> None:
    listed = [one.id for one in serving.client.models.list()]
    assert listed == sorted(
        name for kind in ("aws", "azure", "local", "openai") for name in (f"bot-{kind}", f"bot-{kind}@1")
    )


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_the_providers_refusal_is_handed_through(serving: Serving, provider: str) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        serving.client.chat.completions.create(model=f"bot-{provider}", messages=QUESTION, temperature=9.0)


def test_what_was_handed_through_is_in_the_metrics_and_no_question_in_the_log(serving: Serving) -> None:
    serving.client.chat.completions.create(model="bot-openai", messages=QUESTION)
    text = httpx2.get(f"{serving.url}/metrics", trust_env=False).text
    assert 'tenure_gateway_requests_total{status="200",version="bot-openai@1"}' in text
    assert "Where is my order" not in serving.errors.read_text()


def test_the_gateway_writes_no_event(serving: Serving) -> None:
    def head() -> int:
        found = httpx2.get(f"{serving.url}/api/v1/events?limit=1000", trust_env=False).json()
        return json.loads(json.dumps(found))["items"][-1]["position"]

    before = head()
    for _ in range(20):
        serving.client.chat.completions.create(model="bot-azure", messages=QUESTION)
    assert head() == before


# Tools, forms, and everything else of a chat


CLOUDS = pytest.mark.parametrize("model", ["bot-openai", "bot-azure", "bot-aws"])


class LookUp(pydantic.BaseModel):
    """Finds an order."""

    order: str
    quantity: int


class Status(pydantic.BaseModel):
    state: Literal["sent", "lost"]
    parcels: list[LookUp]


TOOLS: Any = [openai.pydantic_function_tool(LookUp, name="look_up"), {"type": "function", "function": {"name": "ping"}}]
USE_BOTH: Any = {"role": "user", "content": "look_up the order, and ping"}


@CLOUDS
def test_tools_are_called_answered_and_answered_about(serving: Serving, model: str) -> None:
    first = serving.client.chat.completions.create(model=model, messages=[USE_BOTH], tools=TOOLS)
    assert first.choices[0].finish_reason == "tool_calls"
    called: list[Any] = first.choices[0].message.tool_calls or []
    assert [one.function.name for one in called] == ["look_up", "ping"]
    assert LookUp.model_validate_json(called[0].function.arguments).quantity == 1
    assert json.loads(called[1].function.arguments) == {}
    told: Any = [{"role": "tool", "tool_call_id": one.id, "content": f"{one.function.name}: here"} for one in called]
    history: Any = [USE_BOTH, first.choices[0].message, *told]
    after = serving.client.chat.completions.create(model=model, messages=history, tools=TOOLS)
    assert after.choices[0].finish_reason == "stop"
    assert "here" in (after.choices[0].message.content or "")


@CLOUDS
def test_a_tool_can_be_forced(serving: Serving, model: str) -> None:
    for choice, name in (("required", "look_up"), ({"type": "function", "function": {"name": "ping"}}, "ping")):
        wanted: Any = choice
        said = serving.client.chat.completions.create(model=model, messages=QUESTION, tools=TOOLS, tool_choice=wanted)
        called: list[Any] = said.choices[0].message.tool_calls or []
        assert [one.function.name for one in called] == [name]


@CLOUDS
def test_calls_of_tools_are_streamed(serving: Serving, model: str) -> None:
    with serving.client.chat.completions.stream(model=model, messages=[USE_BOTH], tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    called = final.choices[0].message.tool_calls or []
    assert [one.function.name for one in called] == ["look_up", "ping"]
    assert called[0].function.parsed_arguments == LookUp(order="rehearsal", quantity=1)
    assert final.choices[0].finish_reason == "tool_calls"


@CLOUDS
def test_an_answer_of_a_certain_form_is_parsed(serving: Serving, model: str) -> None:
    wanted = Status(state="sent", parcels=[LookUp(order="rehearsal", quantity=1)])
    said = serving.client.chat.completions.parse(model=model, messages=QUESTION, response_format=Status)
    assert said.choices[0].message.parsed == wanted
    assert said.choices[0].finish_reason == "stop"
    with serving.client.chat.completions.stream(model=model, messages=QUESTION, response_format=Status) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == wanted


@CLOUDS
def test_lengths_stops_and_tokens(serving: Serving, model: str) -> None:
    create = serving.client.chat.completions.create
    cut = create(model=model, messages=QUESTION, max_completion_tokens=2)
    assert (cut.choices[0].finish_reason, len((cut.choices[0].message.content or "").split())) == ("length", 2)
    assert cut.usage is not None
    assert cut.usage.total_tokens == cut.usage.prompt_tokens + cut.usage.completion_tokens
    stopped = create(model=model, messages=QUESTION, stop=["was asked"], temperature=0.2, top_p=0.9)
    assert "Where" not in (stopped.choices[0].message.content or "")
    counted = list(create(model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}))
    assert counted[-1].usage is not None
    assert counted[-1].choices == []
    assert [one.usage for one in create(model=model, messages=QUESTION, stream=True) if one.usage] == []


@pytest.mark.parametrize("model", ["bot-openai", "bot-azure"])
def test_what_openais_api_can_do_and_converse_cannot_is_handed_through(serving: Serving, model: str) -> None:
    said = serving.client.chat.completions.create(model=model, messages=QUESTION, n=3, logprobs=True)
    assert [one.index for one in said.choices] == [0, 1, 2]
    assert said.choices[0].logprobs is not None
    assert said.choices[0].logprobs.content


def test_what_bedrock_cannot_do_is_refused_by_its_name(serving: Serving) -> None:
    create: Any = serving.client.chat.completions.create
    for name, value in (("n", 3), ("logprobs", True), ("response_format", {"type": "json_object"})):
        with pytest.raises(openai.BadRequestError, match=name) as refused:
            create(model="bot-aws", messages=QUESTION, **{name: value})
        assert refused.value.param == name


def test_pictures_reach_bedrock_as_data_and_no_address_is_fetched(serving: Serving) -> None:
    def shown(url: str) -> Any:
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    create = serving.client.chat.completions.create
    said = create(model="bot-aws", messages=shown("data:image/png;base64,iVBORw0KGgo="))
    assert "[png of 8 bytes]" in (said.choices[0].message.content or "")
    with pytest.raises(openai.BadRequestError, match="not fetched"):
        create(model="bot-aws", messages=shown(f"{serving.url}/healthz"))


def test_a_local_server_is_asked_as_it_was_asked(serving: Serving) -> None:
    asked: Any = {"tools": TOOLS, "tool_choice": "auto", "response_format": {"type": "json_object"}, "seed": 7}
    create: Any = serving.client.chat.completions.create
    echo = [{"role": "user", "content": "echo"}]
    said: Any = create(model="bot-local", messages=echo, extra_body={"of_tomorrow": [1]}, **asked)
    seen = json.loads(said.choices[0].message.content or "")
    assert {name: seen[name] for name in (*asked, "of_tomorrow")} == {**asked, "of_tomorrow": [1]}


# Errors


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.throttled(), openai.RateLimitError),
        (faults.forbidden(), openai.PermissionDeniedError),
        (faults.server_error(500), openai.InternalServerError),
        (faults.server_error(503), openai.InternalServerError),
        (faults.reset(after_effect=True), openai.InternalServerError),
    ],
)
@pytest.mark.parametrize(
    ("model", "operation"),
    [("bot-openai", "openai.chat"), ("bot-azure", "azure*.chat"), ("bot-aws", "bedrock-runtime.converse")],
)
def test_failures_are_the_exceptions_that_openais_client_has_for_them(
    serving: Serving, model: str, operation: str, fault: faults.Fault, error: type[openai.APIStatusError]
) -> None:
    serving.rehearsal.faults.inject(operation, fault, times=2)
    try:
        with pytest.raises(error) as raised:
            serving.client.chat.completions.create(model=model, messages=QUESTION)
        assert raised.value.status_code in {403, 429, 502, 503}
    finally:
        serving.rehearsal.faults.clear()
    assert serving.client.chat.completions.create(model=model, messages=QUESTION).choices


def test_a_client_that_waits_no_longer_gets_its_own_exception(serving: Serving) -> None:
    serving.rehearsal.faults.inject("*chat", faults.slow(1.0))
    with pytest.raises(openai.APITimeoutError):
        serving.client.with_options(timeout=0.2).chat.completions.create(model="bot-openai", messages=QUESTION)
    serving.rehearsal.faults.clear()


def test_what_the_gateway_does_not_have_says_what_it_has(serving: Serving) -> None:
    for call in (
        lambda: serving.client.embeddings.create(model="bot-openai", input="x"),
        lambda: serving.client.completions.create(model="bot-openai", prompt="x"),
        lambda: serving.client.responses.create(model="bot-openai", input="x"),
        lambda: serving.client.models.delete("bot-openai"),
    ):
        with pytest.raises(openai.APIStatusError, match="POST /v1/chat/completions") as missing:
            call()
        assert missing.value.status_code in {404, 405}


def test_the_client_for_asyncio_works_as_well(serving: Serving) -> None:
    async def story() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=f"{serving.url}/v1", api_key="none", max_retries=0) as client:
            listed = [one.id async for one in client.models.list()]
            stream = await client.chat.completions.create(model="bot-aws", messages=QUESTION, stream=True)
            return listed, "".join([one.choices[0].delta.content or "" async for one in stream if one.choices])

    listed, text = asyncio.run(story())
    assert "bot-aws@1" in listed
    assert "Where is my order?" in text
