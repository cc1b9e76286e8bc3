"""The program `python -m training SPEC OUT`: one run from its spec to its manifest, whatever happens in between.

Everything that ends a run passes here, so that status.json always has a last word: a fault in one sentence, a
cancellation, or success. Tracebacks go to the log only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.artifact import ArtifactError, add_tokenizer, check_base_model, check_trained, is_adapter
from training.contract import (
    MANIFEST_FILE,
    MODEL_FOLDER,
    PARTIAL_FOLDER,
    RunSpec,
    manifest_of,
    read_manifest,
    read_spec,
    read_status,
    write_json,
)
from training.report import PID_VARIABLE, Reporter, RunFaultError
from training.spec import validate_spec

SUCCEEDED, FAILED, WRONG_SPEC, CANCELLED = range(4)
LOCK_FILE: Final = ".lock"
LOCK_TRIES: Final = 50
LOCK_PAUSE_S: Final = 0.2


class CancelledError(BaseException):
    """SIGTERM or SIGINT came. No Exception, so that no library's `except Exception` takes it for its own."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code of the contract. May be called again on the same OUT: it goes on, or says it is done."""
    if len(arguments) != 2:  # noqa: PLR2004 - SPEC and OUT
        _say("usage: python -m training SPEC OUT")
        return WRONG_SPEC
    spec_path, out = Path(arguments[0]), Path(arguments[1])
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue] - a TextIOWrapper, unless it was replaced
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _lock(out) as lock:
            if read_manifest(out) is not None:
                _say(f"{out}: has a manifest, so this run has succeeded already")
                return SUCCEEDED
            return _run(spec_path, out, lock)
    except BlockingIOError:
        _say(f"{out}: another run is training into this folder")
    except OSError as exc:
        _say(f"{out}: {exc.strerror or exc}")
    return FAILED


def _run(spec_path: Path, out: Path, lock: int | None) -> int:
    rank = int(os.environ.get("RANK", "0")) if PID_VARIABLE in os.environ else 0
    with Reporter(out, silent=rank != 0) as reporter, _cancellation():
        try:
            spec = _read(spec_path)
        except ValueError as exc:
            _say(str(exc))
            reporter.finish("failed", error="; ".join(str(exc).splitlines()))
            return WRONG_SPEC
        try:
            _go_offline(spec)
            workers = _gpus(spec)
            if workers > 1:
                return _supervise(spec_path, out, workers, reporter)
            metrics = _train(spec, out, reporter, lock, main_rank=rank == 0)
        except CancelledError:
            if read_manifest(out) is not None:
                reporter.finish("succeeded")
                return SUCCEEDED
            reporter.finish("cancelled")
            return CANCELLED
        except Exception as exc:  # noqa: BLE001 - whatever it is, the run has failed and says so
            traceback.print_exc()
            reporter.finish("failed", error=explain(exc))
            return FAILED
        reporter.finish("succeeded", metrics=metrics)
        return SUCCEEDED


def explain(exc: BaseException) -> str:
    """A library's exception as one sentence that says what to do."""
    text = " ".join(str(exc).split())
    lowered = text.lower()
    if isinstance(exc, RunFaultError):
        return text
    if isinstance(exc, MemoryError) or any(sign in lowered for sign in ("out of memory", "can't allocate memory")):
        return "out of memory: lower per_device_train_batch_size or max_length, or set gradient_checkpointing"
    full = isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch.save and safetensors raise errors of their own that only their text tells apart.
    if full or any(sign in lowered for sign in ("no space left", "pytorchstreamwriter failed", "unexpected pos")):
        return "the disk is full: make room, then try again"
    if isinstance(exc, ArtifactError):
        return f"the trained model was refused: {text}"
    return f"{type(exc).__name__}: {text[:500]}"


def _read(spec_path: Path) -> RunSpec:
    try:
        spec = read_spec(spec_path)
    except (OSError, TypeError, ValueError) as exc:
        raise ValueError(f"{spec_path}: {exc}") from exc
    validate_spec(spec)
    return spec


