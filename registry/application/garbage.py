"""Work that makes hundreds of thousands of values which all live on, among which Python finds no garbage."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def collector_paused() -> Generator[None]:
    """Looking for garbage takes a third of the time of a fold or an audit, and finds none.

    The collector is the whole process's; where two threads pause it, it goes on when the first of them is done.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
