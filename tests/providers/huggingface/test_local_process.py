"""Programs as processes: started once whatever happens, found by whoever looks, gone when they are said to be gone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from providers.errors import OutcomeUnknownError, UnavailableError
from providers.huggingface import process as module
from providers.huggingface.launcher import Program
from providers.huggingface.process import LOCK_FILE, PID_FILE, ProcessLauncher

ROOT = Path(__file__).parents[3]
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STARTER = """
import sys
from pathlib import Path
from providers.huggingface.launcher import Program
from providers.huggingface.process import ProcessLauncher
folder = Path(sys.argv[1])
program = Program(argv=[sys.executable, "-S", "-c", sys.argv[2]], env={}, log=folder / "log.txt")
print("ready", flush=True)
sys.stdin.readline()
ProcessLauncher().start(folder, program)
print("started", flush=True)
sys.stdin.readline()
"""


def program(folder: Path, code: str) -> Program:
    return Program(argv=[sys.executable, "-S", "-c", code], env={"MARK": "yes"}, log=folder / "log.txt")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def holders(folder: Path) -> set[int]:
    """Whoever has the lock file open, by the kernel's own account."""
    found: set[int] = set()
    for one in psutil.process_iter():
        try:
            if any(file.path == str(folder / LOCK_FILE) for file in one.open_files()):
                found.add(one.pid)
        except psutil.Error:
            continue
    return found


def starter(folder: Path) -> subprocess.Popen[str]:
    """A registry of its own, about to start a program in the folder."""
    folder.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder), SLEEPER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for pid in holders(tmp_path / "home"):
        os.kill(pid, signal.SIGKILL)


def test_a_program_lives_in_its_folder_with_the_environment_it_was_given_and_no_other(folder: Path) -> None:
    launcher = ProcessLauncher()
    assert launcher.find(folder) is None
    assert not launcher.was_started(folder)
    started = launcher.start(
        folder, program(folder, "import os, time; print(sorted(os.environ), flush=True); time.sleep(600)")
    )
    assert started is not None
    assert launcher.find(folder) == started
    assert launcher.was_started(folder)
    assert launcher.exit_code(folder) is None
    until(lambda: (folder / "log.txt").read_text() != "")
    assert "'MARK'" in (folder / "log.txt").read_text()
    assert "'HOME'" not in (folder / "log.txt").read_text()
    launcher.stop(folder, grace_s=5)
    assert launcher.find(folder) is None
    assert not psutil.pid_exists(started.pid)
    assert launcher.exit_code(folder) == -signal.SIGTERM
    launcher.stop(folder, grace_s=5)
    launcher.ask_to_stop(folder)


def test_starting_again_answers_what_lives_there(folder: Path) -> None:
    first = ProcessLauncher().start(folder, program(folder, SLEEPER))
    assert ProcessLauncher().start(folder, program(folder, SLEEPER)) == first
    assert len(holders(folder)) == 1


def test_many_registries_that_start_at_once_start_one(folder: Path) -> None:
    children = [starter(folder) for _ in range(4)]
    for child in children:
        go(child)
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        end(child)
    (pid,) = holders(folder)
    found = ProcessLauncher().find(folder)
    assert found is not None
    assert found.pid == pid


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", range(0, 24, 2))
def test_a_registry_that_is_killed_while_it_starts_a_program_leaves_one_or_none(folder: Path, delay_ms: int) -> None:
    child = starter(folder)
    go(child)
    time.sleep(delay_ms / 1000)
    end(child)
    handle = ProcessLauncher().start(folder, program(folder, SLEEPER))
    assert handle is not None
    until(lambda: holders(folder) == {handle.pid})
    assert int((folder / PID_FILE).read_text()) == handle.pid


def test_a_program_outlives_the_registry_and_is_found_by_the_next(folder: Path) -> None:
    child = starter(folder)
    go(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    end(child)
    found = ProcessLauncher().find(folder)
    assert found is not None
    assert ProcessLauncher().exit_code(folder) is None
    ProcessLauncher().stop(folder, grace_s=5)
    assert holders(folder) == set()


def test_a_paused_program_is_alive_and_hears_that_it_shall_stop(folder: Path) -> None:
    launcher = ProcessLauncher()
    started = launcher.start(folder, program(folder, SLEEPER))
    assert started is not None
    os.kill(started.pid, signal.SIGSTOP)
    until(lambda: (found := launcher.find(folder)) is not None and found.paused)
    launcher.ask_to_stop(folder)
    until(lambda: launcher.find(folder) is None)


def test_a_deaf_program_and_its_children_are_killed(folder: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    launcher = ProcessLauncher()
    launcher.start(folder, program(folder, code))
    until(lambda: (folder / "log.txt").read_text().endswith("\n"))
    grandchild = int((folder / "log.txt").read_text())
    launcher.stop(folder, grace_s=0.1)
    until(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE)
    assert launcher.exit_code(folder) == -signal.SIGKILL


def test_what_a_dead_program_left_behind_is_ended_before_another_starts(folder: Path) -> None:
    launcher = ProcessLauncher()
    launcher.start(folder, program(folder, "import os, time\nif os.fork() == 0: time.sleep(600)"))
    until(lambda: launcher.exit_code(folder) == 0)
    assert len(holders(folder)) == 1
    assert launcher.find(folder) is None
    with pytest.raises(UnavailableError, match="left processes behind"):
        launcher.start(folder, program(folder, SLEEPER))
    assert launcher.start(folder, program(folder, SLEEPER)) is not None


def test_what_a_program_left_behind_is_ended_wherever_it_went_and_strangers_are_not(folder: Path) -> None:
    """It has a session of its own, no lock and no parent, and the program's number is somebody else's now."""
    launcher = ProcessLauncher()
    away = "import os, time\nif os.fork() == 0:\n os.setsid(); os.closerange(3, 99); print(os.getpid(), flush=True)"
    launcher.start(folder, program(folder, away + "; time.sleep(600)"))
    until(lambda: launcher.exit_code(folder) == 0 and (folder / "log.txt").read_text().endswith("\n"))
    left = psutil.Process(int((folder / "log.txt").read_text()))
    stranger = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], stdout=subprocess.PIPE, start_new_session=True)
    (folder / PID_FILE).write_text(f"{stranger.pid}\n")
    assert launcher.find(folder) is None
    launcher.stop(folder, grace_s=0)
    until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)
    assert stranger.poll() is None
    stranger.kill()
    stranger.communicate()


def test_a_folder_whose_lock_stays_held_is_said_to_be_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.setattr(module, "KILL_S_MAX", 0.1)
    with (folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutcomeUnknownError, match="survives"):
            ProcessLauncher().stop(folder, grace_s=0)


def test_a_program_that_cannot_be_executed_ends_with_its_reason_in_the_log(folder: Path) -> None:
    launcher = ProcessLauncher()
    assert launcher.start(folder, Program(argv=["/no/such/program"], env={}, log=folder / "log.txt")) is None
    until(lambda: launcher.exit_code(folder) is not None)
    assert launcher.exit_code(folder) == 127
    assert "/no/such/program" in (folder / "log.txt").read_text()


def test_a_log_that_cannot_be_written_is_a_reason_to_come_back_later(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="not started"):
        ProcessLauncher().start(folder, Program(argv=["true"], env={}, log=folder / "no" / "log.txt"))
    assert not ProcessLauncher().was_started(folder)
