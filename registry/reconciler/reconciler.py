"""The loop: what is not at rest -> plan -> perform -> events -> plan again, until nothing more can be done at once.

Level-triggered: every pass begins from the log, so a pass that was killed half-way is simply made again. Each
connection has a lane of its own, so that one which does not answer keeps no other waiting; one pass at a time uses it.
Errors of one subject keep the others going.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from providers.errors import ProviderError, UnavailableError
from providers.redaction import redacted
from registry.application import tracing
from registry.application.commands import Commands
from registry.application.ports import Clock, EventLog, Providers
from registry.application.unit import Door
from registry.application.views import StepView
from registry.domain.errors import TenureError
from registry.domain.plan import Action, Step
from registry.domain.policy import SchedulerSettings
from registry.reconciler.allowance import Allowance
from registry.reconciler.backoff import Backoff
from registry.reconciler.connections import Connections
from registry.reconciler.deployment_steps import DeploymentSteps
from registry.reconciler.foretelling import awaiting_approval, policy_steps, used_until
from registry.reconciler.job_steps import JobSteps
from registry.reconciler.lanes import Lanes
from registry.reconciler.misses import Misses
from registry.reconciler.parts import Parts
from registry.reconciler.performing import Done, Looking, Waiting
from registry.reconciler.planning import Planning, about
from registry.reconciler.policy_steps import PolicySteps
from registry.reconciler.retiring import Retiring
from registry.reconciler.sweeping import Sweeping, sentences
from registry.reconciler.sweeping_jobs import sentences as jobs_found
from registry.reconciler.traces import began_with, looking_once, performed
from registry.reconciler.using import Uses

logger = logging.getLogger("tenure.reconciler")

ROUNDS_MAX = 50
"""Plans in one pass; each does something that the next one builds on (submit, start, finish, deploy, switch …)."""
SOON = timedelta(milliseconds=100)
IDLE = timedelta(hours=1)
CLOCK_BACK = timedelta(minutes=1)
"""A clock that goes back by more was set; by less, two threads have asked it."""
DAILY = timedelta(days=1)
WATCH_PACE = 5
"""A deployment that serves is looked at this much more rarely than one that is coming up."""
QUIET = frozenset({Action.SWEEP, Action.CHECK_BUDGET, Action.READ_RETIREMENTS})
"""Steps that look at something as a whole, at the pace of `sweep`; what finds nothing is not told."""
LOOKS = QUIET | {
    Action.CHECK_OWNER,
    Action.POLL_JOB,
    Action.STOP_JOB,
    Action.POLL_DEPLOYMENT,
    Action.WATCH,
    Action.VERIFY_DELETED,
}
"""Steps that only look: done once a pass at most, at the pace of the scheduler's `poll`."""

NEW_WORK = frozenset({Action.SUBMIT, Action.CREATE})
"""Steps that begin something that may be billed."""

