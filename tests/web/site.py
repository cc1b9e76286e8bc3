"""A registry with pages: real store, real server, real checks of data; accounts at providers in memory, a set clock."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Generator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from providers.ports import MetricPoint
from registry.application.ports import Metric
from registry.composition import Registry, compose
from registry.domain.ids import VersionRef
from registry.domain.versions import Who
from registry.server import create_app
from registry.store.duckdb_log import open_log
from registry.store.tokens import TokenFile
from registry.store.training_data import HomeTrainingData
from registry.transport.gate import Gate
from registry.transport.services import Services
from tests.cloud import Job
from tests.fakes import FakeClock, SequentialIds
from tests.stage import ANA, BEN, DOCUMENT, Stage

STARTED_S_MAX = 20.0
DECAY_STEPS = 9
ROWS = "prompt,completion\n" + "".join(f"question {row},answer {row}\n" for row in range(24))


class Site(Stage):
    """A stage on DuckDB whose pages are served on loopback, from a thread of its own."""

    def __init__(self, folder: Path, *, document: Mapping[str, object] = DOCUMENT, signed_in: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, document={}, clock=FakeClock(datetime.fromisoformat("2026-10-12T09:00:00Z")))
        self.home = folder / "home"
        self.log = open_log(self.home, clock=self.clock, ids=SequentialIds())
        self.restart()
        self.train = folder / "train.csv"
        self.train.write_text(ROWS)
        if document:
            self.registry.declaring.apply(document, ANA, plan=False)
        self.tokens = TokenFile(self.home)
        gate = (
            Gate(open_to="user:ana", clock=self.clock)
            if signed_in
            else Gate(open_to=None, tokens=self.tokens, clock=self.clock)
        )
        self.services = Services(registry=self.registry, gate=gate)
        self.app = create_app(self.services, loopback=signed_in)
        self._socket = socket.socket()
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._serve, name="site", daemon=True)

    def restart(self) -> Registry:
        self.registry = compose(
            self.home,
            self.log,
            clock=self.clock,
            jitter=lambda: 0.0,
            new_registry_id=lambda: "test12",
            data=HomeTrainingData(self.home),
            providers=self.providers,
        )
        return self.registry

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(128)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.services.watch.close()
        self._server.should_exit = True
        self._thread.join(STARTED_S_MAX)
        self._socket.close()
        self.registry.close()

    # What happens meanwhile

    def job(self, connection: str = "cloud") -> Job:
        """The newest job at a connection."""
        return list(self.cloud(connection).jobs.values())[-1]

    def tuned(
        self, model: str, connection: str = "cloud", *, loss: float = 1.0, points: int = 40, who: Who = ANA
    ) -> VersionRef:
        """A version that is trained, with curves that end at a loss."""
        self.cloud(connection).results.append(("succeeded", {"train_loss": loss, "valid_loss": loss * 1.12}))
        ref = self.fine_tune(model, connection, who=who)
        self.settle()
        self.draw(ref, loss, points)
        return ref

    def draw(self, ref: VersionRef, loss: float, points: int) -> None:
        """The curves of a version, as far as so many points."""
        found = [
            Metric(attempt=1, step=one.step, name=name, value=value, epoch=one.epoch, recorded_at=self.clock())
            for one in curves(loss, points)
            for name, value in one.metrics.items()
        ]
        self.log.record_metrics(ref, found)

    def training(self, model: str, *, points: int = 14, loss: float = 0.7) -> VersionRef:
        """A version whose job runs on until it is told to end (`end`)."""
        ref = self.fine_tune(model)
        self.run()
        self.job().polls_left = -1
        self.draw(ref, loss, points)
        return ref

    def end(self) -> None:
        self.job().polls_left = 0
        self.settle()


def curves(loss: float, points: int) -> list[MetricPoint]:
    """Training and validation loss that fall towards a figure, with a little unrest."""
    found: list[MetricPoint] = []
    for number in range(1, points + 1):
        value = loss + (2.8 - loss) * math.exp(-number / DECAY_STEPS) + 0.04 * math.sin(number * 1.7)
        metrics = {"train_loss": value}
        if number % 3 == 0:
            metrics["valid_loss"] = value * 1.08 + 0.04
        found.append(MetricPoint(step=number, epoch=number / 20, metrics=metrics))
    return found


def furnish(site: Site) -> None:
    """Two months of a team's life: four versions of one model, one of another, a warm standby, a failure."""
    site.registry.declaring.apply({"models": {"support-bot": {"policy": {"max_hourly_cost": "5.00"}}}}, ANA, plan=False)
    first = site.tuned("support-bot", loss=1.1)
    site.registry.commands.activate(first, Who(actor="user:ana", reason="the first that answers in our tone"))
    site.settle()
    site.let_pass(days=24, hours=5)
    second = site.tuned("support-bot", loss=0.86, who=BEN)
    site.registry.commands.activate(second, Who(actor="user:ben", reason="better on refunds"))
    site.settle()
    site.let_pass(days=9, hours=3)
    router = site.tuned("refund-router", "alone", loss=0.7)
    site.activate(router)
    third = site.tuned("support-bot", loss=0.81)
    site.let_pass(hours=20)
    site.registry.commands.deploy(third, Who(actor="user:ana", reason="warm standby for the launch"))
    site.settle()
    site.let_pass(hours=7, minutes=12)
    site.cloud().results.append(("failed", "3 rows are longer than the model's context"))
    site.fine_tune("support-bot")
    site.settle()


@contextlib.contextmanager
def served(
    folder: Path, *, furnished: bool = True, document: Mapping[str, object] = DOCUMENT, signed_in: bool = True
) -> Generator[Site]:
    with Site(folder, document=document, signed_in=signed_in) as site:
        if furnished:
            furnish(site)
        yield site
