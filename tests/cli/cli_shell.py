"""What a command answered, as a shell sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """What was piped, split at tabs, without the header."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]

    @property
    def header(self) -> list[str]:
        return self.out.splitlines()[0].split("\t")


Run = Callable[..., Answer]
