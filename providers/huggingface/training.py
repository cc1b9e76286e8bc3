"""Jobs of the local provider: `python -m training SPEC OUT` in a process that outlives the registry.

A job's id is its name, and its folder says everything about it, so nothing is kept in memory: a registry that was
killed asks the same folder and finds the same process, or how it ended. Looking at a job also moves it on: one whose
process died without a word is started again, which resumes from its newest checkpoint, a bounded number of times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from providers.errors import RejectedError, UnavailableError
from providers.huggingface.base_models import find_base_model
from providers.huggingface.environment import child_environment
from providers.huggingface.folders import (
    RECORD_FILE,
    disk_trouble,
    last_words,
    make_folder,
    named_folder,
    names_in,
    read_json,
)
from providers.huggingface.launcher import Launcher, Program
from providers.huggingface.settings import Settings
from providers.ports import Artifact, Checkpoint, Estimate, JobReport, MetricPoint, TrainingRequest
from providers.redaction import redacted
from training import hyperparameters
from training.contract import (
    CHECKPOINTS_FOLDER,
    LOG_FILE,
    MODEL_FOLDER,
    PARTIAL_FOLDER,
    ProgressPoint,
    RunSpec,
    RunStatus,
    read_manifest,
    read_progress,
    read_status,
    write_json,
)
from training.log import tail

JOBS_FOLDER = "jobs"
SPEC_FILE = "spec.json"
STARTS_FILE = "starts.json"
CANCEL_FILE = "cancel.json"
FAILED_FILE = "failed.json"
STARTS_MAX = 3
"""A trainer that was killed this often (memory, most likely) will be killed again."""
CANCEL_S_MAX = 60.0
"""A trainer that was asked to stop saves nothing that takes longer; after this it is killed."""
METHODS = {"supervised": "lora", "lora": "lora", "full": "full"}


class LocalTraining:
    """`providers.ports.Training` over processes on this machine."""

    def __init__(self, settings: Settings, folder: Path, launcher: Launcher, *, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._folder = folder
        self._jobs = folder / JOBS_FOLDER
        self._launcher = launcher
        self._now = now
        self._one_at_a_time = threading.Lock()

    def validate(self, request: TrainingRequest) -> None:
        faults: list[str] = []
        if not self._settings.fine_tuning:
            faults.append("this connection does not fine-tune (fine_tuning = false)")
        if request.method not in METHODS:
            faults.append(f"method {request.method!r} is not one of {', '.join(METHODS)}")
        if request.code is not None and not request.code.is_file():
            faults.append(f"code: there is no file {request.code}")
        faults += [f"there is no file {path}" for path in _data_sets(request) if not path.is_file()]
        if request.code is None and request.method in METHODS:
            try:
                hyperparameters.validate(request.hyperparameters, METHODS[request.method])
            except ValueError as exc:
                faults += str(exc).splitlines()
        try:
            find_base_model(self._settings, request.base_model)
        except RejectedError as exc:
            faults.append(exc.message)
        if faults:
            raise RejectedError("; ".join(faults), operation="validate-job")

    def estimate(self, request: TrainingRequest) -> Estimate:
        self.validate(request)
        steps: int | None = None
        epochs = 1.0
        if request.code is None:
            method = METHODS[request.method]
            values = hyperparameters.with_defaults(hyperparameters.validate(request.hyperparameters, method), method)
            epochs = _number(values.get("num_train_epochs"))
            batch = _number(values.get("per_device_train_batch_size")) * _number(
                values.get("gradient_accumulation_steps")
            )
            steps = math.ceil(math.ceil(request.train.rows / batch) * epochs)
            if values.get("max_steps") is not None:
                steps = int(_number(values["max_steps"]))
                epochs = steps * batch / max(1, request.train.rows)
        tokens = request.train.tokens
        return Estimate(
            tokens=None if tokens is None else int(tokens * epochs),
            steps=steps,
            notes=("Training on this machine costs nothing that a provider bills.",),
        )

    def submit(self, request: TrainingRequest) -> JobReport:
        there = self._record(request.name)
        if there is None:
            self.validate(request)
            with disk_trouble("create-job"):
                self._make(request)
            there = self._record(request.name)
        if there is None or there["token"] != request.token:
            raise RejectedError(f"job {request.name} exists with another token", operation="create-job")
        report = self._seen(request.name)
        assert report is not None
        return report

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        found = [one for one in self._names() if one == name or self._token(one) == token]
        return [report for one in found if (report := self._seen(one)) is not None]

    def unfinished(self, *, or_ended_since: datetime | None = None) -> Sequence[JobReport]:  # noqa: ARG002 - none is paid
        """Those that have a process: the others are started, or started again, only when they are asked for."""
        with disk_trouble("list-jobs"):
            alive = [name for name in names_in(self._jobs) if self._launcher.find(self._jobs / name) is not None]
        found = [report for name in alive if (report := self._seen(name)) is not None]
        return [one for one in found if one.outcome == "running"]

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        return {name: report for name in ids if (report := self._seen(name)) is not None}

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        out = named_folder(self._jobs, id)
        report = self._seen(id)
        if out is None or report is None:
            return []
        points = _by_step(read_progress(out)[0])
        spec = read_json(out / SPEC_FILE) or {}
        if points and report.outcome == "running" and spec.get("validation"):
            points.popitem()  # the validation loss of that step may still be on its way
        return [point for step, point in points.items() if step > after_step]

    def checkpoints(self, id: str) -> Sequence[Checkpoint]:
        """None are offered: they hold the optimizer for resuming, and are not models that could be served."""
        del id
        return []

    def cancel(self, id: str) -> None:
        out = named_folder(self._jobs, id)
        if out is None or self._record(id) is None:
            return
        with self._one_at_a_time, disk_trouble("cancel-job"):
            if not (out / CANCEL_FILE).exists():
                write_json(out / CANCEL_FILE, {"at": self._now().timestamp()})
            self._launcher.ask_to_stop(out)

    def pause(self, id: str) -> None:
        raise RejectedError(f"{id}: local training cannot be paused", operation="pause-job")

    def resume(self, id: str) -> None:
        raise RejectedError(f"{id}: local training cannot be paused or resumed", operation="resume-job")

    def clean_up(self) -> Sequence[str]:
        """What ended jobs have left for going on: checkpoints with the optimizer's state, half a model. They never do.

        Data stays in the registry's home, where it is kept once per content.
        """
        gone: list[str] = []
        with disk_trouble("clean-up"):
            for out in (self._jobs / name for name in names_in(self._jobs)):
                left = [out / name for name in (CHECKPOINTS_FOLDER, PARTIAL_FOLDER) if (out / name).is_dir()]
                if left and self._is_over(out):
                    for folder in left:
                        shutil.rmtree(folder)
                    gone += map(str, left)
        return gone

    def log_tail(self, id: str, *, lines: int = 40) -> Sequence[str]:
        out = named_folder(self._jobs, id)
        return [] if out is None else tail(out / LOG_FILE, lines=lines)

    def _is_over(self, out: Path) -> bool:
        try:
            ended = _final(out.name, out, read_status(out), self._record(out.name) or {}) is not None
        except (RejectedError, ValueError, TypeError, KeyError):
            return False  # damaged: left to whoever looks at it
        return ended and self._launcher.find(out) is None

    def _names(self) -> Sequence[str]:
        with disk_trouble("list-jobs"):
            return names_in(self._jobs)

    def _record(self, name: str) -> dict[str, object] | None:
        folder = named_folder(self._jobs, name)
        with disk_trouble("read-job"):
            return None if folder is None else read_json(folder / RECORD_FILE)

    def _token(self, name: str) -> object:
        with contextlib.suppress(RejectedError):
            return (self._record(name) or {}).get("token")
        return None

    def _make(self, request: TrainingRequest) -> None:
        spec = RunSpec(
            name=request.name,
            base_model=find_base_model(self._settings, request.base_model),
            train=str(request.train.path.absolute()),
            validation=None if request.validation is None else str(request.validation.path.absolute()),
            method="full" if METHODS[request.method] == "full" else "lora",
            hyperparameters=dict(request.hyperparameters),
            device=self._settings.device,
            downloads=self._settings.downloads,
            code=None if request.code is None else str(request.code.absolute()),
        )
        record = {
            "name": request.name,
            "token": request.token,
            "base_model": request.base_model,
            "created_at": self._now().timestamp(),
            "tags": dict(request.tags),
        }
        make_folder(self._jobs, request.name, {RECORD_FILE: record, SPEC_FILE: dataclasses.asdict(spec)})

    def _seen(self, name: str) -> JobReport | None:
        """As `_look`. Training code can write wherever we can: a job whose files it has damaged has failed, one whose
        record it has removed is gone, and neither leaves a process behind or keeps other jobs from being seen.
        """
        out = named_folder(self._jobs, name)
        if out is None:
            return None
        try:
            report = self._look(name, out)
        except (RejectedError, ValueError, TypeError, KeyError) as exc:
            said = exc.message if isinstance(exc, RejectedError) else f"{out} is damaged: {type(exc).__name__}: {exc}"
            report = JobReport(id=name, name=name, status="failed", outcome="failed", error=redacted(said))
            self._launcher.stop(out, grace_s=0)
        if report is None:
            self._launcher.stop(out, grace_s=0)
        return report

    def _look(self, name: str, out: Path) -> JobReport | None:
        """The job as it stands, moved on where it can be."""
        record = self._record(name)
        if record is None:
            return None
        with self._one_at_a_time, disk_trouble("read-job"):
            # The process first: what one that is dead by now has written is then all there will ever be.
            handle = self._launcher.find(out)
            status = read_status(out)
            final = _final(name, out, status, record)
            if handle is None:
                self._launcher.stop(out, grace_s=0)  # what it has started, too
            if final is not None:
                return final
            if handle is not None:
                return self._alive(name, out, status, paused=handle.paused)
            return self._revive(name, out, status)

    def _alive(self, name: str, out: Path, status: RunStatus | None, *, paused: bool) -> JobReport:
        word = "paused" if paused else status.state if status is not None else "starting"
        cancel = read_json(out / CANCEL_FILE)
        if cancel is not None:
            word = "cancelling"
            if self._now().timestamp() - float(cancel["at"]) > CANCEL_S_MAX:
                self._launcher.stop(out, grace_s=0)
        return _running(name, word, status)

    def _revive(self, name: str, out: Path, status: RunStatus | None) -> JobReport:
        """Start it: for the first time, or again after it died without a word."""
        if (out / CANCEL_FILE).exists():
            return JobReport(id=name, name=name, status="cancelled", outcome="cancelled")
        starts = int((read_json(out / STARTS_FILE) or {"starts": 0})["starts"])
        code = self._launcher.exit_code(out)
        gave_up = code is not None and code > 0
        if gave_up or starts >= STARTS_MAX:
            how = f"exit code {code}" if gave_up else f"it was killed {starts} times"
            error = f"the training process ended without a result ({how}): {last_words(out / LOG_FILE)}"
            write_json(out / FAILED_FILE, {"error": error})
            return JobReport(id=name, name=name, status="failed", outcome="failed", error=error)
        write_json(out / STARTS_FILE, {"starts": starts + 1})
        argv = [str(self._settings.python), "-m", "training", str(out / SPEC_FILE), str(out)]
        env = child_environment(self._settings, self._folder)
        try:
            self._launcher.start(out, Program(argv=argv, env=env, log=out / LOG_FILE))
        except UnavailableError:
            if starts == 0:
                raise
        return _running(name, "starting" if starts == 0 else "resuming", status)


def _data_sets(request: TrainingRequest) -> Sequence[Path]:
    return [data.path for data in (request.train, request.validation) if data is not None]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 1.0


def _by_step(points: Sequence[ProgressPoint]) -> dict[int, MetricPoint]:
    """One point per step, in step order: training and validation loss of a step are logged apart, and a resumed run
    repeats the steps since its checkpoint, of which the later ones hold.
    """
    merged: dict[int, MetricPoint] = {}
    for one in points:
        before = merged.get(one.step)
        merged[one.step] = MetricPoint(
            step=one.step,
            metrics={**(before.metrics if before else {}), **one.metrics},
            epoch=one.epoch,
            recorded_at=datetime.fromtimestamp(one.at, UTC),
        )
    return dict(sorted(merged.items()))


def _final(name: str, out: Path, status: RunStatus | None, record: Mapping[str, object]) -> JobReport | None:
    if read_manifest(out) is not None:
        return _succeeded(name, out, status, record)
    if status is not None and status.state in {"failed", "cancelled"}:
        return _ended(name, status, record)
    failed = read_json(out / FAILED_FILE)
    if failed is not None:
        return JobReport(id=name, name=name, status="failed", outcome="failed", error=str(failed["error"]))
    return None


def _running(name: str, word: str, status: RunStatus | None) -> JobReport:
    return JobReport(
        id=name,
        name=name,
        status=word,
        outcome="running",
        step=None if status is None else status.step,
        steps_total=None if status is None else status.steps_total,
        trained_tokens=None if status is None else status.trained_tokens,
    )


def _succeeded(name: str, out: Path, status: RunStatus | None, record: Mapping[str, object]) -> JobReport:
    manifest = read_manifest(out)
    assert manifest is not None
    latest: dict[str, float] = dict(status.metrics) if status is not None else {}
    for point in _by_step(read_progress(out)[0]).values():
        latest.update(point.metrics)
    return JobReport(
        id=name,
        name=name,
        status="succeeded",
        outcome="succeeded",
        artifact=Artifact(
            id=str(out / MODEL_FOLDER), digest=manifest.digest, base_model=str(record["base_model"]), kind="folder"
        ),
        step=None if status is None else status.step,
        steps_total=None if status is None else status.steps_total,
        finished_at=None if status is None else _ended_at(status),
        trained_tokens=None if status is None else status.trained_tokens,
        duration_s=_duration_s(status, record),
        metrics=latest,
    )


def _ended(name: str, status: RunStatus, record: Mapping[str, object]) -> JobReport:
    return JobReport(
        id=name,
        name=name,
        status=status.state,
        outcome="failed" if status.state == "failed" else "cancelled",
        error=redacted(status.error) if status.error else None,
        step=status.step,
        steps_total=status.steps_total,
        finished_at=_ended_at(status),
        trained_tokens=status.trained_tokens,
        duration_s=_duration_s(status, record),
    )


def _ended_at(status: RunStatus) -> datetime:
    """Its last word: of a run that died between its result and that, the heartbeat before."""
    return datetime.fromtimestamp(status.heartbeat_at, UTC)


def _duration_s(status: RunStatus | None, record: Mapping[str, object]) -> float | None:
    if status is None:
        return None
    return max(0.0, status.heartbeat_at - cast("float", record["created_at"]))
