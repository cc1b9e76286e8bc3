"""How a run tells where it stands: status.json with a heartbeat, and progress.jsonl.

A thread rewrites the status while the program loads, trains and saves, so that a run which hangs in a library still
shows a heartbeat and one that was killed does not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import psutil

from training.contract import (
    HEARTBEAT_S,
    PROGRESS_FILE,
    STATUS_FILE,
    ProgressPoint,
    RunState,
    RunStatus,
    read_progress,
    write_json,
)

PID_VARIABLE: Final = "TENURE_RUN_PID"
"""Set for the workers of `accelerate launch`: the process that a run is known by."""


class RunFaultError(Exception):
    """Why a run failed, in one sentence for whoever started it."""


class Reporter:
    """Writes what the run says of itself. A silent one (any rank but the first) writes nothing."""

    def __init__(self, out: Path, *, silent: bool = False) -> None:
        pid = int(os.environ.get(PID_VARIABLE, os.getpid()))
        self._out = out
        self._silent = silent
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._status = RunStatus(
            state="starting",
            pid=pid,
            pid_started_at=psutil.Process(pid).create_time(),
            heartbeat_at=time.time(),
        )

    def __enter__(self) -> Self:
        if not self._silent:
            _drop_torn_line(self._out / PROGRESS_FILE)
            self._write()
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def status(self) -> RunStatus:
        return self._status

    def running(
        self, *, step: int, steps_total: int | None, trained_tokens: int | None = None, device: str | None = None
    ) -> None:
        """Cheap: the heartbeat writes it to disk. `trained_tokens`, `device` None: as they were."""
        with self._lock:
            self._status = dataclasses.replace(
                self._status,
                state="running",
                step=step,
                steps_total=steps_total,
                trained_tokens=self._status.trained_tokens if trained_tokens is None else trained_tokens,
                device=self._status.device if device is None else device,
            )

    def point(self, step: int, epoch: float | None, metrics: Mapping[str, float]) -> None:
        """Append one point and flush it. After a resume steps may appear again: the later one counts."""
        if self._silent:
            return
        point = ProgressPoint(step=step, epoch=epoch, at=time.time(), metrics=metrics)
        with (self._out / PROGRESS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(point), allow_nan=False) + "\n")

    def pause(self) -> None:
        """Write nothing until `finish`: a worker of this run reports now."""
        self._ended.set()

    def finish(self, state: RunState, *, error: str | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """The last word; nothing is written after it."""
        self._ended.set()
        with self._lock:
            self._status = dataclasses.replace(self._status, state=state, error=error, metrics=dict(metrics or {}))
        self._write()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S / 3):
            # A full disk is the run's own fault to report; the heartbeat goes on for when there is room again.
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        if self._silent:
            return
        with self._lock:
            self._status = dataclasses.replace(self._status, heartbeat_at=time.time())
            write_json(self._out / STATUS_FILE, self._status)


def last_tokens(out: Path, step: int) -> int:
    """How many tokens had been trained on at a step, by the points logged up to it; 0 when there are none."""
    points = read_progress(out)[0] if step else []
    return int(max((point.metrics.get("num_tokens", 0.0) for point in points if point.step <= step), default=0.0))


def _drop_torn_line(path: Path) -> None:
    """A process that was killed may have left half a line; what comes after must start on a line of its own."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        whole, newline, torn = file.read().rpartition(b"\n")
        if torn:
            file.truncate(len(whole) + len(newline))
