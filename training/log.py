"""Why a program ended: the end of its log, the line in it that says best why, and its exit code in words."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 64_000
KILLED: Final = 128 + signal.SIGKILL
"""How a shell tells that what it ran was killed."""
LOOKED_AT: Final = 40
"""Lines in which the reason is looked for."""


def tail(log: Path, *, lines: int) -> Sequence[str]:
    """The last lines; of a progress bar that redraws itself only what it showed last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in shown if line][-lines:]


def how_ended(code: int) -> str:
    """In words. `code`: as `subprocess` has it, negative for a signal."""
    how = f"ended with exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(-code).name}"
    if code in {-signal.SIGKILL, KILLED}:
        how += " (most likely the machine ran out of memory)"
    return how


def telling_line(log: Path) -> str | None:
    """None where nothing was printed."""
    lines = tail(log, lines=LOOKED_AT)
    telling = [line for line in lines if re.search(r"(?i)error|exception|killed|not found", line)]
    return (telling or [*lines] or [None])[-1]