def _go_offline(spec: RunSpec) -> None:
    """Before the Hugging Face libraries are imported, for they read it then."""
    os.environ["HF_HUB_OFFLINE"] = "0" if spec.downloads else "1"


def _train(spec: RunSpec, out: Path, reporter: Reporter, lock: int | None, *, main_rank: bool) -> Mapping[str, float]:
    base = _base_model(spec)
    partial = out / PARTIAL_FOLDER
    if main_rank and partial.exists():
        shutil.rmtree(partial)
    if spec.code is not None:
        from training.custom import run_script

        metrics = run_script(spec, base=base, out=out, result=partial, reporter=reporter, lock=lock)
        if is_adapter(partial):
            from training.adapters import merge_adapter

            merge_adapter(partial, base)
        add_tokenizer(partial, base)
    else:
        try:
            check_base_model(base)
        except ArtifactError as exc:
            raise RunFaultError(f"the base model {spec.base_model} was refused: {exc}") from exc
        from training.sft import fine_tune

        metrics = fine_tune(spec, base=base, out=out, result=partial, reporter=reporter)
    if main_rank:
        _publish(partial, out)
    return metrics


def _base_model(spec: RunSpec) -> Path:
    """A folder as it is; any other name from the Hub's cache, and from the Hub where downloads are allowed."""
    folder = Path(spec.base_model)
    if folder.is_dir():
        return folder
    if folder.is_absolute():
        raise RunFaultError(f"the base model {folder} is not a folder")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    hub: Any = huggingface_hub
    try:
        return Path(
            hub.snapshot_download(
                spec.base_model,
                local_files_only=not spec.downloads,
                allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"],
            )
        )
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError) as exc:
        where = "on the Hub" if spec.downloads else "in the local cache, and downloads are not allowed"
        raise RunFaultError(f"the base model {spec.base_model} is not {where}") from exc


def _publish(partial: Path, out: Path) -> None:
    """The model appears whole or not at all, and its manifest last."""
    check_trained(partial)
    model = out / MODEL_FOLDER
    if model.exists():
        shutil.rmtree(model)
    partial.rename(model)
    write_json(out / MANIFEST_FILE, manifest_of(model))


def _gpus(spec: RunSpec) -> int:
    """How many processes train: one for each GPU, and one in all where there is none or this is a worker already."""
    if spec.device == "cpu" or spec.code is not None or PID_VARIABLE in os.environ:
        return 1
    import torch

    return torch.cuda.device_count()


def _supervise(spec_path: Path, out: Path, workers: int, reporter: Reporter) -> int:
    """Start this program again under `accelerate launch`; its first worker writes the status, under our process id."""
    reporter.pause()
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", f"--num_processes={workers}"]
    command += ["--mixed_precision=no", "--num_machines=1", "--dynamo_backend=no", "-m", "training"]
    process = subprocess.Popen(
        [*command, str(spec_path), str(out)],
        env=os.environ | {PID_VARIABLE: str(os.getpid())},
    )
    try:
        process.wait()
    except CancelledError:
        process.terminate()
        process.wait()
    status = read_status(out)
    match status.state if status is not None else None:
        case "succeeded":
            return SUCCEEDED
        case "cancelled":
            return CANCELLED
        case "failed":
            return FAILED
        case _:
            reporter.finish(
                "failed", error=f"accelerate launch ended with exit code {process.returncode} before the run did"
            )
            return FAILED


@contextlib.contextmanager
def _lock(out: Path) -> Generator[int | None]:
    """One run per folder. The kernel lets go of the lock when its process dies, however it dies, but only after it has
    taken back the memory: a run that is started right after a SIGKILL waits for that. Raises BlockingIOError.
    """
    if PID_VARIABLE in os.environ:
        yield None
        return
    with (out / LOCK_FILE).open("w") as file:
        for _ in range(LOCK_TRIES - 1):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(LOCK_PAUSE_S)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.fileno()


@contextlib.contextmanager
def _cancellation() -> Generator[None]:
    def cancel(signum: int, frame: object) -> None:
        """Once: who asks again must not interrupt the ending of what runs."""
        del signum, frame
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise CancelledError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, cancel) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a program's answer
