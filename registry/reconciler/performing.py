"""What performing a step gives, what one look at a provider serves, and what is remembered between two looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from registry.domain.plan import Step

Report = TypeVar("Report")

DRAIN_MAX = timedelta(minutes=10)
"""How long a deletion waits for requests that run on the deployment; then they are cut off, since it costs money."""


def nobody(deployment: str) -> int:
    """Where no gateway runs, nothing is known to run on a deployment."""
    del deployment
    return 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing changed; look again at the pace of polls."""

    detail: str | None = None


Done = str | None | Waiting
"""A sentence about what was done (or None), or that there is nothing to do but wait."""


@dataclass(frozen=True, slots=True)
class Looking(Generic[Report]):
    """Steps of one connection that one look at the provider serves.

    `look` answers what it saw by the steps' subjects; what the provider definitively does not have is left out.
    `record` says what that means for one of the steps.
    """

    look: Callable[[Sequence[Step]], Mapping[str, Report]]
    record: Callable[[Step, Report | None], Done]


def all_written() -> bool:
    """Where no gateway runs, no call waits to be counted."""
    return True


@dataclass(slots=True)
class Looks:
    """Memory that may be lost: how many reads in a row missed a job, and which step of a curve was last kept."""

    absence: int = 3
    missed: dict[str, int] = field(default_factory=dict[str, int])
    metrics_step: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    unheard: set[str] = field(default_factory=set[str])
    """Names of jobs whose last create, as its answer said, made nothing."""
    alone: set[str] = field(default_factory=set[str])
    """Jobs that a list has shown, and no other of their attempt that runs."""
    without_curves: dict[str, bool] = field(default_factory=dict[str, bool])
    """Connections with too many jobs under way to read each one's losses."""
    in_flight: Callable[[str], int] = nobody
    """How many requests run on a deployment, as far as whoever hands them on knows."""
    write_calls: Callable[[], bool] = all_written
    """Whether the log has every call that was handed on and has ended, as far as whoever hands them on knows."""

    def miss(self, id: str) -> int:
        """One more read in a row that does not show it."""
        self.missed[id] = self.missed.get(id, 0) + 1
        return self.missed[id]

    def seen(self, id: str) -> None:
        self.missed.pop(id, None)
