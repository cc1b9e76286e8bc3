"""The command line: each command is a thin shell that opens the registry, calls one of its methods, shows the answer.

Nothing heavy is imported until a command runs, so that `tenure --help` and shell completion answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer.core import TyperGroup

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 usage, 3 refused, 4 not found, 5 unavailable.

    `arguments` without the program's name; None takes the process's own. Errors are told on stderr, never raised.
    """
    import sys

    try:
        from registry.cli.running import run

        return run(_command, list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # before there was anything to interrupt
        sys.stderr.write("interrupted: Nothing was begun.\n")
        return 130


def _command() -> TyperGroup:
    from registry.cli.app import command

    return command()