Told = tuple[Step, str, str | None]
"""A step, how it ended (done, waiting or failed), and what people are told of that."""


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
        self._commands = commands
        self._backoff = Backoff(jitter)
        self._connections = Connections(log, door, self._backoff)
        self.allowance = Allowance()
        self._lanes = Lanes()
        self._settings = SchedulerSettings.of({})
        self._now = clock()
        parts = Parts(
            log=log,
            clock=clock,
            providers=providers,
            commands=commands,
            door=door,
            misses=Misses(log, door, clock),
            uses=Uses(log, clock),
        )
        self._looks, self._uses = parts.looks, parts.uses
        self._planning = Planning(log, providers, parts.uses)
        self._sweeping = Sweeping(parts)
        jobs, deployments = JobSteps(parts), DeploymentSteps(parts)
        self._performers: dict[Action, Callable[[Step], Done]] = {
            **jobs.performers,
            **deployments.performers,
            **self._sweeping.performers,
            **PolicySteps(parts).performers,
            **Retiring(parts).performers,
        }
        self._looking: dict[Action, Looking[Any]] = {
            Action.POLL_JOB: jobs.looking,
            Action.STOP_JOB: jobs.looking,
            Action.POLL_DEPLOYMENT: deployments.looking,
            Action.WATCH: deployments.looking,
        }

    def plan(self, *, sweep: bool = False) -> list[StepView]:
        """What a pass would do now, and why; does nothing. `sweep`: also says what a sweep would find, by looking."""
        now = self._clock()
        told: list[StepView] = []
        for step in self._steps(sweep=sweep):
            if step.action == Action.SWEEP:
                told += self._preview(step)
            elif step.action != Action.READ_RETIREMENTS:
                told.append(self._foretold(step, now))
        return told

    def ask_before_deleting(self, in_flight: Callable[[str], int], write_calls: Callable[[], bool]) -> None:
        """None is deleted while requests run on it (but for DRAIN_MAX), nor as idle before all of them are recorded."""
        self._looks.in_flight = in_flight
        self._looks.write_calls = write_calls

    def policy_plan(self, model: str, past: tuple[int, datetime] | None = None) -> list[StepView]:
        """Of these, what a policy does about one model by itself; or did at a position in the past."""
        if past is not None:
            return self.foretell(model, past=past)
        now = self._clock()
        mine = [one for one in self._planning.steps() if one.actor.startswith("policy:") and about(one) == model]
        return [*(self._foretold(step, now) for step in mine), *awaiting_approval(self._log, model)]

    def foretell(
        self, model: str, *, rules: Mapping[str, object] | None = None, past: tuple[int, datetime] | None = None
    ) -> list[StepView]:
        """What a policy would do about one model by itself: by other rules than its own, or at a position in the past,
        with the time that was then. Raises BadInputError for rules that are none.
        """
        at, used = (None, self._uses.all) if past is None else (past[0], lambda: used_until(self._log, model, past[1]))
        steps = policy_steps(self._log, model, rules=rules, at=at, last_used=used)
        waiting = awaiting_approval(self._log, model, rules=rules, at=at)
        return [*(_view(step, "planned") for step in steps), *waiting]

    def _foretold(self, step: Step, now: datetime) -> StepView:
        """Planned, or waiting and for what."""
        until, why = max(self._waits(step, now, paced=False), default=(now, ""))
        if until > now:
            return _view(step, "waiting", f"{why}: not before {until:%H:%M:%S} UTC" if why else None)
        if step.action in NEW_WORK:
            try:
                self._commands.limits.check_space()
            except TenureError as lack:
                return _view(step, "waiting", lack.message)
        return _view(step, "planned")

    def _preview(self, step: Step) -> list[StepView]:
        try:
            connection, found = self._sweeping.look(step.connection)
            strays = self._sweeping.jobs.look(connection)
        except (ProviderError, TenureError) as error:
            return [_view(step, "failed", error.message)]
        told = [*sentences(found), *jobs_found(strays, connection.orphan_jobs)]
        return [_view(step, "planned", sentence) for sentence in told]

    def run(self, *, paced: bool = False, sweep: bool = False) -> list[StepView]:
        """One pass. Returns when nothing more can be done at once. `sweep`: also what each connection has is looked at.

        `paced`: what only looks is left out until its next look is due, and connections that another pass is busy
        with are left to it; the scheduler's way. Otherwise everything is looked at once, now.
        """
        told: list[StepView] = []
        looked: set[tuple[str, Action]] = set()

        def lane(connection: str) -> list[StepView]:
            return self._lane(connection, looked, paced=paced, sweep=sweep)

        self._follow_clock()
        for _ in range(ROUNDS_MAX):
            now = self._clock()
            due: dict[str, None] = {}
            for step in self._steps(sweep=sweep):
                if step.connection not in due and self._left(step, looked, now, paced=paced):
                    due[step.connection] = None
            outcomes = self._lanes.run(list(due), lane, wait=not paced)
            told += outcomes
            if not any(one.outcome == "done" for one in outcomes):
                break
        return told

    def _follow_clock(self) -> None:
        before, self._now = self._now, self._clock()
        if before - self._now > CLOCK_BACK:
            self._backoff.went_back(before - self._now)

    def _lane(self, connection: str, looked: set[tuple[str, Action]], *, paced: bool, sweep: bool) -> list[StepView]:
        told: list[StepView] = []
        for _ in range(ROUNDS_MAX):
            progressed = False
            steps = [step for step in self._steps(sweep=sweep) if step.connection == connection]
            now = self._clock()
            for look, work in self._units(steps):
                due = [step for step in work if self._left(step, looked, now, paced=paced)]
                if not due:
                    continue
                for step, outcome, detail in self._perform(look, due):
                    progressed = progressed or outcome == "done"
                    if outcome == "waiting" or step.action in LOOKS:
                        looked.add((step.subject, step.action))
                    if step.action not in QUIET or outcome != "waiting" or detail:
                        told.append(_view(step, outcome, detail))
                now = self._clock()
            if not progressed:
                break
        return told

    def _units(self, steps: Iterable[Step]) -> list[tuple[str | None, list[Step]]]:
        """A look and all steps that it serves, in the place of the first of them; the others one by one, with None."""
        units: list[tuple[str | None, list[Step]]] = []
        shared: dict[str, list[Step]] = {}
        for step in steps:
            look = self._look_of(step)
            if look is None:
                units.append((None, [step]))
            elif look in shared:
                shared[look].append(step)
            else:
                units.append((look, shared.setdefault(look, [step])))
        return units

    def _look_of(self, step: Step) -> str | None:
        """The name of the look that serves it together with others; None for a step that is done by itself."""
        if step.action == Action.STOP_JOB:
            return Action.POLL_JOB if step.version is not None and step.version.job_id is not None else None
        return step.action if step.action in self._looking else None

    def next_due(self, *, sweep: bool = False) -> datetime:
        """When the next step may be done: a look, a retry, the end of a grace; an hour from now when nothing waits.

        Connections that a pass is busy with are left out: it asks again when it is done with them.
        """
        now = self._clock()
        times = [
            max((time for time, _ in self._waits(step, now, paced=True)), default=now)
            for step in self._steps(sweep=sweep)
            if not self._lanes.busy(step.connection)
        ]
        return max(now + SOON, min(times, default=now + IDLE))

    def poll_lag(self) -> timedelta:
        """How long the look at a provider that should have been the longest ago has not been; also where one hangs."""
        now = self._clock()
        looks = (step for step in self._steps() if step.action in LOOKS)
        lags = (now - max((time for time, _ in self._waits(step, now, paced=True)), default=now) for step in looks)
        return max(lags, default=timedelta(0))

    def in_motion(self) -> bool:
        """Whether anything is under way (a deployment that simply serves is not)."""
        return self._planning.in_motion()

    def _left(self, step: Step, looked: set[tuple[str, Action]], now: datetime, *, paced: bool) -> bool:
        if (step.subject, step.action) in looked:
            return False
        for time, _ in self._waits(step, now, paced=paced):  # noqa: SIM110 -- asked most often of all
            if now < time:
                return False
        return True

    def _waits(self, step: Step, now: datetime, *, paced: bool) -> Iterator[tuple[datetime, str]]:
        """Everything that it has to wait for, and why, asked only as far as the answer is taken."""
        if step.due_at is not None:
            yield step.due_at, ""
        if held := self._backoff.wait_until(*_key(step), looks=paced):
            yield held, self._backoff.why(*_key(step))
        look = self._look_of(step)
        if look is not None and (held := self._backoff.wait_until(step.connection, look, looks=paced)):
            yield held, "the last look failed and is made again"
        if held := self._connections.wait_until(step.connection, step.action):
            yield held, f"{step.connection} does not answer and is tried again"
        if held := self.allowance.wait_until(step.connection, step.action, now):
            yield held, f"{step.connection} has had its calls for now"

    def _pace(self, step: Step) -> timedelta:
        """How long until the next look: the provider's own pace where it has one, else the scheduler's."""
        settings = self._settings
        if step.action == Action.READ_RETIREMENTS:
            return DAILY
        if step.action in QUIET:
            return settings.sweep
        connection = self._planning.connection(step.connection)
        own = self._providers.of(connection).capabilities.poll_interval_s if connection is not None else None
        if step.action == Action.WATCH and not (step.deployment and step.deployment.missed_reads):
            return timedelta(seconds=own * WATCH_PACE) if own is not None else settings.sweep
        return timedelta(seconds=own) if own is not None else settings.poll

    def _perform(self, look: str | None, steps: Sequence[Step]) -> Iterator[Told]:
        """Steps that one look serves, or one step."""
        if look is not None:
            yield from self._look(look, self._looking[steps[0].action], steps)
            return
        for step in steps:
            yield step, *self._attempt(step, self._performers[step.action])

    def _look(self, name: str, looking: Looking[Any], steps: Sequence[Step]) -> Iterator[Told]:
        """A look that fails is one failure of its connection, and says nothing about what it was to show."""
        first, now = steps[0], self._clock()
        self.allowance.used(first.connection, first.action, now)
        try:
            with looking_once(first, len(steps)):
                reports = looking.look(steps)
            pace = self._pace(first)
        except Exception as error:  # noqa: BLE001 - told and tried again; one lane must not stop the others
            detail = self._failed(first, (first.connection, name), error, now)
            yield from ((step, "failed", detail) for step in steps)
            return
        self._backoff.succeeded(first.connection, name)
        self._backoff.later(first.connection, name, now + pace)
        self._connections.answered(first.connection, first.action)

        def record(step: Step) -> Done:
            return looking.record(step, reports.get(step.subject))

        for step in steps:
            yield step, *self._attempt(step, record, looked=True)

    def _attempt(self, step: Step, perform: Callable[[Step], Done], *, looked: bool = False) -> tuple[str, str | None]:
        """(outcome, detail). `looked`: a look that serves other steps too has been made for it."""
        now = self._clock()
        bound = tracing.correlation_id.set(began_with(step))
        try:
            if looked:
                done = perform(step)
            else:
                self.allowance.used(step.connection, step.action, now)
                if step.action in NEW_WORK:
                    self._commands.limits.check_space()
                done = performed(step, perform, alone=step.action in LOOKS)
        except Exception as error:  # noqa: BLE001 - one subject must not stop the others
            return "failed", self._failed(step, _key(step), error, now)
        else:
            if not looked:
                self._connections.answered(step.connection, step.action)
            if not isinstance(done, Waiting):
                self._backoff.succeeded(*_key(step))
                return "done", done
            if not looked:
                self._backoff.later(*_key(step), now + self._pace(step))
            return "waiting", done.detail
        finally:
            tracing.correlation_id.reset(bound)

    def _failed(self, step: Step, key: tuple[str, str], error: Exception, now: datetime) -> str:
        """Remember when to try again, and say what went wrong."""
        known = isinstance(error, ProviderError | TenureError)
        told = error.message if known else f"{type(error).__name__}: {redacted(error)}"
        wait_s = error.retry_after_s if isinstance(error, UnavailableError) else None
        self._backoff.failed(*key, now, error=told, retry_after_s=wait_s)
        if isinstance(error, ProviderError):
            self._connections.failed(step.connection, step.action, error, now)
        level, trace = (logging.WARNING, None) if known else (logging.ERROR, error)
        logger.log(level, "%s %s: %s", step.action.value, key[0], told, exc_info=trace)
        return told

    def _steps(self, *, sweep: bool = False) -> list[Step]:
        steps = self._planning.steps(sweep=sweep)
        self._settings = self._planning.settings
        self._looks.absence = self._settings.absence
        return steps


def _key(step: Step) -> tuple[str, str]:
    """What a retry waits for. A look-up after a create is the same attempt: it keeps the wait that was asked for."""
    return step.subject, _SAME_ATTEMPT.get(step.action, step.action)


_SAME_ATTEMPT = {Action.FIND_JOB: Action.SUBMIT, Action.FIND_DEPLOYMENT: Action.CREATE}


def _view(step: Step, outcome: str, detail: str | None = None) -> StepView:
    return StepView(
        action=step.action.value,
        subject=step.subject,
        why=step.why,
        outcome=outcome,
        detail=detail,
        actor=step.actor,
        due_at=step.due_at,
    )
