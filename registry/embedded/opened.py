"""A home that this process has opened, with the scheduler inside where work goes on by itself."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from registry.composition import Registry
from registry.domain.bounds import check_key, check_reason
from registry.domain.versions import Who

if TYPE_CHECKING:
    from registry.application.ports import LogTools
    from registry.scheduler import Scheduler


class Opened:
    elsewhere = False
    """Whether a server does the work, so that nothing has to be driven from here."""

    def __init__(self, registry: Registry, *, actor: str, background: bool) -> None:
        self._registry = registry
        self._actor = actor
        self._scheduler: Scheduler | None = None
        if background:
            self._scheduler = registry.scheduler()
            self._scheduler.start()

    @property
    def home(self) -> Path:
        return self._registry.home

    @property
    def log(self) -> LogTools:
        """verify, rebuild, export, import_, backup."""
        return self._registry.tools

    def close(self) -> None:
        """Release the home; training and deployments go on in their own processes. May be repeated."""
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _who(self, reason: str | None) -> Who:
        return Who(actor=self._actor, reason=None if reason is None else check_reason(reason))

    def _asked(self, reason: str | None, idempotency_key: str | None) -> tuple[Who, str | None]:
        """By whom and why, and the key under which it is done once. Raises BadInputError as a server would."""
        return self._who(reason), None if idempotency_key is None else check_key(idempotency_key)
