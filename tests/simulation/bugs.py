"""Bugs that are planted one at a time, to see that the simulation finds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

BUGS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {}


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return
    with BUGS[name]():
        yield
