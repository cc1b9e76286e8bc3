from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from training import report
from training.contract import PROGRESS_FILE, read_progress, read_status
from training.report import PID_VARIABLE, Reporter, last_tokens


def test_a_run_is_named_by_its_process_from_the_start(tmp_path: Path) -> None:
    with Reporter(tmp_path):
        status = read_status(tmp_path)
    assert status is not None
    assert (status.state, status.pid) == ("starting", os.getpid())
    assert status.pid_started_at == psutil.Process().create_time()


def test_a_worker_reports_under_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PID_VARIABLE, str(os.getppid()))
    with Reporter(tmp_path) as reporter:
        assert reporter.status.pid == os.getppid()


def test_the_heart_beats_while_the_program_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "HEARTBEAT_S", 0.03)
    beats = threading.Semaphore(0)
    write = report.write_json

    def counted(path: Path, value: object) -> None:
        write(path, value)
        beats.release()

    monkeypatch.setattr(report, "write_json", counted)
    with Reporter(tmp_path) as reporter:
        first = read_status(tmp_path)
        reporter.running(step=3, steps_total=9, trained_tokens=70, device="cpu")
        reporter.running(step=4, steps_total=9)
        for _ in range(3):
            assert beats.acquire(timeout=10)
        status = read_status(tmp_path)
    assert first is not None
    assert status is not None
    assert status.heartbeat_at > first.heartbeat_at
    assert (status.state, status.step, status.steps_total) == ("running", 4, 9)
    assert (status.trained_tokens, status.device) == (70, "cpu")


def test_the_heartbeat_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "HEARTBEAT_S", 0.03)
    with Reporter(tmp_path) as reporter:
        failed = threading.Semaphore(0)

        def full(path: Path, value: object) -> None:
            failed.release()
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(report, "write_json", full)
            assert failed.acquire(timeout=10)
            assert failed.acquire(timeout=10)
        reporter.finish("succeeded", metrics={"train_loss": 1.0})
    status = read_status(tmp_path)
    assert status is not None
    assert (status.state, status.metrics) == ("succeeded", {"train_loss": 1.0})


def test_points_can_be_read_as_they_come(tmp_path: Path) -> None:
    with Reporter(tmp_path) as reporter:
        reporter.point(1, 0.5, {"train_loss": 2.0, "num_tokens": 10})
        first, offset = read_progress(tmp_path)
        reporter.point(2, None, {"num_tokens": 25})
        second, _ = read_progress(tmp_path, offset=offset)
    assert [(point.step, point.epoch) for point in (*first, *second)] == [(1, 0.5), (2, None)]
    assert (last_tokens(tmp_path, 0), last_tokens(tmp_path, 1), last_tokens(tmp_path, 9)) == (0, 10, 25)


def test_half_a_line_of_a_killed_run_is_dropped(tmp_path: Path) -> None:
    with Reporter(tmp_path) as reporter:
        reporter.point(1, None, {})
    with (tmp_path / PROGRESS_FILE).open("a") as file:
        file.write('{"step": 2, "ep')
    with Reporter(tmp_path) as reporter:
        reporter.point(2, None, {})
    assert [point.step for point in read_progress(tmp_path)[0]] == [1, 2]


def test_a_silent_reporter_writes_nothing(tmp_path: Path) -> None:
    with Reporter(tmp_path, silent=True) as reporter:
        reporter.point(1, None, {})
        reporter.finish("failed", error="x")
    assert list(tmp_path.iterdir()) == []
