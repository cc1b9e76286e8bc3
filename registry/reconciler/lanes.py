"""A lane per connection: what is done on one waits for nothing that is done on another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """A lane is used by one caller at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, threading.Lock] = {}

    def busy(self, name: str) -> bool:
        return self._lane(name).locked()

    def run(self, names: Sequence[str], work: Callable[[str], list[T]], *, wait: bool) -> list[T]:
        """The work of each lane, at the same time, and all that came of it; `wait` False leaves out busy lanes.

        The caller's own thread does the first, and is interrupted there. Raises what a lane raised.
        """
        found: dict[str, list[T]] = {}
        raised: list[BaseException] = []

        def use(name: str) -> None:
            lane = self._lane(name)
            if lane.acquire(blocking=wait):
                try:
                    found[name] = work(name)
                finally:
                    lane.release()

        def use_beside(name: str) -> None:
            try:
                use(name)
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                raised.append(error)

        beside = [threading.Thread(target=use_beside, args=(name,), daemon=True) for name in names[1:]]
        for thread in beside:
            thread.start()
        for name in names[:1]:
            use(name)
        for thread in beside:
            thread.join()
        if raised:
            raise raised[0]
        return [one for name in names for one in found.get(name, ())]

    def _lane(self, name: str) -> threading.Lock:
        with self._lock:
            return self._lanes.setdefault(name, threading.Lock())
