"""A real server process in front of all four providers, and OpenAI's own client in front of that."""

from __future__ import annotations

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
from typing import Any

import httpx2
import openai
import psutil
import pytest

import registry
from providers.huggingface.process import PID_FILE
from providers.rehearsal import Pace, Rehearsal
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


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("gateway")
    with Rehearsal(speed=0.0, pace=AT_ONCE) as rehearsal, pytest.MonkeyPatch.context() as patch:
        for name, value in rehearsal.environment().items():
            patch.setenv(name, value)
        try:
            _prepare(home, rehearsal)
            with _served(home) as serving:
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
def _served(home: Path) -> Generator[Serving]:
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
                yield Serving(url, client, process, errors)
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
