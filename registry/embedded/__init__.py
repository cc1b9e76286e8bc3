"""`registry.open()`: a registry that runs in this process, with its scheduler inside, and the methods that users call.

The same methods, with the same arguments and answers, are spoken over HTTP to a registry elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.composition import open_home
from registry.domain.errors import BadInputError
from registry.embedded.declaring import Declaring
from registry.embedded.moves import Moves
from registry.embedded.training import Training, Wanted
from registry.embedded.version import GONE, NewVersion, Version, Which


def default_home() -> Path:
    """`TENURE_HOME`, else `~/.tenure`."""
    return Path(os.environ.get("TENURE_HOME") or "~/.tenure").expanduser().absolute()


def default_actor() -> str:
    """`TENURE_ACTOR`, else `user:` and the login name."""
    import getpass

    given = os.environ.get("TENURE_ACTOR")
    if given:
        return given if ":" in given else f"user:{given}"
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"user:{os.getuid()}"


def open(  # noqa: A001 - the public name is `registry.open`
    home: Path | str | None = None, *, actor: str | None = None, background: bool = True
) -> Tenure:
    """Open a home, making it when it is new. Use it as a context manager.

    `background` False runs nothing by itself: work goes on in `wait` and `reconcile` only, as single commands want it.
    Raises HomeInUseError naming the process that has the home, BadInputError where it cannot be written.
    """
    if home == "":
        raise BadInputError("the home has no name: name a folder, or leave it out for TENURE_HOME", field="home")
    path = Path(home).expanduser().absolute() if home is not None else default_home()
    return Tenure(open_home(path), actor=actor or default_actor(), background=background)


class Tenure(Training, Moves, Declaring):
    """One open registry. Safe to use from several threads. Every command takes `reason` and `idempotency_key`."""


__all__ = ["GONE", "NewVersion", "Tenure", "Version", "Wanted", "Which", "default_actor", "default_home", "open"]
