"""`tenure rehearse`, as someone without an account tries it: the emulators in one process, commands in another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Run

pytestmark = pytest.mark.slow

TENURE = str(Path(sys.executable).with_name("tenure"))
READY = "Ctrl-C ends it"
STOP_S_MAX = 20.0
CLOUDS = {
    "rehearsal-openai": "gpt-4.1-mini-2025-04-14",
    "rehearsal-azure": "gpt-4.1-mini-2025-04-14",
    "rehearsal-aws": "amazon.nova-lite-v1:0:300k",
    "rehearsal-aws-on-demand": "amazon.nova-lite-v1:0:300k",
}


@pytest.fixture(scope="module")
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rehearsed") / "home"


@pytest.fixture(scope="module")
def running(home_of_all: Path) -> Iterator[subprocess.Popen[str]]:
    """The real command, a hundred times as fast as the clouds, without one credential in its environment."""
    started = subprocess.Popen(
        [TENURE, "rehearse", "--port", "0", "--speed", "100"],
        env=_without_credentials() | {"TENURE_HOME": str(home_of_all), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.stdout is not None
    said: list[str] = []
    for line in started.stdout:
        said.append(line)
        if READY in line:
            break
    assert READY in said[-1], "".join(said)
    assert "".join(said).count("rehearsal-") >= len(CLOUDS)
    yield started
    started.send_signal(signal.SIGINT)
    assert started.wait(STOP_S_MAX) == 0
    rest = started.stdout.read()
    started.stdout.close()
    assert "The rehearsal is over." in rest


@pytest.fixture
def rehearsed(running: subprocess.Popen[str], home_of_all: Path, tenure: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    assert running.poll() is None
    for name in os.environ.keys() - _without_credentials().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("TENURE_HOME", str(home_of_all))
    return tenure


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_version_lives_its_whole_life_at_a_rehearsed_cloud(cloud: str, rehearsed: Run, home_of_all: Path) -> None:
    data = home_of_all / "rehearsal"
    bot = f"bot-{cloud}"
    files = ("--train", str(data / "train.csv"), "--validation", str(data / "validation.csv"))
    assert rehearsed("connections", "test", cloud).code == 0
    made = rehearsed("fine-tune", bot, "--connection", cloud, "--base-model", CLOUDS[cloud], *files, "--wait", "--json")
    assert made.code == 0, made.err
    assert made.json["state"] == "trained"
    assert set(made.json["metrics"]) >= {"train_loss", "valid_loss"}
    moved = rehearsed("activate", f"{bot}@1", "--wait", "--json")
    assert (moved.code, moved.json["state"]) == (0, "active"), moved.err
    said = rehearsed("chat", bot, "Where is my order?")
    assert said.code == 0
    assert said.out.startswith("[rehearsal ")
    short = rehearsed("chat", bot, "a b c d", "--top-p", "0.9", "--temperature", "0", "--stop", " was")
    assert (short.code, "was asked" in short.out) == (0, False), short.err
    billed = rehearsed("deployments", "--billed", "--model", bot, "--json").json
    assert len(billed) == (0 if cloud == "rehearsal-openai" else 1)
    assert bot in [one["model"] for one in rehearsed("models", "--json").json]
    assert _importable(rehearsed, cloud)[made.json["artifact"]["id"]] == [f"{bot}@1"]
    assert rehearsed("retire", f"{bot}@1").code == 0
    gone = rehearsed("delete", f"{bot}@1", "--wait", "--json")
    assert (gone.code, gone.json["state"]) == (0, "deleted"), gone.err
    assert rehearsed("deployments", "--billed", "--model", bot, "--json").json == []
    assert made.json["artifact"]["id"] not in _importable(rehearsed, cloud)


def test_a_checkpoint_becomes_a_version_of_its_own_and_serves(rehearsed: Run, home_of_all: Path) -> None:
    data, cloud = home_of_all / "rehearsal", "rehearsal-openai"
    base = ("--connection", cloud, "--base-model", CLOUDS[cloud], "--train", str(data / "train.csv"))
    assert rehearsed("fine-tune", "bot", *base, "--wait").code == 0
    kept = rehearsed("checkpoints", "bot@1", "--json").json
    assert [one["step"] for one in kept] == sorted(one["step"] for one in kept)
    assert all(one["metrics"]["train_loss"] for one in kept)
    taken = rehearsed("import", "bot", "--connection", cloud, "--artifact", kept[0]["artifact"])
    assert taken.code == 0, taken.err
    assert rehearsed("activate", "bot@2", "--wait").code == 0
    assert kept[0]["artifact"] in rehearsed("chat", "bot", "Hello").out


def test_pausing_is_refused_where_there_is_none_and_where_nothing_trains(rehearsed: Run, home_of_all: Path) -> None:
    train = str(home_of_all / "rehearsal" / "train.csv")
    for cloud, words in (("rehearsal-aws", "no pausing"), ("rehearsal-openai", "there is no job to pause")):
        bot = f"pausing-{cloud}"
        where = ("--connection", cloud, "--base-model", CLOUDS[cloud])
        assert rehearsed("fine-tune", bot, *where, "--train", train, "--wait").code == 0
        refused = rehearsed("pause", f"{bot}@1")
        assert (refused.code, words in refused.err) == (3, True), refused.err
    assert rehearsed("checkpoints", "pausing-rehearsal-aws@1", "--json").json == []


def test_a_second_rehearsal_on_the_same_ports_is_refused_with_what_to_do(tenure: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = tenure("rehearse", "--port", str(min(taken.getsockname()[1], 65530)))
    assert answer.code == 5
    assert "not free" in answer.err
    assert "--port" in answer.err


def _importable(rehearsed: Run, cloud: str) -> dict[str, list[str]]:
    """Each tuned model of the account, with the versions that have it."""
    listed = rehearsed("import", "--list", "--connection", cloud, "--json").json
    return {one["id"]: one["versions"] for one in listed}


def _without_credentials() -> dict[str, str]:
    clouds = ("AWS_", "AZURE", "OPENAI_", "REHEARSAL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(clouds)}
