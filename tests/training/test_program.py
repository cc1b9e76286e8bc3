"""The program from outside: how it is started, killed, started again, cancelled, and how it says what went wrong."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.training.conftest import Runs
from training import program
from training.artifact import ArtifactError
from training.contract import (
    PARTIAL_FOLDER,
    STATUS_FILE,
    manifest_of,
    read_manifest,
    read_progress,
    read_status,
    write_json,
)
from training.program import CancelledError, explain, main
from training.report import PID_VARIABLE, RunFaultError

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft 0.21 asks


def start(runs: Runs, spec: Path) -> subprocess.Popen[bytes]:
    log = (runs.folder / "log.txt").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "training", str(spec), str(runs.out)], cwd=ROOT, stdout=log, stderr=log
        )


def wait_for_step(runs: Runs, process: subprocess.Popen[bytes], step: int) -> None:
    tick = threading.Event()
    while max((point.step for point in read_progress(runs.out)[0]), default=0) < step:
        assert process.poll() is None, (runs.folder / "log.txt").read_text()
        tick.wait(0.01)


def status_of(runs: Runs) -> tuple[str, str | None]:
    status = read_status(runs.out)
    assert status is not None
    return status.state, status.error


def test_a_killed_run_goes_on_from_its_checkpoint_and_ends_as_if_nothing_had_happened(runs: Runs) -> None:
    settings = {"max_steps": 50, "batch_size": 4, "save_steps": 5, "logging_steps": 1, "eval_steps": 25}
    spec = runs.write(hyperparameters=settings)

    killed = start(runs, spec)
    wait_for_step(runs, killed, 8)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    points, offset = read_progress(runs.out)
    assert status_of(runs)[0] in {"starting", "running"}
    assert read_manifest(runs.out) is None

    cancelled = start(runs, spec)
    wait_for_step(runs, cancelled, points[-1].step + 8)
    cancelled.send_signal(signal.SIGTERM)
    assert cancelled.wait(60) == 3
    assert status_of(runs) == ("cancelled", None)
    assert read_manifest(runs.out) is None
    resumed, _ = read_progress(runs.out, offset=offset)
    assert 5 < resumed[0].step <= points[-1].step + 1

    assert main([str(spec), str(runs.out)]) == 0
    interrupted, _ = read_progress(runs.out)
    tokens = read_status(runs.out)

    shutil.move(runs.out, runs.folder / "interrupted")
    assert main([str(spec), str(runs.out)]) == 0
    uninterrupted, _ = read_progress(runs.out)
    assert interrupted[-1].metrics["valid_loss"] == pytest.approx(uninterrupted[-1].metrics["valid_loss"], abs=1e-4)
    straight = read_status(runs.out)
    assert tokens is not None
    assert straight is not None
    assert tokens.trained_tokens == straight.trained_tokens


@pytest.mark.parametrize("extra", [{}, {"early_stopping_patience": 3, "eval_steps": 1}])
def test_a_run_that_was_killed_while_it_saved_needs_no_step_to_finish(runs: Runs, extra: dict[str, int]) -> None:
    # A rate that stays: one step too many would show.
    settings = {"max_steps": 3, "batch_size": 4, "lr_scheduler_type": "constant", **extra}
    assert runs.run(hyperparameters=settings) == 0
    losses = read_status(runs.out)
    before = manifest_of(runs.out / "model")
    (runs.out / "manifest.json").unlink()
    (runs.out / PARTIAL_FOLDER).mkdir()
    points = len(read_progress(runs.out)[0])
    assert runs.run(hyperparameters=settings) == 0
    assert read_manifest(runs.out) == before
    assert len(read_progress(runs.out)[0]) == points
    again = read_status(runs.out)
    assert losses is not None
    assert again is not None
    assert again.metrics == losses.metrics


def test_two_arguments_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["only-one"]) == 2
    assert "usage: python -m training SPEC OUT" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[1]", '{"name": "x", "surprise": 1}'])
def test_a_spec_that_cannot_be_read_is_refused(runs: Runs, text: str) -> None:
    spec = runs.folder / "spec.json"
    spec.write_text(text)
    assert main([str(spec), str(runs.out)]) == 2
    assert status_of(runs)[0] == "failed"
    assert main([str(runs.folder / "nowhere.json"), str(runs.out)]) == 2


def test_every_fault_of_a_spec_is_in_its_status(runs: Runs) -> None:
    assert runs.run(hyperparameters={"max_steps": 0, "bogus": 1}) == 2
    assert status_of(runs) == ("failed", "max_steps: 0 is below 1; bogus: unknown hyperparameter")


def test_a_run_waits_for_the_lock_of_one_that_is_just_dying(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.out.mkdir()
    with (runs.out / program.LOCK_FILE).open("w") as dying:
        fcntl.flock(dying, fcntl.LOCK_EX)

        def dies(seconds: float) -> None:
            fcntl.flock(dying, fcntl.LOCK_UN)

        monkeypatch.setattr(program.time, "sleep", dies)
        assert runs.run(base_model="/nowhere") == 1
    assert status_of(runs) == ("failed", "the base model /nowhere is not a folder")


def test_a_folder_has_one_run_at_a_time(
    runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "LOCK_PAUSE_S", 0.0)
    runs.out.mkdir()
    with (runs.out / program.LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert runs.run() == 1
    assert "another run is training into this folder" in capsys.readouterr().err
    assert not (runs.out / STATUS_FILE).exists()


def test_an_out_that_cannot_be_a_folder_is_named(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.out.write_text("a file")
    assert runs.run() == 1
    assert f"{runs.out}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/nowhere/model", "the base model /nowhere/model is not a folder"),
        ("nobody/no-model", "the base model nobody/no-model is not in the local cache, and downloads are not allowed"),
        ("not a name", "the base model not a name is not in the local cache, and downloads are not allowed"),
    ],
)
def test_a_base_model_that_is_not_there_is_named(
    runs: Runs, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(runs.folder))
    assert runs.run(base_model=name) == 1
    assert status_of(runs) == ("failed", reason)


def test_a_base_model_that_is_no_causal_language_model_is_refused(runs: Runs) -> None:
    folder = runs.folder / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    assert runs.run(base_model=str(folder)) == 1
    assert status_of(runs) == (
        "failed",
        f"the base model {folder} was refused: config.json: BertForMaskedLM is not a causal language model",
    )


def test_a_full_disk_is_said_to_be_one(runs: Runs) -> None:
    runs.out.mkdir()
    (runs.out / "progress.jsonl").symlink_to("/dev/full")
    assert runs.run() == 1
    assert status_of(runs)[1] is not None
    assert str(status_of(runs)[1]).startswith("the disk is full")


@pytest.mark.parametrize(
    ("exc", "start"),
    [
        (MemoryError(), "out of memory: lower"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory: lower"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory: lower"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "the disk is full"),
        (ArtifactError("x.bin: may hold a pickle"), "the trained model was refused: x.bin: may hold a pickle"),
        (RunFaultError("because"), "because"),
        (ValueError("one\n  two"), "ValueError: one two"),
        (OSError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_what_a_library_raises_becomes_one_sentence(exc: Exception, start: str) -> None:
    assert explain(exc).startswith(start)
    assert "\n" not in explain(exc)


def test_a_cancellation_that_comes_after_the_manifest_is_too_late(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def finished_and_cancelled(spec: object, out: Path, *args: object, **kwargs: object) -> dict[str, float]:
        (out / "model").mkdir()
        write_json(out / "manifest.json", manifest_of(out / "model"))
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("SIGTERM was not heard")

    monkeypatch.setattr(program, "_train", finished_and_cancelled)
    before = signal.getsignal(signal.SIGTERM)
    assert runs.run() == 0
    assert status_of(runs) == ("succeeded", None)
    assert signal.getsignal(signal.SIGTERM) is before


class TestSeveralGpus:
    """Without a GPU: how the workers are started, and how their end is read, with workers that are plain scripts."""

    @pytest.fixture(autouse=True)
    def two_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def workers(self, runs: Runs, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
        """An interpreter of our own that stands for `accelerate launch`: it notes its command and writes a status."""
        fake = runs.folder / "python"
        fake.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            f"open({str(runs.folder / 'command')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
            "path = sys.argv[-1] + '/status.json'\n"
            "status = json.load(open(path))\n"
            f"status['state'] = {state!r}\n"
            "assert status['pid'] == int(os.environ['TENURE_RUN_PID'])\n"
            "json.dump(status, open(path, 'w'))\n"
        )
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))

    @pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("cancelled", 3), ("failed", 1), ("running", 1)])
    def test_they_are_launched_by_accelerate(
        self, runs: Runs, monkeypatch: pytest.MonkeyPatch, state: str, code: int
    ) -> None:
        self.workers(runs, monkeypatch, state)
        assert runs.run(device="auto") == code
        command = (runs.folder / "command").read_text()
        assert command.startswith("-m accelerate.commands.launch --multi_gpu --num_processes=2 ")
        assert command.endswith(f"-m training {runs.folder / 'spec.json'} {runs.out}")
        if state == "running":
            assert status_of(runs) == ("failed", "accelerate launch ended with exit code 0 before the run did")

    def test_cancelling_reaches_them(self, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
        waited: list[str] = []

        class Workers:
            returncode = 0

            def __init__(self, *args: object, **kwargs: object) -> None: ...

            def wait(self) -> None:
                waited.append("wait")
                if len(waited) == 1:
                    raise CancelledError

            def terminate(self) -> None:
                waited.append("terminate")

        monkeypatch.setattr(program.subprocess, "Popen", Workers)
        assert runs.run(device="auto") == 1
        assert waited == ["wait", "terminate", "wait"]

    def test_a_worker_trains_itself_and_only_the_first_reports(
        self, runs: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(PID_VARIABLE, str(os.getpid()))
        monkeypatch.setenv("RANK", "1")
        trained: list[bool] = []

        def train(*args: object, main_rank: bool) -> dict[str, float]:
            trained.append(main_rank)
            return {}

        monkeypatch.setattr(program, "_train", train)
        assert runs.run(device="auto") == 0
        assert trained == [False]
        assert not (runs.out / STATUS_FILE).exists()


def test_a_run_may_be_made_from_a_thread_where_signals_cannot_be_heard(runs: Runs) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(runs.run(base_model="/nowhere")))
    thread.start()
    thread.join()
    assert codes == [1]
    assert status_of(runs) == ("failed", "the base model /nowhere is not a folder")
