"""How a command gets at the registry, and what it does there after its effect is durable."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from registry.cli.running import StoppedError

if TYPE_CHECKING:
    from registry.application.views import StepView
    from registry.embedded import Tenure

LATER = "What was asked for is recorded; `tenure reconcile` goes on with it."


@contextmanager
def opened(*, background: bool = False, interrupted: str = "Nothing was changed.") -> Generator[Tenure]:
    """The registry of TENURE_HOME for as long as one command runs. `interrupted` is said on Ctrl-C: what goes on.

    `background=True` runs its scheduler too, for commands that stay.
    """
    import registry

    try:
        with _quiet_logging(), ctrl_c(), registry.open(background=background) as tenure:
            yield tenure
    except KeyboardInterrupt as exc:
        raise StoppedError(interrupted) from exc


def settle(tenure: Tenure) -> Sequence[StepView]:
    """One pass of the reconciler, so that what can start at once does. A step that failed is noted and tried later."""
    steps = tenure.reconcile(sweep=False)
    for step in steps:
        if step.outcome == "failed":
            detail = f": {step.detail}" if step.detail else ""
            note(f"could not {step.action} {step.subject} yet{detail}")
    return steps


@contextmanager
def ctrl_c() -> Generator[None]:
    """KeyboardInterrupt also where DuckDB makes a RuntimeError of it, which it does in the midst of a query."""
    try:
        yield
    except RuntimeError as exc:
        if str(exc) != "Query interrupted":
            raise
        raise KeyboardInterrupt from exc


@contextmanager
def _quiet_logging() -> Generator[None]:
    """What the reconciler logs, commands tell in their own words; TENURE_DEBUG=1 shows both."""
    import logging

    logger = logging.getLogger("tenure")
    before = logger.propagate
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    logger.propagate = before and os.environ.get("TENURE_DEBUG", "") not in {"", "0"}
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = before


def note(text: str) -> None:
    """Something worth knowing that is not the answer: stderr."""
    typer.echo(f"note: {text}", err=True)
