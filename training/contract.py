"""What a training run is told and what it leaves behind: the contract between a registry and `python -m training`.

No torch here, so that whoever starts a run can import this cheaply. All files are UTF-8 JSON or JSON Lines.

`SPEC` is a JSON file, `RunSpec`. `OUT` is a folder that the run owns:

    status.json        `RunStatus`, replaced atomically whenever it changes and as a heartbeat
    progress.jsonl     one `ProgressPoint` a line, appended as losses are logged
    log.txt            what the program printed (the launcher redirects stdout and stderr here)
    checkpoints/       checkpoint-<step>/ as transformers writes them; a run started again resumes from the newest
    model/             the result: safetensors, config, tokenizer
    manifest.json      `Manifest` of model/, written last; with it the run has succeeded

A run is idempotent: started again on an OUT that has a manifest it says so and exits 0; on an OUT with checkpoints
it resumes. SIGTERM cancels: the run writes status `cancelled` and exits. Exit codes: 0 succeeded, 1 failed,
2 the spec is wrong, 3 cancelled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NewType, cast

JsonObject = dict[str, object]
RunState = Literal["starting", "running", "succeeded", "failed", "cancelled"]
Digest = NewType("Digest", str)
"""`sha256:<hex>`"""

STATUS_FILE = "status.json"
PROGRESS_FILE = "progress.jsonl"
LOG_FILE = "log.txt"
MODEL_FOLDER = "model"
PARTIAL_FOLDER = ".model.partial"
"""The result until it is whole."""
CHECKPOINTS_FOLDER = "checkpoints"
MANIFEST_FILE = "manifest.json"
HEARTBEAT_S = 5.0
"""A live run rewrites status.json at least this often while it trains, in seconds."""
STEP_MAX = 2**53
"""The last whole number that every reader of JSON has exactly; what claims to be later is no step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What to train. Paths are absolute. `train` and `validation` are JSON Lines of {"prompt": [messages],
    "completion": [messages]}, system text already folded in as the first prompt message.
    """

    name: str
    base_model: str
    train: str
    validation: str | None = None
    method: Literal["lora", "full"] = "lora"
    hyperparameters: Mapping[str, object] = field(default_factory=dict[str, object])
    """Names as TRL's SFTConfig and peft's LoraConfig have them; see `training.hyperparameters`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    downloads: bool = False
    code: str | None = None
    """A script of the user's own that trains instead; see docs/custom-training.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run stands. `pid` and `pid_started_at` (seconds since the epoch, as psutil has it) name it."""

    state: RunState
    pid: int
    pid_started_at: float
    heartbeat_at: float
    step: int = 0
    steps_total: int | None = None
    error: str | None = None
    trained_tokens: int | None = None
    device: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Once it has succeeded: train_loss and valid_loss of the model that was saved, where they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPoint:
    """One logged point. `metrics` holds floats by name: train_loss, valid_loss, learning_rate, …"""

    step: int
    epoch: float | None
    at: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Every file of a model folder with its SHA-256; `digest` is the SHA-256 of that list in path order."""

    files: tuple[ManifestFile, ...]
    digest: Digest


def read_spec(path: Path) -> RunSpec:
    """Raises OSError, ValueError (not JSON, not an object) or TypeError (unknown or missing keys)."""
    raw = json.loads(path.read_text("utf-8"))
    if not isinstance(raw, dict):
        message = f"{path}: a run's spec is a JSON object"
        raise ValueError(message)  # noqa: TRY004 - the content is wrong, not a Python type
    return RunSpec(**cast("dict[str, object]", raw))  # pyright: ignore[reportArgumentType] - checked by validate_spec


def write_json(path: Path, value: object) -> None:
    """Write a dataclass or JSON value whole or not at all: a temporary file, fsync, rename."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_status(out: Path) -> RunStatus | None:
    """None when the run has not written one yet."""
    try:
        raw = json.loads((out / STATUS_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return RunStatus(**raw)


def read_progress(out: Path, *, offset: int = 0) -> tuple[list[ProgressPoint], int]:
    """The points after byte `offset`, and the offset to go on from. Half a last line is left for the next read.

    A line that is no point is passed over: training code of the user's own can write into this file, too.
    """
    try:
        with (out / PROGRESS_FILE).open("rb") as file:
            file.seek(offset)
            chunk = file.read()
    except FileNotFoundError:
        return [], offset
    whole, _, _ = chunk.rpartition(b"\n")
    points = [point for line in whole.split(b"\n") if line.strip() and (point := point_of(line)) is not None]
    return points, offset + (len(whole) + 1 if whole else 0)


def point_of(line: bytes, *, at: float = 0.0) -> ProgressPoint | None:
    """A line's point; None for what is none. `at`: when, for a line that does not say. Figures that are no finite
    numbers are left out.
    """
    try:
        row = json.loads(line)
        step, epoch = int(row["step"]), row.get("epoch")
        metrics = {str(name): float(value) for name, value in cast("dict[str, float]", row["metrics"]).items()}
        "".join(metrics).encode()
        point = ProgressPoint(
            step=step,
            epoch=None if epoch is None or not math.isfinite(float(epoch)) else float(epoch),
            at=float(row.get("at", at)),
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return point if 0 <= step <= STEP_MAX and math.isfinite(point.at) else None


def read_manifest(out: Path) -> Manifest | None:
    """None while the run has not succeeded."""
    try:
        raw = json.loads((out / MANIFEST_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Manifest(files=tuple(ManifestFile(**one) for one in raw["files"]), digest=Digest(raw["digest"]))


def manifest_of(folder: Path) -> Manifest:
    """Hash every file under `folder`. Reads all of it, in bounded memory."""
    files = tuple(
        ManifestFile(path=str(path.relative_to(folder)), size_bytes=path.stat().st_size, sha256=_sha256(path))
        for path in _files(folder)
    )
    listing = "".join(f"{one.sha256}  {one.path}\n" for one in files)
    return Manifest(files=files, digest=Digest("sha256:" + hashlib.sha256(listing.encode()).hexdigest()))


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
