"""The loop: what is not at rest -> plan -> perform -> events -> plan again, until nothing more can be done at once.

Level-triggered: every pass begins from the log, so a pass that was killed half-way is simply made again. One pass at a
time per registry. Errors of one subject keep the others going.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from providers.errors import ProviderError, UnauthorizedError, UnavailableError
from registry.application.commands import Commands
from registry.application.ports import Clock, DeploymentQuery, EventLog, Providers
from registry.application.unit import Command, Door, Unit
from registry.application.views import StepView
from registry.domain.errors import TenureError
from registry.domain.events import ConnectionFailed, ConnectionRecovered, NewEvent
from registry.domain.ids import VersionRef, connection_stream
from registry.domain.plan import Action, Step, World, plan
from registry.domain.policy import Policy, SchedulerSettings
from registry.domain.states import ConnectionState, DeploymentState, VersionState
from registry.reconciler.backoff import Backoff
from registry.reconciler.deployment_steps import SCHEDULER, DeploymentSteps
from registry.reconciler.job_steps import JobSteps
from registry.reconciler.performing import Done, Looks, Waiting

logger = logging.getLogger("tenure.reconciler")

ROUNDS_MAX = 50
"""Plans in one pass; each does something that the next one builds on (submit, start, finish, deploy, switch …)."""
SOON = timedelta(milliseconds=100)
IDLE = timedelta(hours=1)
WATCH_PACE = 5
"""A deployment that serves is looked at this much more rarely than one that is coming up."""
LOOKS = frozenset({Action.POLL_JOB, Action.STOP_JOB, Action.POLL_DEPLOYMENT, Action.WATCH, Action.VERIFY_DELETED})
"""Steps that only look: done once a pass at most, at the pace of the scheduler's `poll`."""

UNCALLED = frozenset({Action.REQUEST_DEPLOYMENT, Action.REQUEST_DELETION, Action.ABANDON, Action.SWITCH})
"""Steps that say nothing about whether the provider answers."""


