"""A local connection on a temporary folder, with a stand-in interpreter: real processes, files and loopback HTTP."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from providers import huggingface
from providers.huggingface.process import LOCK_FILE, PID_FILE
from providers.huggingface.provider import LocalProvider
from providers.ports import (
    Artifact,
    Connection,
    DataSet,
    DeploymentReport,
    DeploymentRequest,
    JobReport,
    ProviderFactory,
    TrainingRequest,
)
from tests.providers.huggingface.stand_in import make_model

WAIT_S_MAX = 30.0


class LocalHarness:
    """The `Harness` of the conformance suite, and shortcuts for the tests of this provider."""

    factory: ProviderFactory = staticmethod(huggingface.connect)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_at = datetime(2026, 11, 22, tzinfo=UTC)
        self.interpreter = folder / "python"
        self.interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent}/stand_in.py "$@"\n')
        self.interpreter.chmod(0o755)
        make_model(folder / "models" / "tiny")
        self.connection = Connection(
            name="local",
            provider="huggingface",
            settings={
                "provider": "huggingface",
                "models": str(folder / "models"),
                "python": str(self.interpreter),
                "device": "cpu",
            },
            registry="r1",
            folder=folder / "connection",
        )
        self.opened: list[LocalProvider] = []

    def connect(self, **settings: object) -> LocalProvider:
        connection = Connection(
            name="local",
            provider="huggingface",
            settings={**self.connection.settings, **settings},
            registry="r1",
            folder=self.connection.folder,
        )
        self.opened.append(huggingface.connect(connection, now=self.now))
        return self.opened[-1]

    def now(self) -> datetime:
        return self.now_at

    def later(self, seconds: float) -> None:
        self.now_at += timedelta(seconds=seconds)

    def training_request(self, name: str, *, ends: bool = True) -> TrainingRequest:
        return self.behaving(name, "succeed" if ends else "hang")

    def failing_request(self, name: str) -> TrainingRequest:
        return self.behaving(name, "fail")

    def behaving(
        self,
        name: str,
        behaviour: str,
        *,
        validation: bool = False,
        hyperparameters: Mapping[str, object] | None = None,
    ) -> TrainingRequest:
        path = self.folder / f"{behaviour}.jsonl"
        path.write_text(json.dumps({"behaviour": behaviour}) + "\n", "utf-8")
        data = DataSet(path=path, sha256="0" * 64, rows=10, tokens=100)
        return TrainingRequest(
            name=name,
            token=f"token-{name}",
            model="support-bot",
            version=1,
            base_model="tiny",
            train=data,
            validation=data if validation else None,
            method="supervised",
            hyperparameters=hyperparameters or {},
        )

    def advance(self) -> None:
        time.sleep(0.02)

    def lose_deployment(self, name: str) -> None:
        self.process("deployments", name).kill()

    def process(self, kind: str, name: str) -> psutil.Process:
        return psutil.Process(int((self.place(kind, name) / PID_FILE).read_text()))

    def place(self, kind: str, name: str) -> Path:
        return self.connection.folder / kind / name

    def job(self, name: str) -> JobReport:
        return self.connect().training.poll([name])[name]

    def job_until(self, name: str, *states: str) -> JobReport:
        """Poll with new providers, as ever new registries would, until the status is one of these."""
        deadline = time.monotonic() + WAIT_S_MAX
        while (report := self.job(name)).status not in states:
            assert time.monotonic() < deadline, report
            self.advance()
        return report

    def job_at_step(self, name: str, step: int) -> JobReport:
        deadline = time.monotonic() + WAIT_S_MAX
        while (report := self.job(name)).step != step:
            assert time.monotonic() < deadline, report
            self.advance()
        return report

    def model(self, behaviour: str = "") -> Path:
        folder = self.connection.folder / "artifacts" / (behaviour.replace(" ", "-") or "plain") / "model"
        make_model(folder)
        (folder / "behaviour.txt").write_text(behaviour)
        return folder

    def deployment(self, name: str, behaviour: str = "") -> DeploymentRequest:
        artifact = Artifact(id=str(self.model(behaviour)), kind="folder")
        return DeploymentRequest(name=name, token=f"token-{name}", model="support-bot", version=1, artifact=artifact)

    def settled(self, name: str) -> DeploymentReport:
        deadline = time.monotonic() + WAIT_S_MAX
        while (report := self.connect().deployments.get(name)) is None or report.outcome == "provisioning":
            assert time.monotonic() < deadline, report
            self.advance()
        return report

    def close(self) -> None:
        """Ends whatever lives in any folder, whoever has lost it."""
        for provider in self.opened:
            provider.close()
        for lock in self.folder.rglob(LOCK_FILE):
            if (lock.parent / PID_FILE).exists():
                self._end(int((lock.parent / PID_FILE).read_text()), str(lock))

    def _end(self, pid: int, lock: str) -> None:
        for process in psutil.process_iter():
            try:
                if process.pid == pid or any(file.path == lock for file in process.open_files()):
                    process.kill()
            except psutil.Error:
                continue
