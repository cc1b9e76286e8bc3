"""Whether anybody called a standby past this registry: asked of its provider before a policy deletes it as idle.

With the sweep, with one question for all of a connection's, and only about those that nothing else keeps: an answer
that somebody called is good for as long as the policy lets a standby be idle.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from providers.errors import OutcomeUnknownError, ProviderError, UnavailableError
from providers.ports import DeploymentReport, Provider
from registry.domain.ids import VersionRef
from registry.domain.plan import Step, idle_since
from registry.domain.states import ConnectionState, DeploymentState
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.using import Uses

logger = logging.getLogger("tenure.reconciler")
LIMIT_MIN = timedelta(hours=1)
"""Metrics tell hours: with a shorter `idle_delete`, only calls through this registry count."""


def unsettled(step: Step, uses: Uses, provider: Provider) -> bool:
    """Whether the provider has still to be asked if anybody called the standby that this step deletes as idle."""
    if provider.capabilities.use_lag is None:
        return False
    assert step.due_at is not None
    assert step.since is not None
    return step.due_at - step.since >= LIMIT_MIN and not uses.settled(step.subject, step.due_at)


class Idling(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._mute: set[str] = set()
        """Connections whose provider does not say, of which the log has been told."""

    def ask(self, connection: ConnectionState, present: Iterable[tuple[DeploymentState, DeploymentReport]]) -> None:
        provider, now = self._providers.of(connection), self._clock()
        lag = provider.capabilities.use_lag
        if lag is None:
            return
        asked: dict[str, tuple[DeploymentState, datetime]] = {}
        last_used = self._uses.all()
        for owner, report in present:
            since = self._due_since(owner, last_used.get(owner.id), now - lag)
            if since is not None:
                asked[report.id] = (owner, since)
        if not asked:
            return
        try:
            told = {**provider.deployments.last_used({one: since for one, (_, since) in asked.items()})}
        except (UnavailableError, OutcomeUnknownError) as error:
            logger.warning("%s: nobody is idle before its metrics can be read: %s", connection.name, error.message)
            return
        except ProviderError as error:
            self._say_once(connection.name, error.message)
            told = {}
        else:
            self._mute.discard(connection.name)
        for one, (owner, _) in asked.items():
            if one in told or not owner.attached:  # only what is ours is called through this registry
                self._uses.told(owner.id, told.get(one), until=now - lag)

    def _due_since(
        self, deployment: DeploymentState, last_used: datetime | None, known_until: datetime
    ) -> datetime | None:
        """Since when it has been idle for too long, by all that is known here; None where something keeps it."""
        model = self._log.model(deployment.model) if deployment.model else None
        limit = self._commands.limits.policy(model).idle_delete
        if model is None or limit is None or limit < LIMIT_MIN or deployment.state != "serving":
            return None
        version = self._log.version(VersionRef(deployment.model, deployment.version))
        since = idle_since(deployment, version, last_used or deployment.serving_at)
        return since if since is not None and since + limit <= known_until else None

    def _say_once(self, connection: str, message: str) -> None:
        if connection in self._mute:
            return
        self._mute.add(connection)
        logger.warning(
            "%s: only calls through this registry are known, and what is attached is never idle: %s",
            connection,
            message,
        )
