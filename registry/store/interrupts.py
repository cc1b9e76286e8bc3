"""Ctrl-C in the midst of a query."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Generator[None]:
    """KeyboardInterrupt where DuckDB makes a RuntimeError of it."""
    try:
        yield
    except RuntimeError as exc:
        if str(exc) != "Query interrupted":
            raise
        raise KeyboardInterrupt from exc
