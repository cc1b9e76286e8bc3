"""Training code of the user's own, run in a process of its own; docs/custom-training.md tells what it is given.

The script gets the data, the base model and the folder to fill by arguments and by environment. What it appends to its
progress file becomes the run's progress. It keeps the run's lock for as long as it lives, so that a script which
outlives a killed run is not started a second time beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from training.contract import CHECKPOINTS_FOLDER, LOG_FILE, RunSpec, point_of, write_json
from training.log import how_ended, telling_line
from training.report import Reporter, RunFaultError

SCRIPT_PROGRESS_FILE: Final = "script-progress.jsonl"
POLL_S: Final = 0.5
TERMINATE_S: Final = 10.0
"""How long a cancelled script may take to end before it is killed."""
DATA_FOLDER: Final = "data"
ROUNDS_MAX: Final = 10
"""How often the processes are looked through for what the script has left, which may start more meanwhile."""
SAID_MAX: Final = 500


def run_script(
    spec: RunSpec, *, base: Path, out: Path, result: Path, reporter: Reporter, lock: int | None
) -> Mapping[str, float]:
    """Blocks until the script has ended, and ends what it has left running. Returns the last train_loss and valid_loss
    it told.

    `lock`: a file descriptor that the script inherits. Raises RunFaultError when it fails; when this is interrupted,
    the script is ended too.
    """
    result.mkdir()
    (out / CHECKPOINTS_FOLDER).mkdir(exist_ok=True)
    progress = _ScriptProgress(out / SCRIPT_PROGRESS_FILE, reporter)
    data = out / DATA_FOLDER
    untouched = _stamps(base)
    values = _values(_with_own_data(spec, data), base, result, out)
    process = subprocess.Popen(
        [sys.executable, "-u", str(spec.code), *_arguments(values)],
        env=os.environ | {_variable(name): value for name, value in values.items()},
        pass_fds=() if lock is None else (lock,),
    )
    try:
        while process.poll() is None:
            progress.read()
            _wait(process, POLL_S)
    finally:
        _end(process)
        _end_what_is_left(result)
        shutil.rmtree(data, ignore_errors=True)
    progress.read()
    if process.returncode != 0:
        raise RunFaultError(_why(process.returncode, out / LOG_FILE))
    changed = sorted(str(path) for path, _ in untouched ^ _stamps(base))
    if changed:
        raise RunFaultError(
            f"the base model was changed while the training script ran ({changed[0]}): restore it, since other "
            "versions start from it, and let the script save into --output"
        )
    if not result.is_dir() or not any(result.iterdir()):
        raise RunFaultError("the training script left nothing in its output folder")
    return progress.last


def _with_own_data(spec: RunSpec, folder: Path) -> RunSpec:
    """Copies for the script to do with as it likes: other versions train on the same files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    train = shutil.copyfile(spec.train, folder / "train.jsonl")
    if spec.validation is None:
        return dataclasses.replace(spec, train=str(train))
    validation = shutil.copyfile(spec.validation, folder / "validation.jsonl")
    return dataclasses.replace(spec, train=str(train), validation=str(validation))


def _stamps(base: Path) -> frozenset[tuple[Path, tuple[int, ...]]]:
    """What tells whether a file was changed, without reading it: its size and when it was written."""
    return frozenset(
        (path, (seen.st_size, seen.st_mtime_ns)) for path in base.rglob("*") if path.is_file() and (seen := path.stat())
    )


def _arguments(values: Mapping[str, str]) -> list[str]:
    return [word for name in ("train", "validation", "base_model", "output", "hyperparameters") if name in values
            for word in ("--" + name.replace("_", "-"), values[name])]  # fmt: skip


def _variable(name: str) -> str:
    return f"TENURE_{name.upper()}"


def _why(code: int, log: Path) -> str:
    said = telling_line(log)
    return f"the training script {how_ended(code)}{f': {said[:SAID_MAX]}' if said else ''}; its output is in {log}"


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


def _end_what_is_left(result: Path) -> None:
    """Whatever the script has started, wherever it went: it is known by the environment that it was given."""
    for _ in range(ROUNDS_MAX):
        left = [one for one in psutil.process_iter() if _works_for(one, result)]
        if not left:
            return
        print(f"ending what the script left running: {sorted(one.pid for one in left)}")  # noqa: T201 - the run's log
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=TERMINATE_S)


def _works_for(process: psutil.Process, result: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(_variable("output")) == str(result)
    return False


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
        point = point_of(line)
        if point is None:
            print(f"progress: not a point: {line[:200]!r}")  # noqa: T201 - the run's log is its standard output
            return
        self.last |= {name: value for name, value in point.metrics.items() if name in {"train_loss", "valid_loss"}}
        self._reporter.running(step=point.step, steps_total=None)
        self._reporter.point(point.step, point.epoch, point.metrics)
