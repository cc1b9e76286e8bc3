"""A pass that waits for a provider: others are made beside it, and the time of the next one is not forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry import scheduler, system
from registry.reconciler.lanes import Lanes
from registry.scheduler import Scheduler
from registry.store.memory_log import MemoryLog
from tests.fakes import RealClock, SequentialIds
from tests.stage import Stage

PATIENCE_S = 20.0


def eventually(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_beside_a_pass_that_hangs_another_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "BESIDE", timedelta(milliseconds=20))
    release, passes = threading.Event(), [0]

    def run_pass() -> None:
        passes[0] += 1
        if passes[0] == 1:
            assert release.wait(PATIENCE_S)

    def next_due() -> datetime:
        return system.now() + timedelta(hours=1)

    log = MemoryLog(clock=system.now, ids=SequentialIds())
    made = Scheduler(log=log, clock=system.now, run_pass=run_pass, next_due=next_due)
    made.start()
    try:
        eventually(lambda: passes[0] >= 2)
    finally:
        release.set()
        made.stop()


def test_a_next_step_that_cannot_be_planned_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "FAILED_PACE", timedelta(milliseconds=5))
    asked = [0]

    def next_due() -> datetime:
        asked[0] += 1
        if asked[0] == 1:
            raise ValueError("a bug")
        return system.now() + timedelta(hours=1)

    log = MemoryLog(clock=system.now, ids=SequentialIds())
    made = Scheduler(log=log, clock=system.now, run_pass=lambda: None, next_due=next_due)
    made.start()
    try:
        eventually(lambda: asked[0] >= 2)
    finally:
        made.stop()


def test_work_on_one_connection_goes_on_while_another_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "BESIDE", timedelta(milliseconds=20))
    stage = Stage(tmp_path, clock=RealClock())
    for name in ("cloud", "alone"):
        cloud = stage.cloud(name)
        cloud.capabilities = type(cloud.capabilities)(
            fine_tuning=True, serving=cloud.capabilities.serving, poll_interval_s=0.0
        )
    hanging, release = threading.Event(), threading.Event()
    call = stage.cloud("alone").call

    def hang(operation: str, effect: object) -> object:
        hanging.set()
        assert release.wait(PATIENCE_S)
        return call(operation, effect)  # pyright: ignore[reportUnknownVariableType, reportArgumentType]

    stage.cloud("alone").call = hang  # pyright: ignore[reportAttributeAccessIssue]
    slow = stage.fine_tune("slow", "alone")
    with stage.tenure(background=True) as tenure:
        try:
            assert hanging.wait(PATIENCE_S)
            fast = tenure.fine_tune("fast", connection="cloud", base_model="base", train=stage.train)
            eventually(lambda: fast.refresh().state == "trained")
            assert stage.state(slow) == "queued"
        finally:
            release.set()
            stage.cloud("alone").call = call
        eventually(lambda: stage.state(slow) == "trained")


# Lanes


def test_what_a_lane_raises_is_raised_when_the_others_are_done() -> None:
    done: list[str] = []

    def work(name: str) -> list[str]:
        if name == "b":
            raise KeyError(name)
        done.append(name)
        return [name]

    with pytest.raises(KeyError):
        Lanes().run(["a", "b", "c"], work, wait=True)
    assert sorted(done) == ["a", "c"]


def test_a_busy_lane_is_left_out_or_waited_for() -> None:
    lanes, inside, release = Lanes(), threading.Event(), threading.Event()

    def hold(name: str) -> list[str]:
        inside.set()
        assert release.wait(PATIENCE_S)
        return ["held"]

    beside = threading.Thread(target=lambda: lanes.run(["a"], hold, wait=True))
    beside.start()
    assert inside.wait(PATIENCE_S)
    assert lanes.busy("a")
    assert lanes.run(["a", "b"], lambda name: [name], wait=False) == ["b"]
    threading.Timer(0.05, release.set).start()
    assert lanes.run(["a", "b"], lambda name: [name], wait=True) == ["a", "b"]
    beside.join()
    assert not lanes.busy("a")
