"""How a program of ours is started, found again and stopped: the port. `process.py` does it with local processes.

A program lives in a folder: the folder is its identity, so whoever knows the folder finds the program, also after a
restart of the registry. At most one program lives in a folder at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run: an argument list (never a shell's line) and its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    """stdout and stderr are appended here."""
    cwd: Path | None = None
    """Where it runs; by default, in its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A live program. `paused`: stopped by a signal or a suspended machine; not dead."""

    pid: int
    paused: bool = False


class Launcher(Protocol):
    def start(self, folder: Path, program: Program) -> Handle | None:
        """Start, or answer what already lives in the folder: never a second one. None: it has already ended.

        Raises UnavailableError when it could not be started (nothing happened).
        """
        ...

    def find(self, folder: Path) -> Handle | None:
        """What lives in the folder now. Definitive: None means that nothing does."""
        ...

    def was_started(self, folder: Path) -> bool:
        """Whether anything was ever started here, as far as a crash of the registry lets one know."""
        ...

    def exit_code(self, folder: Path) -> int | None:
        """How it ended (negative: the signal), or None where that is not known: another process started it."""
        ...

    def ask_to_stop(self, folder: Path) -> None:
        """SIGTERM, and return at once. Nothing there: success."""
        ...

    def stop(self, folder: Path, *, grace_s: float) -> None:
        """Ask, then kill what is left after `grace_s`: whatever the program has started, even where it has ended.
        Returns when nothing of it lives any more.

        Raises OutcomeUnknownError when it cannot be killed (a process stuck in the kernel).
        """
        ...
