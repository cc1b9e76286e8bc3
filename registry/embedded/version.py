"""A version in the hands of its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

from registry.application.views import MetricView, VersionView, to_json
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef

ENDED = frozenset({"trained", "active", "retired", "failed", "cancelled", "deleted"})
"""States in which nothing is under way by itself."""
WANTED = ENDED - {"failed", "cancelled"}
GONE = frozenset({"deleted"})

Progress = Callable[[VersionView, list[MetricView]], None]


class Waiting(Protocol):
    """What a version asks of the registry that it is in."""

    def version(self, ref: str) -> VersionView: ...

    def wait(
        self, ref: str, *, until: frozenset[str], timeout_s: float | None, on_progress: Progress | None
    ) -> VersionView: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(VersionView):
    """A version as it was when it was last read; `refresh()` reads it again."""

    tenure: Waiting = field(repr=False, compare=False)
    until: frozenset[str] = field(default=WANTED, repr=False, compare=False)

    @classmethod
    def of(cls, tenure: Waiting, view: VersionView, until: frozenset[str] = WANTED) -> Version:
        told = {one.name: getattr(view, one.name) for one in fields(VersionView)}
        return cls(**told, tenure=tenure, until=until)

    def as_json(self) -> dict[str, object]:
        return {one.name: to_json(getattr(self, one.name)) for one in fields(VersionView)}

    def refresh(self) -> Version:
        return Version.of(self.tenure, self.tenure.version(self.ref), self.until)

    def wait(self, timeout_s: float | None = None, on_progress: Progress | None = None) -> Version:
        """Until what was asked for has come about, driving the work; the version as it is then.

        Raises TenureError when it came to nothing, or after `timeout_s`: the work goes on then, and may be waited for
        again.
        """
        view = self.tenure.wait(self.ref, until=self.until, timeout_s=timeout_s, on_progress=on_progress)
        if view.state not in self.until:
            raise TenureError(f"{view.ref} is {view.state}: {view.error or 'stopped'}")
        if view.error is not None and view.state == "trained":
            raise TenureError(f"{view.ref} was not activated: {view.error}")
        return Version.of(self.tenure, view, self.until)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that is trained by the code in its `with` block: save a model in safetensors into `directory`."""

    ref: str
    version: int
    directory: Path

    def __str__(self) -> str:
        return self.ref


Which = str | VersionView | NewVersion
"""A version, as whoever asks for something has it."""


def ref_of(version: Which) -> VersionRef:
    return VersionRef.parse(str(version))
