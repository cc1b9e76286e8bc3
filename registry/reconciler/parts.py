"""What every kind of step works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from providers.errors import RejectedError
from providers.ports import Provider
from registry.application.commands import Commands
from registry.application.ports import Clock, EventLog, Providers
from registry.application.unit import Door
from registry.reconciler.misses import Misses
from registry.reconciler.performing import Looks
from registry.reconciler.using import Uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    log: EventLog
    clock: Clock
    providers: Providers
    commands: Commands
    door: Door
    looks: Looks = field(default_factory=Looks)
    misses: Misses
    uses: Uses


class Steps:
    """One kind of them. Each is decided again on what is so when it is recorded."""

    def __init__(self, parts: Parts) -> None:
        self._log = parts.log
        self._clock = parts.clock
        self._providers = parts.providers
        self._commands = parts.commands
        self._door = parts.door
        self._looks = parts.looks
        self._misses = parts.misses
        self._uses = parts.uses

    def _provider(self, connection: str) -> Provider:
        """Also of a connection that was removed: what is left there is cleaned up. Raises RejectedError for no name."""
        known = self._log.connection(connection)
        if known is None:
            raise RejectedError(f"connection {connection!r} is not declared", operation="connect")
        return self._providers.of(known)
