"""Collecting faults: all are counted, the first by file and row are kept."""

from __future__ import annotations

from registry.store.datasets.model import DataFault


class Faults:
    """Keeps the first `keep_max` faults by file (in the order of `files`) and row, and counts the rest.

    A fault of a whole file comes before those of its rows.
    """

    def __init__(self, *, keep_max: int, files: tuple[str, ...]) -> None:
        self.total = 0
        self._keep_max = keep_max
        self._order = {file: place for place, file in reversed(list(enumerate(files)))}
        self._kept: list[DataFault] = []

    def add(self, fault: DataFault) -> None:
        self.total += 1
        self._kept.append(fault)
        if len(self._kept) >= 2 * self._keep_max + 2:
            self._kept = list(self.first())

    def first(self) -> tuple[DataFault, ...]:
        kept = sorted(self._kept, key=lambda fault: (self._order[fault.file], fault.row or 0))
        return tuple(kept[: self._keep_max])
