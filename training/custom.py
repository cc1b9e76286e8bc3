"""Training code of the user's own, run in a process of its own; docs/custom-training.md tells what it is given.

The script gets the data, the base model and the folder to fill by arguments and by environment. What it appends to its
progress file becomes the run's progress. It keeps the run's lock for as long as it lives, so that a script which
outlives a killed run is not started a second time beside it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from training.contract import CHECKPOINTS_FOLDER, LOG_FILE, RunSpec, write_json
from training.report import Reporter, RunFaultError

SCRIPT_PROGRESS_FILE: Final = "script-progress.jsonl"
POLL_S: Final = 0.5
TERMINATE_S: Final = 10.0
"""How long a cancelled script may take to end before it is killed."""


def run_script(
    spec: RunSpec, *, base: Path, out: Path, result: Path, reporter: Reporter, lock: int | None
) -> Mapping[str, float]:
    """Blocks until the script has ended. Returns the last train_loss and valid_loss it told.

    `lock`: a file descriptor that the script inherits. Raises RunFaultError when it fails; when this is interrupted,
    the script is ended too.
    """
    result.mkdir()
    (out / CHECKPOINTS_FOLDER).mkdir(exist_ok=True)
    progress = _ScriptProgress(out / SCRIPT_PROGRESS_FILE, reporter)
    process = subprocess.Popen(
        _command(spec, base, result, out),
        env=os.environ | _environment(spec, base, result, out),
        pass_fds=() if lock is None else (lock,),
    )
    try:
        while process.poll() is None:
            progress.read()
            _wait(process, POLL_S)
    finally:
        _end(process)
    progress.read()
    if process.returncode != 0:
        raise RunFaultError(
            f"the training script ended with exit code {process.returncode}; its output is in {out / LOG_FILE}"
        )
    if not any(result.iterdir()):
        raise RunFaultError("the training script left nothing in its output folder")
    return progress.last


def _command(spec: RunSpec, base: Path, result: Path, out: Path) -> list[str]:
    values = _values(spec, base, result, out)
    arguments = [word for name in ("train", "validation", "base_model", "output", "hyperparameters") if name in values
                 for word in ("--" + name.replace("_", "-"), values[name])]  # fmt: skip
    return [sys.executable, "-u", str(spec.code), *arguments]


def _environment(spec: RunSpec, base: Path, result: Path, out: Path) -> dict[str, str]:
    return {f"TENURE_{name.upper()}": value for name, value in _values(spec, base, result, out).items()}


def _values(spec: RunSpec, base: Path, result: Path, out: Path) -> dict[str, str]:
    hyperparameters = out / "hyperparameters.json"
    write_json(hyperparameters, dict(spec.hyperparameters))
    values = {
        "train": spec.train,
        "base_model": str(base),
        "output": str(result),
        "hyperparameters": str(hyperparameters),
        "progress": str(out / SCRIPT_PROGRESS_FILE),
    }
    if spec.validation is not None:
        values["validation"] = spec.validation
    return values


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    if not _wait(process, TERMINATE_S):
        process.kill()
        process.wait()


class _ScriptProgress:
    """Reads what the script appended since the last look; lines that are not progress are left out."""

    def __init__(self, path: Path, reporter: Reporter) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._reporter = reporter
        self._offset = 0
        self.last: dict[str, float] = {}
        reporter.running(step=0, steps_total=None)

    def read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            step = int(row["step"])
            metrics = {str(name): float(value) for name, value in cast("dict[str, float]", row["metrics"]).items()}
            epoch = None if row.get("epoch") is None else float(row["epoch"])
        except (ValueError, TypeError, KeyError, AttributeError):
            print(f"progress: not a point: {line[:200]!r}")  # noqa: T201 - the run's log is its standard output
            return
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self.last |= {name: value for name, value in metrics.items() if name in {"train_loss", "valid_loss"}}
        self._reporter.running(step=step, steps_total=None)
        self._reporter.point(step, epoch, metrics)
