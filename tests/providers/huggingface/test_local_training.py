"""Jobs in processes: found again, resumed, cancelled, and never run twice. See conformance for the rest."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from providers.errors import RejectedError, UnavailableError
from providers.huggingface import training as module
from providers.huggingface.launcher import Handle, Program
from providers.huggingface.process import ProcessLauncher
from providers.huggingface.provider import LocalProvider
from providers.ports import MetricPoint
from tests.providers.huggingface.local_harness import WAIT_S_MAX, LocalHarness

ROOT = Path(__file__).parents[3]
REGISTRY = """
import sys, time
from pathlib import Path
from tests.providers.huggingface.local_harness import LocalHarness
harness = LocalHarness(Path(sys.argv[1]))
harness.connect().training.submit(harness.training_request("job-1", ends=False))
print("submitted", flush=True)
time.sleep(600)
"""


def starts(harness: LocalHarness, name: str) -> list[str]:
    return (harness.place("jobs", name) / "starts.txt").read_text().splitlines()


def go_on(harness: LocalHarness, name: str) -> None:
    (harness.place("jobs", name) / "go-on").touch()


def test_a_registry_that_is_killed_in_mid_training_is_followed_by_one_that_picks_up_the_same_process(
    harness: LocalHarness,
) -> None:
    registry = subprocess.Popen(
        [sys.executable, "-c", REGISTRY, str(harness.folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert registry.stdout is not None
    assert registry.stdout.readline() == "submitted\n"
    harness.job_at_step("job-1", 2)
    pid = harness.process("jobs", "job-1").pid
    registry.kill()
    registry.communicate()
    assert harness.job("job-1").status == "running"
    assert harness.process("jobs", "job-1").pid == pid
    again = harness.connect().training.submit(harness.training_request("job-1", ends=False))
    assert (again.id, again.status) == ("job-1", "running")
    go_on(harness, "job-1")
    assert harness.job_until("job-1", "succeeded").error is None
    assert len(starts(harness, "job-1")) == 1


def test_a_trainer_that_is_killed_is_started_again_and_ends_well(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "die-once"))
    report = harness.job_until("job-1", "succeeded")
    assert (report.step, report.steps_total, report.metrics) == (3, 3, {"train_loss": 0.0, "valid_loss": 1.0})
    assert report.artifact is not None
    assert report.artifact.base_model == "tiny"
    assert len(starts(harness, "job-1")) == 2
    points = harness.connect().training.metrics("job-1", after_step=1)
    assert [(one.step, dict(one.metrics)) for one in points] == [
        (2, {"train_loss": 1.0, "valid_loss": 2.0}),
        (3, {"train_loss": 0.0, "valid_loss": 1.0}),
    ]


def test_a_trainer_that_is_killed_each_time_has_failed_and_stays_so(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "killed-at-once"))
    report = harness.job_until("job-1", "failed")
    assert "killed 3 times" in str(report.error)
    assert len(starts(harness, "job-1")) == module.STARTS_MAX
    assert harness.job("job-1") == report
    assert len(starts(harness, "job-1")) == module.STARTS_MAX


def test_an_interpreter_that_cannot_train_fails_at_once_with_its_last_words(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "no-torch"))
    report = harness.job_until("job-1", "failed")
    assert report.error is not None
    assert report.error.endswith("(exit code 1): ModuleNotFoundError: No module named 'torch'")
    assert len(starts(harness, "job-1")) == 1
    assert harness.connect().training.log_tail("job-1", lines=2) == [
        "start 1",
        "ModuleNotFoundError: No module named 'torch'",
    ]


def test_a_run_that_says_it_failed_is_not_started_again(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.failing_request("job-1"))
    assert harness.job_until("job-1", "failed").error == "the loss is not a number"
    assert len(starts(harness, "job-1")) == 1


class CrashingLauncher(ProcessLauncher):
    """The registry dies at the instant of the start."""

    def start(self, folder: Path, program: Program) -> Handle | None:
        raise KeyboardInterrupt


def test_a_registry_that_dies_between_record_and_start_is_followed_by_one_that_starts_the_job(
    harness: LocalHarness,
) -> None:
    request = harness.training_request("job-1")
    dying = LocalProvider(harness.connection, now=harness.now, launcher=CrashingLauncher())
    with pytest.raises(KeyboardInterrupt):
        dying.training.submit(request)
    dying.close()
    (found,) = harness.connect().training.find(name="job-1", token=request.token)
    assert found.outcome == "running"
    harness.job_until("job-1", "succeeded")


class BusyLauncher(ProcessLauncher):
    """Nothing can be started for now."""

    def start(self, folder: Path, program: Program) -> Handle | None:
        raise UnavailableError("too many processes", operation="start")


def test_a_job_that_cannot_be_started_now_is_started_when_asked_again(harness: LocalHarness) -> None:
    busy = LocalProvider(harness.connection, now=harness.now, launcher=BusyLauncher())
    with pytest.raises(UnavailableError):
        busy.training.submit(harness.training_request("job-1"))
    assert busy.training.poll(["job-1"])["job-1"].status == "resuming"
    busy.close()
    harness.connect().training.submit(harness.training_request("job-1"))
    harness.job_until("job-1", "succeeded")


def test_a_paused_trainer_is_shown_as_paused_and_goes_on(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.training_request("job-1", ends=False))
    harness.job_at_step("job-1", 2)
    os.kill(harness.process("jobs", "job-1").pid, signal.SIGSTOP)
    assert harness.job_until("job-1", "paused").outcome == "running"
    os.kill(harness.process("jobs", "job-1").pid, signal.SIGCONT)
    go_on(harness, "job-1")
    harness.job_until("job-1", "succeeded")


def test_a_trainer_that_dies_of_the_cancellation_without_a_word_is_cancelled(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "die-on-term"))
    harness.job_at_step("job-1", 2)
    harness.connect().training.cancel("job-1")
    harness.job_until("job-1", "cancelled")
    assert len(starts(harness, "job-1")) == 1


def test_a_trainer_that_does_not_hear_its_cancellation_is_killed_in_the_end(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "deaf"))
    harness.job_at_step("job-1", 2)
    harness.connect().training.cancel("job-1")
    assert harness.job("job-1").status == "cancelling"
    harness.later(module.CANCEL_S_MAX + 1)
    harness.job_until("job-1", "cancelled")


def test_the_newest_step_waits_for_its_validation_loss(harness: LocalHarness) -> None:
    request = harness.behaving("job-1", "hang", validation=True)
    harness.connect().training.submit(request)
    harness.job_at_step("job-1", 2)

    def seen() -> list[MetricPoint]:
        return list(harness.connect().training.metrics("job-1", after_step=0))

    assert [one.step for one in seen()] == [1]
    go_on(harness, "job-1")
    harness.job_until("job-1", "succeeded")
    assert [one.step for one in seen()] == [1, 2, 3]


def test_nothing_but_what_it_needs_is_in_a_trainers_environment(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary@proxy")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    harness.connect().training.submit(harness.training_request("job-1"))
    harness.job_until("job-1", "succeeded")
    (line,) = starts(harness, "job-1")
    assert "'CUDA_VISIBLE_DEVICES'" in line
    assert "'HF_HUB_OFFLINE'" in line
    assert "OPENAI" not in line
    assert "PROXY" not in line


def test_every_fault_of_a_request_is_named(harness: LocalHarness) -> None:
    request = dataclasses.replace(
        harness.training_request("job-1"),
        base_model="gone",
        hyperparameters={"learning_rat": 1, "max_length": -1},
        train=dataclasses.replace(harness.training_request("x").train, path=Path("/no/such/rows")),
        code=None,
    )
    with pytest.raises(RejectedError) as refused:
        harness.connect(fine_tuning=False).training.submit(request)
    for fault in ("does not fine-tune", "/no/such/rows", "learning_rat: unknown", "max_length", "'gone'"):
        assert fault in refused.value.message
    assert not harness.place("jobs", "job-1").exists()
    with pytest.raises(RejectedError, match=r"method 'dpo'.*no file /no/such.py"):
        harness.connect().training.validate(dataclasses.replace(request, method="dpo", code=Path("/no/such.py")))


def test_custom_code_has_hyperparameters_of_its_own(harness: LocalHarness) -> None:
    code = harness.folder / "train.py"
    code.touch()
    request = dataclasses.replace(harness.training_request("job-1"), code=code, hyperparameters={"anything": 1})
    harness.connect().training.validate(request)
    assert harness.connect().training.estimate(request).steps is None


@pytest.mark.parametrize(
    ("hyperparameters", "steps", "tokens"),
    [
        ({"epochs": 2, "batch_size": 5}, 4, 200),
        ({"epochs": 2, "batch_size": 2, "gradient_accumulation_steps": 2}, 6, 200),
        ({"steps": 7, "batch_size": 5}, 7, 350),
    ],
)
def test_an_estimate_counts_steps_and_tokens(
    harness: LocalHarness, hyperparameters: dict[str, object], steps: int, tokens: int
) -> None:
    request = harness.behaving("job-1", "succeed", hyperparameters=hyperparameters)
    estimate = harness.connect().training.estimate(request)
    assert (estimate.steps, estimate.tokens, estimate.cost) == (steps, tokens, None)
    unknown = dataclasses.replace(request, train=dataclasses.replace(request.train, tokens=None))
    assert harness.connect().training.estimate(unknown).tokens is None


def test_a_name_is_never_used_for_another_job(harness: LocalHarness) -> None:
    request = harness.training_request("job-1")
    harness.connect().training.submit(request)
    with pytest.raises(RejectedError, match="another token"):
        harness.connect().training.submit(dataclasses.replace(request, token="another"))
    with pytest.raises(RejectedError, match="not a name"):
        harness.connect().training.submit(dataclasses.replace(request, name="../outside"))
    assert harness.connect().training.poll(["../outside"]) == {}
    harness.job_until("job-1", "succeeded")


def test_a_disk_that_cannot_be_written_is_a_reason_to_come_back_later(harness: LocalHarness) -> None:
    harness.connection.folder.mkdir()
    (harness.connection.folder / "jobs").write_text("not a folder")
    with pytest.raises(UnavailableError, match="jobs"):
        harness.connect().training.submit(harness.training_request("job-1"))
    with pytest.raises(UnavailableError, match="jobs"):
        harness.connect().training.find(name="job-1", token="t")


@pytest.mark.parametrize("file", ["record.json", "status.json", "manifest.json", "spec.json"])
def test_a_job_whose_files_were_damaged_has_failed_alone_and_leaves_no_process(
    harness: LocalHarness, file: str
) -> None:
    training = harness.connect().training
    training.submit(harness.behaving("job-1", "with-child"))
    training.submit(harness.training_request("job-2", ends=False))
    harness.job_at_step("job-1", 2)
    trainer = harness.process("jobs", "job-1")
    (harness.place("jobs", "job-1") / file).write_text('{"state": ')
    reports = harness.connect().training.poll(["job-1", "job-2"])
    assert reports["job-2"].outcome == "running"
    training.submit(harness.training_request("job-3", ends=False))
    if file != "spec.json":
        assert reports["job-1"].outcome == "failed"
        assert f"{file} is damaged" in str(reports["job-1"].error) or "JSONDecodeError" in str(reports["job-1"].error)
        assert not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE


def test_a_job_that_has_removed_its_record_is_gone_with_its_processes(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.behaving("job-1", "with-child"))
    harness.job_at_step("job-1", 2)
    trainer = harness.process("jobs", "job-1")
    children = trainer.children()
    (harness.place("jobs", "job-1") / "record.json").unlink()
    assert harness.connect().training.poll(["job-1"]) == {}
    for one in (trainer, *children):
        assert not one.is_running() or one.status() == psutil.STATUS_ZOMBIE


def test_lines_that_are_no_points_do_not_hide_the_losses(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.training_request("job-1", ends=False))
    harness.job_at_step("job-1", 2)
    with (harness.place("jobs", "job-1") / "progress.jsonl").open("a") as file:
        file.write('nonsense\n[1]\n{"step": "x", "metrics": {}}\n{"step": 1e999, "metrics": {"train_loss": 1}}\n')
        file.write('{"step": 99999999999999999999999, "metrics": {"train_loss": 1.0}}\n' + "[" * 100_000 + "\n")
        file.write('{"step": 9, "metrics": {"\\ud800": 1.0}}\n')
    assert [one.step for one in harness.connect().training.metrics("job-1", after_step=0)] == [1, 2]


def leavings(harness: LocalHarness, name: str) -> list[Path]:
    """What a trainer leaves for going on."""
    folders = [harness.place("jobs", name) / one for one in ("checkpoints", ".model.partial")]
    for folder in folders:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "optimizer.pt").write_bytes(b"x")
    return folders


@pytest.mark.parametrize("behaviour", ["succeed", "fail", "no-torch"])
def test_what_an_ended_job_has_left_for_going_on_is_cleaned_up(harness: LocalHarness, behaviour: str) -> None:
    harness.connect().training.submit(harness.behaving("job-1", behaviour))
    report = harness.job_until("job-1", "succeeded", "failed")
    wait_until_ended(harness, "job-1")
    left = leavings(harness, "job-1")
    assert harness.connect().training.clean_up() == [str(folder) for folder in left]
    assert not any(folder.exists() for folder in left)
    assert harness.connect().training.clean_up() == []
    assert harness.job("job-1") == report


def test_a_job_that_can_go_on_keeps_what_it_goes_on_from(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.training_request("job-1", ends=False))
    harness.job_at_step("job-1", 2)
    left = leavings(harness, "job-1")
    assert harness.connect().training.clean_up() == []
    harness.process("jobs", "job-1").kill()
    wait_until_ended(harness, "job-1")
    assert harness.connect().training.clean_up() == []
    assert all(folder.exists() for folder in left)


def test_a_job_whose_files_are_damaged_is_left_to_whoever_looks(harness: LocalHarness) -> None:
    harness.connect().training.submit(harness.training_request("job-1"))
    harness.job_until("job-1", "succeeded")
    wait_until_ended(harness, "job-1")
    leavings(harness, "job-1")
    (harness.place("jobs", "job-1") / "manifest.json").write_text("[]")
    assert harness.connect().training.clean_up() == []


def wait_until_ended(harness: LocalHarness, name: str) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while ProcessLauncher().find(harness.place("jobs", name)) is not None:
        assert time.monotonic() < deadline
        harness.advance()
