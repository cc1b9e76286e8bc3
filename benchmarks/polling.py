"""What it costs to watch many fine-tunes on one connection: provider calls and processor time of a tick.

    python -m benchmarks.polling [--versions N] [--ticks N]

The account is a rehearsed OpenAI in a process of its own, so that its work is not counted; the registry is a real one
on disk, with the vendor's SDK between them. Nothing changes while it is watched, as in most ticks of a long training.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from registry.composition import Registry

POLL_S = 15.0
"""The scheduler's default."""
VERSIONS_PER_MODEL = 100
BASE_MODEL = "gpt-4.1-2025-04-14"
ROW = {"messages": [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "On its way."}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve()
    else:
        _measure(arguments.versions, arguments.ticks)


def _measure(count: int, ticks: int) -> None:
    with tempfile.TemporaryDirectory() as folder, _account() as account:
        jobs = account.jobs(count)
        registry, clock = _registry(Path(folder), account, jobs)
        with registry:
            cpu_s: list[float] = []
            wall_s: list[float] = []
            calls: list[int] = []
            for _ in range(ticks + 1):
                before, cpu, wall = account.calls(), time.process_time(), time.perf_counter()
                outcomes = {one.outcome for one in registry.reconciler.run(paced=True)}
                due = registry.reconciler.next_due()
                cpu_s.append(time.process_time() - cpu)
                wall_s.append(time.perf_counter() - wall)
                calls.append(account.calls() - before)
                assert outcomes == {"waiting"}, outcomes
                assert timedelta() < due - clock.time <= timedelta(seconds=POLL_S), due
                clock.time += timedelta(seconds=POLL_S)
    # The first tick opens the connection, the others are as all that follow.
    share = statistics.median(cpu_s[1:]) / POLL_S * 100
    _print(
        f"calls to the provider per 100 of {count} versions in training", max(calls[1:]) / count * 100, "a tick", "<= 1"
    )
    _print(f"share of a core while {count} versions train", share, "%", "<= 10")
    _print(f"one tick of {count} versions in training", statistics.median(wall_s[1:]), "s", "<= 15")


class _Clock:
    """Moved on by hand, so that a tick is measured and not the wait for it."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time


def _registry(home: Path, account: _Account, jobs: list[str]) -> tuple[Registry, _Clock]:
    """A registry that knows each of these jobs as that of a version in training."""
    from registry import system
    from registry.composition import open_home
    from registry.domain import events as ev
    from registry.domain.ids import VersionRef, version_stream
    from registry.domain.versions import Who

    clock, who = _Clock(system.now()), Who(actor="user:bench")
    registry = open_home(home, clock=clock)
    registry.declaring.apply({"connections": {"openai": account.settings}}, who, plan=False)
    data = ev.DataRef(sha256="0" * 64, rows=12)
    for start in range(0, len(jobs), VERSIONS_PER_MODEL):
        model = f"bot-{start // VERSIONS_PER_MODEL}"
        events = [who.says(f"model:{model}", ev.ModelDeclared(model=model))]
        for number, job in enumerate(jobs[start : start + VERSIONS_PER_MODEL], start=1):
            stream = version_stream(VersionRef(model, number))
            asked = ev.FineTuneRequested(
                model=model,
                version=number,
                connection="openai",
                provider="openai",
                base_model=BASE_MODEL,
                method="supervised",
                train=data,
            )
            intent = ev.TrainingSubmitted(attempt=1, name=job, token=job)
            begun = ev.TrainingStarted(attempt=1, job=ev.JobRef(id=job, name=job, status="running"))
            events += [who.says(stream, payload) for payload in (asked, intent, begun)]
        registry.log.append(events, expected={})
    return registry, clock


class _Account:
    """The rehearsed account, seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        told = json.loads(self._line())
        self.settings: dict[str, Any] = told["settings"]
        self._key = told["environment"][self.settings["api_key_env"]]
        os.environ[self.settings["api_key_env"]] = self._key

    def calls(self) -> int:
        """How many calls it has got."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def jobs(self, count: int) -> list[str]:
        """Ids of as many jobs, which run for days."""
        import openai

        address = str(self.settings["base_url"])
        with openai.OpenAI(api_key=self._key, base_url=address) as client:
            content = "\n".join(json.dumps(ROW) for _ in range(12)).encode()
            file = client.files.create(file=("train.jsonl", content), purpose="fine-tune").id
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.netloc)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        body = json.dumps(
            {"model": BASE_MODEL, "training_file": file, "suffix": "bench", "method": {"type": "supervised"}}
        )
        ids: list[str] = []
        for _ in range(count):
            connection.request("POST", f"{parts.path}/fine_tuning/jobs", body, headers)
            ids.append(json.loads(connection.getresponse().read())["id"])
        connection.close()
        return ids

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def _account() -> Generator[_Account]:
    command = [sys.executable, "-m", "benchmarks.polling", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Account(process)
        finally:
            process.kill()


def _serve() -> None:
    """One line of settings; then, for every line that comes in, how many calls were made."""
    from providers.rehearsal import Pace, Rehearsal

    with Rehearsal(pace=Pace(file_s=0, validating_s=0, queued_s=0, training_s=1e6)) as clouds:
        settings = clouds.connections()["rehearsal-openai"]
        print(json.dumps({"settings": settings, "environment": dict(clouds.environment())}), flush=True)
        for _ in sys.stdin:
            print(clouds.truth.calls.total(), flush=True)


def _print(name: str, value: float, unit: str, target: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()