class Reconciler:
    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        providers: Providers,
        commands: Commands,
        door: Door,
        jitter: Callable[[], float],
    ) -> None:
        self._log = log
        self._clock = clock
        self._providers = providers
        self._door = door
        self._backoff = Backoff(jitter)
        self._looks = Looks()
        self._lock = threading.Lock()
        self._settings = SchedulerSettings.of({})
        jobs = JobSteps(log=log, clock=clock, providers=providers, door=door, commands=commands, looks=self._looks)
        deployments = DeploymentSteps(
            log=log, clock=clock, providers=providers, door=door, commands=commands, looks=self._looks
        )
        self._performers: dict[Action, Callable[[Step], Done]] = {**jobs.performers, **deployments.performers}

    def plan(self) -> list[StepView]:
        """What a pass would do now, and why; does nothing."""
        now = self._clock()
        return [_view(step, "planned" if self._due(step, now, paced=False) else "waiting") for step in self._steps(now)]

    def run(self, *, paced: bool = False) -> list[StepView]:
        """One pass. Returns when nothing more can be done at once.

        `paced`: what only looks is left out until its next look is due; the scheduler's way. Otherwise everything is
        looked at once, now.
        """
        with self._lock:
            return self._run(paced=paced)

    def _run(self, *, paced: bool) -> list[StepView]:
        told: list[StepView] = []
        looked: set[tuple[str, Action]] = set()
        for _ in range(ROUNDS_MAX):
            progressed = False
            for step in self._steps(self._clock()):
                key = (step.subject, step.action)
                if key in looked or not self._due(step, self._clock(), paced=paced):
                    continue
                if step.action in LOOKS:
                    looked.add(key)
                outcome = self._perform(step)
                progressed = progressed or outcome.outcome == "done"
                if outcome.outcome == "waiting":
                    looked.add(key)
                told.append(outcome)
            if not progressed:
                break
        return told

    def next_due(self) -> datetime:
        """When the next step may be done: a look, a retry, the end of a grace; an hour from now when nothing waits."""
        now = self._clock()
        times = [self._ready_at(step, paced=True) or now for step in self._steps(now)]
        return max(now + SOON, min(times, default=now + IDLE))

    def in_motion(self) -> bool:
        """Whether anything is under way (a deployment that simply serves is not)."""
        motion = self._log.motion()
        return bool(motion.versions) or any(one.state != "serving" for one in motion.deployments)

    def _due(self, step: Step, now: datetime, *, paced: bool) -> bool:
        ready_at = self._ready_at(step, paced=paced)
        return ready_at is None or now >= ready_at

    def _ready_at(self, step: Step, *, paced: bool) -> datetime | None:
        waits = (step.due_at, self._backoff.wait_until(step.subject, step.action, looks=paced))
        return max((time for time in waits if time is not None), default=None)

    def _pace(self, step: Step) -> timedelta:
        """How long until the next look: the provider's own pace where it has one, else the scheduler's."""
        settings = self._settings
        connection = self._log.connection(step.connection)
        own = self._providers.of(connection).capabilities.poll_interval_s if connection is not None else None
        if step.action == Action.WATCH:
            return timedelta(seconds=own * WATCH_PACE) if own is not None else settings.sweep
        return timedelta(seconds=own) if own is not None else settings.poll

    def _perform(self, step: Step) -> StepView:
        now = self._clock()
        try:
            done = self._performers[step.action](step)
        except UnavailableError as error:
            self._backoff.failed(step.subject, step.action, now, retry_after_s=error.retry_after_s)
            return self._told(step, error.message)
        except (ProviderError, TenureError) as error:
            self._backoff.failed(step.subject, step.action, now)
            if isinstance(error, UnauthorizedError):
                self._connection_failed(step.connection, error.message)
            return self._told(step, error.message)
        except Exception as error:
            logger.exception("%s %s", step.action.value, step.subject)
            self._backoff.failed(step.subject, step.action, now)
            return _view(step, "failed", f"{type(error).__name__}: {error}")
        if step.action not in UNCALLED:
            self._connection_answers(step.connection)
        if isinstance(done, Waiting):
            self._backoff.later(step.subject, step.action, now + self._pace(step))
            return _view(step, "waiting", done.detail)
        self._backoff.succeeded(step.subject, step.action)
        return _view(step, "done", done)

    def _connection_failed(self, name: str, error: str) -> None:
        """Told once, until it answers again."""

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.connection(name)
            if state is None or state.error is not None:
                return [], {}
            return [SCHEDULER.says(connection_stream(name), ConnectionFailed(connection=name, error=error))], {}

        self._door.run(Command(name="connection-failed", body={"name": name}, who=SCHEDULER), decide)

    def _connection_answers(self, name: str) -> None:
        known = self._log.connection(name)
        if known is None or known.error is None:
            return

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.connection(name)
            if state is None or state.error is None:
                return [], {}
            return [SCHEDULER.says(connection_stream(name), ConnectionRecovered(connection=name))], {}

        self._door.run(Command(name="connection-recovered", body={"name": name}, who=SCHEDULER), decide)

    def _told(self, step: Step, message: str) -> StepView:
        logger.warning("%s %s: %s", step.action.value, step.subject, message)
        return _view(step, "failed", message)

    def _steps(self, now: datetime) -> list[Step]:
        world = self._world()
        self._settings = SchedulerSettings.of(self._log.registry().scheduler)
        self._looks.absence = self._settings.absence
        return plan(world, now)

    def _world(self) -> World:
        """All that is not at rest, the versions that live deployments serve, all deployments of what deploys."""
        motion = self._log.motion()
        versions: dict[tuple[str, int], VersionState] = {(one.model, one.version): one for one in motion.versions}
        deployments: dict[str, DeploymentState] = {one.id: one for one in motion.deployments}
        for one in motion.deployments:
            if (one.model, one.version) not in versions:
                version = self._log.version(VersionRef(one.model, one.version))
                if version is not None:
                    versions[one.model, one.version] = version
        for one in motion.versions:
            if one.state == "deploying" or one.deletion_requested:
                for mine in self._log.deployments(DeploymentQuery(model=one.model, version=one.version)):
                    deployments.setdefault(mine.id, mine)
        names = {one.model for one in versions.values()}
        models = {name: model for name in names if (model := self._log.model(name)) is not None}
        connections = {one.connection for one in versions.values()}
        return World(
            versions=tuple(versions.values()),
            deployments=tuple(deployments.values()),
            models=models,
            policies={name: Policy.of(model.policy) for name, model in models.items()},
            serves_alone=frozenset(name for name in connections if self._serves_alone(name)),
        )

    def _serves_alone(self, name: str) -> bool:
        connection: ConnectionState | None = self._log.connection(name)
        if connection is None:
            return False
        try:
            return self._providers.of(connection).capabilities.serving == "none"
        except TenureError:
            return False


def _view(step: Step, outcome: str, detail: str | None = None) -> StepView:
    return StepView(action=step.action.value, subject=step.subject, why=step.why, outcome=outcome, detail=detail)
