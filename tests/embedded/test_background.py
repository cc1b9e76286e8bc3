"""The scheduler inside: work goes on by itself, is woken by what happens, and stops when it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry import system
from registry.application.ports import EventLog
from registry.domain.errors import NotFoundError
from registry.scheduler import Scheduler
from tests.embedded.conftest import quick
from tests.fakes import RealClock
from tests.stage import ANA, BOT, Stage

PATIENCE_S = 10.0


def eventually(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


@pytest.fixture
def living(tmp_path: Path) -> Stage:
    return quick(Stage(tmp_path, clock=RealClock()))


def test_work_goes_on_by_itself(living: Stage) -> None:
    with living.tenure(background=True) as tenure:
        version = tenure.fine_tune(BOT, connection="cloud", base_model="base", train=living.train, activate=True)
        eventually(lambda: version.refresh().state == "active")
        second = tenure.fine_tune(BOT, connection="cloud", base_model="base", train=living.train, activate=True)
        assert second.wait(timeout_s=PATIENCE_S).state == "active"
    tenure.close()


class Passes:
    def __init__(self, log: EventLog, due: Callable[[], datetime]) -> None:
        self.count = 0
        self.again = threading.Event()
        self.fails = 0
        self.during: Callable[[], None] | None = None
        self.scheduler = Scheduler(log=log, clock=system.now, run_pass=self._run, next_due=due)

    def _run(self) -> None:
        self.count += 1
        during, self.during = self.during, None
        if during is not None:
            during()
        if self.fails:
            self.fails -= 1
            raise NotFoundError("a bug")
        self.again.set()


def never() -> datetime:
    return system.now() + timedelta(hours=1)


def test_a_pass_is_made_at_the_start_and_when_the_log_grows_and_none_after_the_stop(living: Stage) -> None:
    passes = Passes(living.log, never)
    passes.scheduler.start()
    eventually(lambda: passes.count == 1)
    living.registry.declaring.set_policy(BOT, {"approvals": 1}, ANA)
    eventually(lambda: passes.count == 2)
    passes.scheduler.stop()
    passes.scheduler.stop()
    living.registry.declaring.set_policy(BOT, {"approvals": 2}, ANA)
    assert passes.count == 2


def test_what_is_appended_during_a_pass_is_looked_at_after_it(living: Stage) -> None:
    passes = Passes(living.log, never)

    def overlooked() -> datetime:
        living.registry.declaring.set_policy(BOT, {"approvals": passes.count}, ANA) if passes.count < 3 else None
        return never()

    scheduler = Scheduler(log=living.log, clock=system.now, run_pass=passes.scheduler._run_pass, next_due=overlooked)
    scheduler.start()
    eventually(lambda: passes.count >= 3)
    scheduler.stop()


def test_a_pass_is_made_when_the_next_step_is_due(living: Stage) -> None:
    passes = Passes(living.log, lambda: system.now() + timedelta(milliseconds=5))
    passes.scheduler.start()
    eventually(lambda: passes.count >= 3)
    passes.scheduler.stop()


def test_a_pass_that_fails_is_made_again(living: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.scheduler.FAILED_PACE", timedelta(milliseconds=5))
    passes = Passes(living.log, never)
    passes.fails = 2
    passes.scheduler.start()
    assert passes.again.wait(PATIENCE_S)
    assert passes.count == 3
    passes.scheduler.stop()


def test_a_scheduler_that_was_never_started_stops_quietly(living: Stage) -> None:
    scheduler = Passes(living.log, never).scheduler
    scheduler.stop()
    scheduler._pass()
    scheduler._wake(system.now())
