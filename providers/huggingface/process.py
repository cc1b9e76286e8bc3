"""Programs as local processes which outlive the registry.

Two files in the program's folder carry its identity. `process.lock` is held (flock) by the program itself: the lock
is taken before the fork and inherited, so between "it may run" and "it runs" there is no instant at which a second
one could start, even when the registry is killed there; and the kernel releases it with the last process that has it,
whatever happens. `process.pid` is written by the child before it becomes the program. A pid is believed only while
that process has the lock file open, which neither a reused pid nor a jumping clock can fake
(docs/decisions/0010-process-identity.md).

Everything that a program starts inherits its environment, in which the folder stands: what has left the group, closed
the lock or lost its parent is found by that, and ended with the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from providers.errors import OutcomeUnknownError, UnavailableError
from providers.huggingface.launcher import Handle, Program

LOCK_FILE = "process.lock"
PID_FILE = "process.pid"
FOLDER_VARIABLE = "TENURE_PROGRAM_FOLDER"
START_S_MAX = 10.0
"""Between fork and the pid's line lie a few milliseconds, on a machine that swaps perhaps seconds."""
KILL_S_MAX = 15.0
"""SIGKILL takes effect at once unless the process waits in the kernel, on a dead disk for example."""
ENDING_S_MAX = 2.0
POLL_S = 0.02

_BECOME = 'echo $$ > "$0" && exec "$@"'
_guard = threading.Lock()
_children: dict[Path, subprocess.Popen[bytes]] = {}
"""Ours by birth in this process: kept so that they are reaped, and for their exit codes. Nothing depends on it."""


class ProcessLauncher:
    """The `Launcher` of local processes. Holds no state: any number of them, in any process, see the same."""

    def start(self, folder: Path, program: Program) -> Handle | None:
        folder.mkdir(parents=True, exist_ok=True)
        with _guard:
            lock = _take_lock(folder)
        if lock is not None:
            try:
                self._spawn(folder, program, lock)
            except OSError as exc:
                raise UnavailableError(f"{program.argv[0]} was not started: {exc}", operation="start") from exc
            finally:
                os.close(lock)
        elif self.find(folder) is None and _is_held(folder):
            self.stop(folder, grace_s=0)
            raise UnavailableError(f"what ran in {folder} had left processes behind; ended them", operation="start")
        _wait_for(lambda: _pid_in(folder) is not None or not _is_held(folder), seconds_max=START_S_MAX)
        return self.find(folder)

    def find(self, folder: Path) -> Handle | None:
        _reap()
        if not _is_held(folder):
            return None
        _wait_for(lambda: _pid_in(folder) is not None or not _is_held(folder), seconds_max=START_S_MAX)
        leader = _leader(folder)
        if leader is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            return Handle(pid=leader.pid, paused=leader.status() == psutil.STATUS_STOPPED)
        return None

    def was_started(self, folder: Path) -> bool:
        return _pid_in(folder) is not None

    def exit_code(self, folder: Path) -> int | None:
        child = _children.get(folder)
        if child is None:
            return None
        # One that ends lets go of its files a moment before it can be waited for.
        _wait_for(lambda: child.poll() is not None or _is_held(folder), seconds_max=ENDING_S_MAX)
        return child.poll()

    def ask_to_stop(self, folder: Path) -> None:
        leader = _leader(folder) if _is_held(folder) else None
        if leader is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.terminate()
                leader.send_signal(signal.SIGCONT)  # a paused process hears SIGTERM only when it goes on

    def stop(self, folder: Path, *, grace_s: float) -> None:
        members = _members(folder) if _is_held(folder) else []
        self.ask_to_stop(folder)
        _wait_for(lambda: not _is_held(folder), seconds_max=grace_s)

        def all_gone() -> bool:
            """Looked for until nobody is there: what was killed may have started more in between."""
            found = [*members, *_members(folder)]
            members.clear()
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return not found and not _is_held(folder)

        if not _wait_for(all_gone, seconds_max=KILL_S_MAX):
            raise OutcomeUnknownError(f"the process in {folder} survives SIGKILL", operation="stop")
        _reap()

    def _spawn(self, folder: Path, program: Program, lock: int) -> None:
        (folder / PID_FILE).unlink(missing_ok=True)
        with program.log.open("ab") as log:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _BECOME, str(folder / PID_FILE), *program.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=program.cwd or folder,
                env={**program.env, FOLDER_VARIABLE: str(folder)},
                start_new_session=True,
                pass_fds=(lock,),
            )
        _children[folder] = child


def _take_lock(folder: Path) -> int | None:
    """The lock file's descriptor with the lock, or None while something lives there.

    Whoever looks takes a shared lock for microseconds, so one failure says little.
    """
    fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    if _wait_for(lambda: _flock(fd, fcntl.LOCK_EX), seconds_max=5 * POLL_S):
        return fd
    os.close(fd)
    return None


def _is_held(folder: Path) -> bool:
    try:
        fd = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        with _guard:
            return not _flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(folder: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        text = (folder / PID_FILE).read_text("ascii")
        return int(text) if text.endswith("\n") else None
    return None


def _leader(folder: Path) -> psutil.Process | None:
    """The process that was started here, if it lives."""
    pid = _pid_in(folder)
    with contextlib.suppress(psutil.NoSuchProcess):
        if pid is not None and _has_open(process := psutil.Process(pid), folder / LOCK_FILE):
            return process
    return None


def _members(folder: Path) -> list[psutil.Process]:
    """The process group that was started here, the one of that number in which somebody has the lock; and whatever
    else was started by it.
    """
    number = _pid_in(folder)
    everybody = list(_processes())
    group = [process for process in everybody if number is not None and _group_of(process.pid) == number]
    if not any(_has_open(process, folder / LOCK_FILE) for process in group):
        group = []
    return [*group, *(process for process in everybody if process not in group and _was_started_in(process, folder))]


def _was_started_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(FOLDER_VARIABLE) == str(folder)
    return False


def _has_open(process: psutil.Process, file: Path) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return any(one.path == str(file.resolve()) for one in process.open_files())
    return False


def _processes() -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getpgid(pid)
    return None


def _wait_for(condition: Callable[[], bool], *, seconds_max: float) -> bool:
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _reap() -> None:
    for child in list(_children.values()):
        child.poll()
