"""How a command gets at the registry, and what it does there after its effect is durable."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from registry.cli.output import visible
from registry.cli.running import StoppedError, debugging
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.application.views import StepView
    from registry.embedded import Tenure

LATER = "What was asked for is recorded; `tenure reconcile` goes on with it."


@contextmanager
def opened(*, background: bool = False, interrupted: str = "Nothing was changed.") -> Generator[Tenure]:
    """The registry of TENURE_HOME for as long as one command runs. `interrupted` is said on Ctrl-C: what goes on.

    `background=True` runs its scheduler too, for commands that stay.
    """
    try:
        with _quiet_logging(), _registry(background=background) as tenure:
            yield tenure
    except KeyboardInterrupt as exc:
        raise StoppedError(interrupted) from exc


def _registry(*, background: bool) -> Tenure:
    """The server that TENURE_URL names, or that has this home, by its `server.json`; else the home itself."""
    import registry
    from registry.embedded import default_actor, default_home
    from registry.remote.finding import find_server

    url = os.environ.get("TENURE_URL")
    if url:
        return registry.connect(url, os.environ.get("TENURE_TOKEN"), actor=default_actor())
    found = find_server(default_home())
    if found is not None:
        token = os.environ.get("TENURE_TOKEN") or found.token
        return registry.connect(found.url, token, actor=default_actor())
    return registry.open(background=background)


def serving(home: Path, actor: str, host: str, port: int, *, auth: bool, ready: Callable[[str], None]) -> None:
    """Serve until a signal says to stop. Without the extra `server`, says how to install it."""
    try:
        from registry.server import Settings, serve
    except ImportError as exc:
        raise BadInputError(f"the server is not installed ({exc})", hint="pip install 'tenure[server]'") from exc
    level = os.environ.get("TENURE_LOG", "INFO").upper()
    serve(Settings(home=home, actor=actor, host=host, port=port, auth=auth, log_level=level), ready)


def settle(tenure: Tenure) -> Sequence[StepView]:
    """One pass of the reconciler, so that what can start at once does. A step that failed is noted and tried later."""
    if tenure.elsewhere:
        return []
    steps = tenure.reconcile(sweep=False)
    for step in steps:
        if step.outcome == "failed":
            detail = f": {step.detail}" if step.detail else ""
            note(f"could not {step.action} {step.subject} yet{detail}")
    return steps


@contextmanager
def _quiet_logging() -> Generator[None]:
    """What the reconciler logs, commands tell in their own words; TENURE_LOG=DEBUG shows both. Of data, it is noted."""
    import logging

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    logger, data, notes = logging.getLogger("tenure"), logging.getLogger("tenure.data"), Notes()
    data.addHandler(notes)
    before = logger.propagate
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    logger.propagate = before and debugging()
    try:
        yield
    finally:
        data.removeHandler(notes)
        logger.removeHandler(nowhere)
        logger.propagate = before


def note(text: str) -> None:
    """Something worth knowing that is not the answer: stderr."""
    typer.echo(visible(f"note: {text}"), err=True)
