"""Secrets, prompts and completions stay where they belong: canaries go in, and all that is kept or said is searched.

They may be in the training data under the home and at the provider, and an answer may be in what `tenure chat` prints.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest

from providers.rehearsal import Pace, Rehearsal, faults
from registry.cli import main

AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
PROMPT, COMPLETION, QUESTION = "canary-prompt-4d1f", "canary-completion-9b7e", "canary-question-c03a"
WRITTEN, WRONG, AWS = "canary-written-77aa", "canary-wrong-2e6c", "canary-aws-secret-51d0"
WORDS = [PROMPT, COMPLETION, QUESTION, WRITTEN, WRONG, AWS]
BASES = {
    "rehearsal-openai": ("gpt-4.1-mini-2025-04-14", "openai.chat"),
    "rehearsal-azure": ("gpt-4.1-2025-04-14", "azure.chat"),
    "rehearsal-aws": ("amazon.nova-lite-v1:0:300k", "bedrock-runtime.converse*"),
}
DEPLOYS = {"rehearsal-azure": "arm.put_deployment", "rehearsal-aws": "bedrock.create_provisioned*"}
DATA = ("data", "uploads")
"""Folders of a home that hold training data."""
TENURE = str(Path(sys.executable).with_name("tenure"))
WAIT_S = 60.0


@dataclass(slots=True, kw_only=True)
class Ears:
    """Hears whatever commands, servers and their logs say, but for the answers of models."""

    capture: pytest.CaptureFixture[str]
    folder: Path
    heard: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def tenure(self, *words: str, code: int = 0, answers: bool = False) -> str:
        self.capture.readouterr()
        ended = main(words)
        out, err = self.capture.readouterr()
        self.heard.append((" ".join(words[:3]), err if answers else out + err))
        assert ended == code, f"{words} ended with {ended}: {err}"
        return out

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, "utf-8")
        return str(self.folder / name)


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Rehearsal]:
    with Rehearsal(pace=AT_ONCE) as clouds:
        given = {**clouds.environment(), "AWS_SECRET_ACCESS_KEY": AWS, "WRONG_KEY": WRONG}
        ours = {"TENURE_HOME": str(tmp_path / "home"), "TENURE_ACTOR": "user:ana", "TENURE_LOG": "DEBUG"}
        for name, value in {**given, **ours, "TENURE_LOG": "DEBUG", "COLUMNS": "200"}.items():
            monkeypatch.setenv(name, value)
        yield clouds


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_no_prompt_and_no_completion_is_kept_or_said(
    clouds: Rehearsal, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears(capture=capfd, folder=tmp_path)
    for name in ("tenure", "registry", "providers"):
        caplog.set_level(logging.DEBUG, logger=name)
    live(ears, clouds)
    err_in_commands(ears, clouds)
    serve(ears, clouds)
    ears.tenure("audit", "--format", "focus")
    ears.tenure("log", "export", str(tmp_path / "export.jsonl"))
    ears.tenure("log", "backup", str(tmp_path / "backup"))
    for record in caplog.records:
        ears.heard.append((f"log of {record.name}", f"{record.getMessage()} {record.exc_text or ''}"))
    assert caplog.records

    canaries = [*WORDS, *(value for name, value in clouds.environment().items() if "DISABLED" not in name)]
    assert {PROMPT, COMPLETION} <= set(found(files(ears.home, within=DATA), canaries).values()), "the search finds"
    assert found(ears.heard, canaries) == {}
    assert found(files(ears.home, without=DATA), canaries) == {}
    assert found(files(tmp_path / "backup"), canaries) == {}
    assert found(files(tmp_path / "export.jsonl"), canaries) == {}
    assert found(rows(ears.home / "tenure.duckdb"), canaries) == {}


def live(ears: Ears, clouds: Rehearsal) -> None:
    """Three whole lives, with canaries in the data, in the questions, and behind the connections' references."""
    tables = {**clouds.connections(), "wrong": {**clouds.connections()["rehearsal-openai"], "api_key_env": "WRONG_KEY"}}
    document = "".join(
        f"[connections.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )
    ears.tenure("apply", ears.file("tenure.toml", document + '[scheduler]\npoll = "20ms"\n'))
    header = "prompt,completion\n"
    train = ears.file("train.csv", header + "".join(f"{PROMPT} {n},{COMPLETION} {n}\n" for n in range(12)))
    validation = ears.file("validation.csv", header + f"{PROMPT} 99,{COMPLETION} 99\n")
    for connection, (base, chat) in BASES.items():
        ears.tenure("connections", "test", connection)
        wanted = ("--connection", connection, "--base-model", base, "--train", train, "--validation", validation)
        ears.tenure("fine-tune", connection, *wanted, "--estimate")
        clouds.faults.inject("*create*job", faults.throttled(seconds=0.1), times=1)
        ears.tenure("fine-tune", connection, *wanted, "--activate", "--wait")
        assert QUESTION in ears.tenure("chat", connection, QUESTION, answers=True)
        if connection != "rehearsal-aws":
            ears.tenure("chat", connection, QUESTION, "--temperature", "9", code=2, answers=True)
        clouds.faults.inject(chat, faults.server_error(500), times=None)
        ears.tenure("chat", connection, QUESTION, code=5, answers=True)
        clouds.faults.clear()
        clouds.faults.inject(chat, faults.echo(), times=1)
        ears.tenure("chat", connection, QUESTION, code=2, answers=True)
        for words in (("show", f"{connection}@1"), ("history", connection), ("metrics", f"{connection}@1")):
            ears.tenure(*words, "--json")


def err_in_commands(ears: Ears, clouds: Rehearsal) -> None:
    """Refusals that are given with a canary at hand."""
    wanted = ("--base-model", BASES["rehearsal-openai"][0], "--train")
    bad = ears.file("bad.csv", f"prompt,completion\n{PROMPT},\n,{COMPLETION}\n{PROMPT},{COMPLETION},{COMPLETION}\n")
    ears.tenure("fine-tune", "bad", "--connection", "rehearsal-openai", *wanted, bad, code=2)
    lines = ears.file("bad.jsonl", f'{{"prompt": "{PROMPT}", "completion": \n{{"messages": "{PROMPT}"}}\n')
    ears.tenure("fine-tune", "bad", "--connection", "rehearsal-openai", *wanted, lines, code=2)
    for key in ("api_key", "apikey"):
        table = f'[connections.x]\nprovider = "openai"\n{key} = "{WRITTEN}"\n'
        ears.tenure("apply", ears.file("written.toml", table), code=2)
    ears.tenure("connections", "test", "wrong", code=5)
    train = str(ears.folder / "train.csv")
    ears.tenure("fine-tune", "wrong", "--connection", "wrong", *wanted, train, code=5)
    told = f'line 3: {{"prompt": "{PROMPT} 3", "completion": "{COMPLETION} 3"}} was refused; {COMPLETION} is no answer'
    for connection, (base, _) in BASES.items():
        words = ("--connection", connection, "--base-model", base, "--train", train, "--wait")
        clouds.faults.inject("*.create*job", faults.doomed(told), times=1)
        ears.tenure("fine-tune", "doomed", *words, code=1)
        clouds.faults.inject("*.create*job", faults.echo(), times=1)
        ears.tenure("fine-tune", "echoed", *words, code=1)
        if connection in DEPLOYS:
            for fault in (faults.doomed(told), faults.echo()):
                clouds.faults.inject(DEPLOYS[connection], fault, times=1)
                ears.tenure("fine-tune", "undeployed", *words, "--activate", code=1)
    ears.tenure("reconcile", code=5)
    ears.tenure("doctor", code=1)


def serve(ears: Ears, clouds: Rehearsal) -> None:
    """A server and its gateway: what is asked, what is refused, what breaks."""
    with served(ears) as url, httpx2.Client(base_url=url, timeout=WAIT_S, trust_env=False) as http:
        for model, (_, chat) in BASES.items():
            question: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
            assert QUESTION in http.post("/v1/chat/completions", json=question).text
            assert http.post("/v1/chat/completions", json={**question, "stream": True}).status_code == 200
            if model != "rehearsal-aws":
                ask(ears, http, "/v1/chat/completions", {**question, "temperature": 9}, 400)
            clouds.faults.inject(chat, faults.server_error(500), times=None)
            ask(ears, http, "/v1/chat/completions", question, 502)
            clouds.faults.clear()
            clouds.faults.inject(chat, faults.echo(503), times=None)
            ask(ears, http, "/v1/chat/completions", question, 503)
            clouds.faults.clear()
            clouds.faults.inject(chat, faults.echo(), times=1)
            refused = http.post("/v1/chat/completions", json=question)
            assert refused.status_code == 400
            # What they asked is theirs to read again; the credential is not.
            ears.heard.append((f"refusal of {model}", refused.text.replace(QUESTION, "")))
        ask(ears, http, "/v1/chat/completions", {"model": "rehearsal-openai", "messages": QUESTION}, 400)
        written = {"name": "x", "provider": "openai", "api_key": WRITTEN}
        ask(ears, http, "/api/v1/connections", written, 422)
        ask(ears, http, "/api/v1/models", {"model": {"prompt": PROMPT}}, 422)
        ask(ears, http, "/api/v1/models/x/versions", {"connection": "wrong", "train": {"prompt": PROMPT}}, 422)
        bad = f"prompt,completion\n{PROMPT},\n,{COMPLETION}\n"
        sent = http.post("/api/v1/datasets?name=bad.csv", content=bad, headers={"Idempotency-Key": "k"})
        ears.heard.append(("a data set with faults", sent.text))
        assert sent.json()["passed"] is False
        ears.heard.append(("metrics", http.get("/metrics").text))
        ears.heard.append(
            ("a wrong token", http.get("/api/v1/models", headers={"Authorization": f"Bearer {WRONG}"}).text)
        )
        ears.heard.append(("events", http.get("/api/v1/events?limit=1000").text))
        for page in ("/", "/audit", "/models/rehearsal-azure", "/models/rehearsal-azure/versions/1"):
            ears.heard.append((f"page {page}", http.get(page).text))


def ask(ears: Ears, http: httpx2.Client, path: str, body: object, status: int) -> None:
    answer = http.post(path, json=body)
    ears.heard.append((f"answer of {path}", answer.text))
    assert answer.status_code == status, answer.text


@contextmanager
def served(ears: Ears) -> Generator[str]:
    errors = ears.folder / "server.txt"
    with (
        errors.open("w") as log,
        subprocess.Popen(
            [TENURE, "serve", "--port", "0"], env=os.environ, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "http://" in said, errors.read_text()
            yield said.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)
    assert process.returncode == 0
    assert '"path": "/v1/chat/completions"' in errors.read_text(), "it has logged"
    ears.heard.append(("log of the server", errors.read_text()))


# Searching


def found(texts: Iterable[tuple[str, str] | tuple[str, bytes]], canaries: list[str]) -> dict[str, str]:
    """Where a canary was found, and which."""
    return {
        f"{where}: {canary}": canary
        for where, text in texts
        for canary in canaries
        if canary.encode() in (text if isinstance(text, bytes) else text.encode())
    }


def files(root: Path, *, within: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> list[tuple[str, bytes]]:
    every = [root] if root.is_file() else [one for one in root.rglob("*") if one.is_file()]
    assert every, f"nothing is at {root}"
    top = {one: one.relative_to(root).parts[:1] for one in every}
    chosen = [one for one in every if (not within or {*top[one]} & {*within}) and not {*top[one]} & {*without}]
    return [(str(one), one.read_bytes()) for one in chosen]


def rows(database: Path) -> list[tuple[str, str]]:
    """Every value of every table: in the file itself they are compressed."""
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        assert "event" in tables
        return [(name, str(connection.execute(f'SELECT * FROM "{name}"').fetchall())) for name in tables]
