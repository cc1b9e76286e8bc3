"""`TENURE_HOME`: made for its owner alone, and held by one process at a time.

The lock is the kernel's (flock on `lock`), so it goes with the process whatever ends it; what stands in the file only
says who holds it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import sys
import weakref
from pathlib import Path
from typing import Any

from registry.application.ports import Clock
from registry.domain.errors import BadInputError, HomeInUseError
from registry.store.values import time_text

LOCK = "lock"
_NO_PATH_OF_DUCKDB = frozenset("?\\")
"""It takes what follows a ? for options of the file, and a backslash for a /, also where neither is so."""


class Home:
    """A home that this process holds until `close()`."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Makes the folder if need be. Raises HomeInUseError naming the process that has it, or BadInputError when it
        cannot be made or written.
        """
        self.path = path.expanduser().absolute()
        self.pid = os.getpid()
        if not _NO_PATH_OF_DUCKDB.isdisjoint(str(self.path)):
            raise BadInputError(
                f"{self.path} cannot be used as a home: DuckDB opens no file whose path has a ? or a backslash in it",
                field="TENURE_HOME",
                hint="point TENURE_HOME at a folder with another name",
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise _unusable(self.path, exc) from exc
        self._closed = False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._holder: dict[str, object] = {
                "pid": self.pid,
                "command": shlex.join(_command()),
                "since": time_text(clock()),
                "url": None,
            }
            self._write()
        except BlockingIOError as exc:
            os.close(self._fd)
            raise _in_use(self.path) from exc
        except OSError as exc:
            os.close(self._fd)
            raise _unusable(self.path, exc) from exc
        _homes.add(self)

    def announce(self, url: str) -> None:
        """Tell those who find the home in use where to ask instead."""
        self._holder["url"] = url
        self._write()

    def _write(self) -> None:
        text = json.dumps(self._holder).encode()
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))

    def close(self) -> None:
        """May be repeated."""
        if not self._closed:
            self._closed = True
            if os.getpid() == self.pid:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, 0)
            os.close(self._fd)

    def abandon(self) -> None:
        """In a forked child: the lock is the parent's alone, and goes when the parent does."""
        if not self._closed:
            self._closed = True
            os.close(self._fd)


_homes: weakref.WeakSet[Home] = weakref.WeakSet()


def _abandon_all() -> None:
    for home in tuple(_homes):
        home.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def holder_of(path: Path) -> dict[str, Any]:
    """What the process that has a home wrote about itself: pid, command, since, url. Empty when nobody says."""
    try:
        found: object = json.loads((path / LOCK).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _command() -> list[str]:
    return [Path(sys.argv[0]).name or "python", *sys.argv[1:]]


def _in_use(path: Path) -> HomeInUseError:
    holder = holder_of(path)
    who = f"process {holder['pid']} (`{holder['command']}`, since {holder['since']})" if holder else "another process"
    url = holder.get("url")
    if url:
        hint = f"ask it instead: it serves {url} (TENURE_URL)"
    elif holder.get("pid") == os.getpid():
        hint = "that is this process: use the registry that it has opened, or close() that one first"
    else:
        hint = "wait until it is done, or stop it"
    return HomeInUseError(f"{path} is in use by {who}", hint=hint)


def _unusable(path: Path, exc: OSError) -> BadInputError:
    reason = "the disk is full" if exc.errno == errno.ENOSPC else exc.strerror or str(exc)
    return BadInputError(
        f"{path} cannot be used as a home: {reason}",
        field="TENURE_HOME",
        hint="point TENURE_HOME at a folder that you can write",
    )
