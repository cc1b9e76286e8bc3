"""Who trains a version by their own code, and until when that is believed: nobody polls them, they are heard or not."""

from __future__ import annotations

from datetime import datetime, timedelta

from registry.application.ports import Clock
from registry.domain.ids import VersionRef

SILENT_MAX = timedelta(minutes=10)
"""After which a trainer in another process, that was not heard of, is taken for dead."""


class Trainers:
    """In memory only: what trains in this process dies with it, and what trains elsewhere says that it is there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._here: set[VersionRef] = set()
        self._elsewhere: dict[VersionRef, datetime] = {}
        self._awaited_until: datetime | None = None

    def here(self, ref: VersionRef) -> None:
        """This process trains it."""
        self._here.add(ref)

    def heard(self, ref: VersionRef) -> None:
        """Another process trains it, and has just said so."""
        self._here.discard(ref)
        self._elsewhere[ref] = self._clock() + SILENT_MAX

    def await_elsewhere(self) -> None:
        """A server has started: trainers that spoke to the one before have time to be heard."""
        self._awaited_until = self._clock() + SILENT_MAX

    def ended(self, ref: VersionRef) -> None:
        self._here.discard(ref)
        self._elsewhere.pop(ref, None)

    def believed(self, ref: VersionRef) -> bool:
        until = self._elsewhere.get(ref, self._awaited_until)
        return ref in self._here or (until is not None and self._clock() < until)
