"""Whether a connection answers: one that does not is left alone for a while, and it alone; the log says so, once.

What is to be deleted goes on being asked for: it may be billed, and a create that was refused says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from providers.errors import OutcomeUnknownError, ProviderError, UnauthorizedError, UnavailableError
from registry.application.ports import EventLog
from registry.application.unit import Command, Door, Unit
from registry.domain.events import ConnectionFailed, ConnectionRecovered, NewEvent
from registry.domain.ids import connection_stream
from registry.domain.plan import Action
from registry.domain.versions import Who
from registry.reconciler.backoff import Backoff

SCHEDULER = Who(actor="scheduler")
OUTAGE_FAILURES = 3
"""So many calls in a row that got no answer, on one connection, are an outage."""

UNCALLED = frozenset(
    {
        Action.REQUEST_DEPLOYMENT,
        Action.REQUEST_DELETION,
        Action.ABANDON,
        Action.SWITCH,
        Action.REQUEST_VERSION_DELETION,
        Action.CHECK_BUDGET,
        Action.CHECK_OWNER,
    }
)
"""Steps that say nothing about whether the provider's account answers."""
DELETES = frozenset(
    {Action.DELETE, Action.VERIFY_DELETED, Action.STOP_JOB, Action.STOP_ORPHAN_JOB, Action.DELETE_ARTIFACT}
)
CREATES = frozenset({Action.SUBMIT, Action.CREATE, Action.FIND_JOB, Action.FIND_DEPLOYMENT})
"""A look-up creates again what it does not find."""
READ, CREATE = "read", "create"


@dataclass(slots=True)
class _Health:
    unanswered: int = 0
    refused: str | None = None
    """What the credential was refused for: READ, or only CREATE, which reading does not tell."""
    clear: bool = False
    """The log is known to tell of no failure that is not over."""


class Connections:
    """Memory that may be lost: a registry that is started again tries every connection at once."""

    def __init__(self, log: EventLog, door: Door, backoff: Backoff) -> None:
        self._log = log
        self._door = door
        self._backoff = backoff
        self._health: dict[str, _Health] = {}

    def wait_until(self, connection: str, action: Action) -> datetime | None:
        """Not to be asked before this."""
        if action in UNCALLED or action in DELETES:
            return None
        until = self._backoff.wait_until(connection, READ, looks=False)
        if action in CREATES:
            create = self._backoff.wait_until(connection, CREATE, looks=False)
            until = max((time for time in (until, create) if time is not None), default=None)
        return until

    def failed(self, connection: str, action: Action, error: ProviderError, now: datetime) -> None:
        health = self._health.setdefault(connection, _Health())
        if isinstance(error, UnauthorizedError):
            kind = CREATE if action in CREATES else READ
            health.refused = READ if READ in {kind, health.refused} else CREATE
            self._backoff.failed(connection, kind, now)
            self._tell_failure(connection, error.message)
        elif _unanswered(error):
            health.unanswered += 1
            if health.unanswered >= OUTAGE_FAILURES:
                health.refused = health.refused or READ
                self._backoff.failed(connection, READ, now)
                self._tell_failure(connection, error.message)

    def answered(self, connection: str, action: Action) -> None:
        """A call was answered with something other than a refusal of the credential."""
        if action in UNCALLED:
            return
        health = self._health.get(connection)
        if health is None:
            health = self._health[connection] = _Health()
        elif health.clear and not health.unanswered and health.refused is None:
            return
        health.unanswered = 0
        self._backoff.succeeded(connection, READ)
        if health.refused == CREATE and action not in CREATES:
            return
        health.refused = None
        self._backoff.succeeded(connection, CREATE)
        self._tell_recovery(connection)

    def _tell_failure(self, name: str, error: str) -> None:
        """Told once, until it answers again."""
        self._health[name].clear = False

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.connection(name)
            if state is None or state.error is not None:
                return [], {}
            return [SCHEDULER.says(connection_stream(name), ConnectionFailed(connection=name, error=error))], {}

        self._door.run(Command(name="connection-failed", body={"name": name}, who=SCHEDULER), decide)

    def _tell_recovery(self, name: str) -> None:
        health = self._health[name]
        if health.clear:
            return
        known = self._log.connection(name)
        if known is None or known.error is None:
            health.clear = known is not None
            return

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.connection(name)
            if state is None or state.error is None:
                return [], {}
            return [SCHEDULER.says(connection_stream(name), ConnectionRecovered(connection=name))], {}

        self._door.run(Command(name="connection-recovered", body={"name": name}, who=SCHEDULER), decide)


def _unanswered(error: ProviderError) -> bool:
    """Nobody was there, or nobody who could say when to come again."""
    if isinstance(error, UnavailableError):
        return error.retry_after_s is None
    return isinstance(error, OutcomeUnknownError)
