"""The real thing, from outside: real `tenure` processes, a real trainer, a real server, a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from providers.huggingface.process import FOLDER_VARIABLE
from tests.tiny_model import make_tiny_model

TENURE = str(Path(sys.executable).with_name("tenure"))
TRAINING_SECONDS_MAX = 240


@dataclass(frozen=True, slots=True)
class Shell:
    """A terminal with a home of its own. Every process that was started below it is gone afterwards."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TENURE_HOME": str(self.home), "TENURE_ACTOR": "user:ana"}

    def run(self, *words: str, code: int = 0, timeout_s: float = TRAINING_SECONDS_MAX) -> str:
        done = subprocess.run(
            [TENURE, *words], env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def killed(self, *words: str, after_s: float) -> bool:
        """Run a command and SIGKILL it (it alone, not what it started) after a while; False when it ended before."""
        process = subprocess.Popen(
            [TENURE, *words], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        return False

    def processes(self) -> list[psutil.Process]:
        """What runs for this home, by its command line or its environment: trainers and servers."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), process.environ().get(FOLDER_VARIABLE, "")]
            except psutil.Error:
                continue
            if any(str(self.home) in word for word in words):
                found.append(process)
        return found

    def clean_up(self) -> None:
        for process in self.processes():
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(self.processes(), timeout=10)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("home")
    make_tiny_model(home / "models" / "tiny")
    rows = [json.dumps({"prompt": f"How many is {n} and {n}?", "completion": f"It is {n + n}."}) for n in range(40)]
    (home / "train.jsonl").write_text("\n".join(rows[:32]) + "\n", "utf-8")
    (home / "validation.jsonl").write_text("\n".join(rows[32:]) + "\n", "utf-8")
    (home / "tenure.toml").write_text(
        '[connections.local]\nprovider = "huggingface"\ndevice = "cpu"\n'
        '[models.bot.policy]\nsuperseded_grace = "0s"\n[scheduler]\npoll = "200ms"\n',
        "utf-8",
    )
    made = Shell(home)
    try:
        yield made
    finally:
        made.clean_up()


def until(condition: Any, *, seconds: float = 60.0) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)
