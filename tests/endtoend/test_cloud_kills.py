"""SIGKILL between every pair of steps of a cloud fine-tune and activation; started again, nothing is there twice.

The process is a real one, on a real home. The rehearsed cloud holds the call, before its effect or after it, until the
process that made it has been killed; its truth says afterwards what exists and what is billed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from providers.rehearsal import Pace, Rehearsal, faults

AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
PATIENCE_S = 60.0
READS = ("get_", "list_", "head_", "chat", "converse")
ROWS = [{"prompt": f"Where is order {n}?", "completion": f"Order {n} is on its way."} for n in range(12)]


OPENAI = (
    "openai.resources.fine_tuning.jobs",
    "openai.resources.files",
    "openai.resources.chat.completions",
    "httpcore2",
)


@dataclass(frozen=True, slots=True)
class Cloud:
    """`sdk`: what its adapter imports late. `made`: what one fine-tune and its activation leave at the provider."""

    connection: str
    sdk: tuple[str, ...]
    made: dict[str, int]


CLOUDS = [
    Cloud("rehearsal-openai", OPENAI, {"openai.job": 1}),
    Cloud(
        "rehearsal-azure",
        (*OPENAI, "azure.mgmt.cognitiveservices", "azure.core.pipeline.transport", "requests"),
        {"azure.job": 1, "azure.deployment": 1},
    ),
    Cloud(
        "rehearsal-aws",
        ("boto3", "boto3.s3.inject", "botocore.client"),
        {"bedrock.job": 1, "bedrock.model": 1, "bedrock.provisioned": 1},
    ),
]


class Driver:
    """Processes that are quick to start, because the one that forks them has everything imported."""

    def __init__(self, cloud: Cloud, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.endtoend.cloud_driver", *cloud.sdk]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self._line() == "ready"
        self._connection = cloud.connection

    def start(self, home: Path) -> int:
        """The id of a process that works on this home."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{home} {self._connection}\n")
        self._process.stdin.flush()
        return int(self._line())

    def ended(self) -> int:
        """How it ended: 0, or minus the signal."""
        return int(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass(frozen=True, slots=True)
class Life:
    """One account and one home: what the registry says at the end, and what is so."""

    clouds: Rehearsal
    home: Path

    def begin(self, cloud: Cloud) -> None:
        self.home.mkdir()
        settings = self.clouds.connections()[cloud.connection]
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (self.home / "tenure.toml").write_text(
            "\n".join([f"[connections.{cloud.connection}]", *lines]) + "\n", encoding="utf-8"
        )
        (self.home / "train.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")

    def calls(self) -> list[str]:
        return [call.operation for call in self.clouds.truth.log]

    def steps(self) -> list[int]:
        """Calls before which something was recorded or changed: a kill at any other is one at the call before it."""
        calls = list(self.clouds.truth.log)
        events = [datetime.fromisoformat(at) for _, at in self.told()["events"]]
        return [
            number
            for number, call in enumerate(calls)
            if number == 0
            or changes(call.operation)
            or changes(calls[number - 1].operation)
            or any(calls[number - 1].at <= at <= call.at for at in events)
        ]

    def left(self) -> Counter[str]:
        """What there is at the provider, by kind."""
        return Counter(thing.kind for thing in self.clouds.truth.things())

    def told(self) -> dict[str, Any]:
        return json.loads((self.home / "told.json").read_text("utf-8"))


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.connection)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return request.param


@pytest.fixture
def driver(cloud: Cloud) -> Iterator[Driver]:
    with Rehearsal() as clouds:
        made = Driver(cloud, dict(clouds.environment()))
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_between_any_two_steps_it_ends_with_one_job_one_model_and_one_deployment(
    cloud: Cloud, driver: Driver, tmp_path: Path
) -> None:
    undisturbed = live(cloud, driver, tmp_path / "undisturbed")
    check(cloud, undisturbed, undisturbed)
    calls = undisturbed.calls()
    assert sum(map(changes, calls)) >= 2, calls
    for number in undisturbed.steps():
        call = calls[number]
        for after_effect in (False, True) if changes(call) else (False,):
            killed = live(cloud, driver, tmp_path / f"{number}-{after_effect}", kill=(number, after_effect))
            try:
                check(cloud, killed, undisturbed)
            except AssertionError as error:
                raise AssertionError(f"killed at call {number}, {call}, {after_effect=}: {killed.calls()}") from error


def live(cloud: Cloud, driver: Driver, home: Path, *, kill: tuple[int, bool] | None = None) -> Life:
    """A fine-tune and its activation; with `kill`, by a process that dies at that call and one that comes after it."""
    with Rehearsal(pace=AT_ONCE) as clouds:
        life = Life(clouds, home)
        life.begin(cloud)
        if kill is not None:
            number, after_effect = kill
            clouds.faults.inject("*", faults.timeout(after_effect=after_effect), after=number)
            process = driver.start(home)
            until(lambda: bool(clouds.faults.struck))
            os.kill(process, signal.SIGKILL)
            assert driver.ended() == -signal.SIGKILL
        driver.start(home)
        assert driver.ended() == 0
    return life


def check(cloud: Cloud, life: Life, undisturbed: Life) -> None:
    told, left = life.told(), life.left()
    assert {kind: left[kind] for kind in cloud.made} == cloud.made
    assert left == undisturbed.left()
    assert (told["version"]["state"], told["versions"]) == ("active", 1)
    for once in ("training-submitted", "training-started", "version-trained", "version-activated"):
        assert [type_ for type_, _ in told["events"]].count(once) == 1, once
    (job,) = [thing for thing in life.clouds.truth.ever() if thing.kind.endswith(".job")]
    assert told["version"]["job"]["id"] == job.id
    billed = life.clouds.truth.billed()
    assert [one["state"] for one in told["deployments"]] == ["serving"] * len(billed)
    for thing, shown in zip(billed, told["deployments"], strict=True):
        assert thing.name == shown["name"]
        assert datetime.fromisoformat(shown["billed_from"]) <= thing.billed_intervals()[0].start


def changes(call: str) -> bool:
    return not call.partition(".")[2].startswith(READS)


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)
