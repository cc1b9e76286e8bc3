"""Bugs that are planted one at a time, to see that the simulation finds them.

Each is a mistake that somebody could make in the registry, put in place of the right thing as long as a context lasts.
"""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError
from registry.application.unit import Door
from registry.domain import deploying, plan, sweeping, versions
from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.domain.ids import deployment_stream, resource_name
from registry.domain.states import DeploymentState
from registry.reconciler import deployment_steps, job_steps
from registry.reconciler import sweeping as sweeper
from registry.reconciler.deployment_steps import DeploymentSteps
from registry.reconciler.job_steps import JobSteps
from registry.reconciler.parts import Parts
from registry.reconciler.performing import Waiting

FORGETS = "an append is acknowledged and not kept"
"""Planted in the simulation's own log, which stands between the registry and the store."""

Planting = contextlib.AbstractContextManager[Any]
BUGS: dict[str, Callable[[], Planting]] = {FORGETS: contextlib.nullcontext}


def bug(name: str) -> Callable[[Callable[[], Planting]], Callable[[], Planting]]:
    def keep(plant: Callable[[], Planting]) -> Callable[[], Planting]:
        BUGS[name] = plant
        return plant

    return keep


@contextlib.contextmanager
def planted(name: str | None) -> Generator[None]:
    with contextlib.nullcontext() if name is None else BUGS[name]():
        yield


# Creates


@bug("an unknown outcome of a job is taken for a refusal")
def _unknown_job_is_refused() -> Planting:
    return patch.object(job_steps, "RejectedError", (RejectedError, OutcomeUnknownError))


@bug("a job is sent before its intent is recorded")
def _no_intent() -> Planting:
    right = JobSteps.submit

    def submit(self: JobSteps, step: Any) -> Any:
        request = replace_token(self, step.version)
        self._provider(step.version).training.submit(request)
        return right(self, step)

    return patch.object(JobSteps, "submit", submit)


def replace_token(steps: JobSteps, version: Any) -> Any:
    from registry.application.commands import training_request

    name = versions.job_name("test12", version, version.attempt)
    copy = replace(version, job_name=name, job_token=name)
    return training_request(steps._home, copy, "test12")


@bug("a job that a killed process may have sent is sent again without a look")
def _no_look() -> Planting:
    return patch.object(JobSteps, "_find", lambda *_: [])


@bug("one empty list is believed, and the job is sent again")
def _one_empty_list() -> Planting:
    return patch.object(JobSteps, "_find", JobSteps._all_of)


@bug("a second deployment takes the name of the first")
def _name_reused() -> Planting:
    always = datetime(2026, 1, 1, tzinfo=UTC)
    return patch.object(deploying, "resource_name", lambda registry, ref, *_: resource_name(registry, ref, 1, always))


@bug("a deployment is billed from when it serves")
def _billed_late() -> Planting:
    right = deploying.accepted

    def accepted(one: DeploymentState, *, provider_id: str, billed_from: datetime, who: Any) -> list[NewEvent]:
        return right(one, provider_id=provider_id, billed_from=billed_from + timedelta(minutes=1), who=who)

    return patch.object(deploying, "accepted", accepted)


# Deletes


@bug("an accepted deletion is a deletion")
def _accepted_is_deleted() -> Planting:
    def verified(self: DeploymentSteps, step: Any) -> str:
        one = step.deployment
        who = deployment_steps.SCHEDULER
        self._append(one.id, lambda now, _: deploying.deleted(now, billed_to=self._clock(), reads=1, who=who))
        return "gone"

    right = DeploymentSteps.__init__

    def init(self: DeploymentSteps, parts: Parts) -> None:
        right(self, parts)
        self.performers[plan.Action.VERIFY_DELETED] = lambda step: verified(self, step)

    return patch.object(DeploymentSteps, "__init__", init)


@bug("a read that fails is an absence, and one absence is enough")
def _delete_is_swallowed() -> Planting:
    right = DeploymentSteps._provider

    class Doors:
        def __init__(self, provider: Any) -> None:
            self._provider = provider
            self.deployments = self

        def delete(self, name: str) -> None:
            with contextlib.suppress(ProviderError):
                self._provider.deployments.delete(name)

        def get(self, name: str) -> Any:
            with contextlib.suppress(ProviderError):
                return self._provider.deployments.get(name)
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._provider, name, None) or getattr(self._provider.deployments, name)

    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(DeploymentSteps, "_provider", lambda self, one: Doors(right(self, one))))
    stack.enter_context(patch.object(DeploymentSteps, "_reads", lambda *_: 1))
    return stack


@bug("a failed deployment is left where it is")
def _failed_is_forgotten() -> Planting:
    right = plan._deployment_steps

    def steps(world: plan.World, one: DeploymentState, version: Any) -> Any:
        return [] if one.state == "failed" else right(world, one, version)

    return patch.object(plan, "_deployment_steps", steps)


@bug("what serves the active version is superseded")
def _active_is_superseded() -> Planting:
    right = plan.unused_since

    def unused(one: DeploymentState, version: Any) -> Any:
        if version is not None and version.state == "active":
            return version.activated_at
        return right(one, version)

    def undeploy(current: DeploymentState, *_: Any) -> list[NewEvent]:
        payload = ev.DeploymentDeletionRequested(deployment=current.id)
        return [NewEvent(stream=deployment_stream(current.id), payload=payload, actor="policy:delete-superseded")]

    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(plan, "unused_since", unused))
    stack.enter_context(patch.object(deploying, "undeploy", undeploy))
    return stack


@bug("what others made is taken for ours")
def _foreign_is_ours() -> Planting:
    right = sweeping.compare

    def compare(connection: Any, known: Any, shown: Sequence[Any], **more: Any) -> Any:
        return right(connection, known, [replace(one, ours=True) for one in shown], **more)

    return patch.object(sweeper, "compare", compare)


# Lifecycle


@bug("the successor is activated before the predecessor retires")
def _two_active() -> Planting:
    right = versions.serve

    def serve(*parts: Any) -> list[NewEvent]:
        events = list(right(*parts))
        return sorted(events, key=lambda one: isinstance(one.payload, ev.VersionRetired))

    return patch.object(versions, "serve", serve)


@bug("a version is switched to that nothing serves")
def _switch_unprobed() -> Planting:
    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(DeploymentSteps, "_probe", lambda *_: None))
    stack.enter_context(patch.object(plan, "usable", lambda many: next(iter(many), None)))
    return stack


@bug("a deployment that is lost goes unnoticed")
def _lost_unnoticed() -> Planting:
    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(DeploymentSteps, "_watch", lambda *_: Waiting()))
    stack.enter_context(patch.object(sweeper.Sweeping, "_miss", lambda *_: False))
    return stack


@bug("a deployment that was made to serve another model goes unnoticed")
def _moved_unnoticed() -> Planting:
    return patch.object(deploying, "shown_with", lambda *_: [])


@bug("a deployment that was made to serve another model is switched to")
def _moved_is_taken() -> Planting:
    right = deploying.usable

    def usable(many: Any) -> Any:
        return right(replace(one, other_artifact=None) for one in many)

    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(plan, "usable", usable))
    stack.enter_context(patch.object(deploying, "usable", usable))
    return stack


@bug("a failed look at jobs is an empty one")
def _failed_look_is_empty() -> Planting:
    right = JobSteps.look

    def look(self: JobSteps, steps: Any) -> Any:
        try:
            return right(self, steps)
        except ProviderError:
            return {}

    return patch.object(JobSteps, "look", look)


@bug("a job that has ended may end again")
def _ends_again() -> Planting:
    right = JobSteps._stop

    def stop(self: JobSteps, version: Any, report: Any) -> Any:
        if report is not None and report.outcome == "running":
            who = job_steps.SCHEDULER
            ended = versions.Finished(outcome="cancelled", status="cancelled")
            self._append(versions.ref_of(version), lambda now: versions.finished(now, ended, who))
            return "cancelled"
        return right(self, version, report)

    return patch.object(JobSteps, "_stop", stop)


@bug("what is to be deleted is known by its name alone")
def _by_name() -> Planting:
    return patch.object(deployment_steps, "_name_at_provider", lambda one: one.name)


# Commands


@bug("a key that was used is not looked up")
def _keys_ignored() -> Planting:
    right = Door._append

    def append(self: Door, command: Any, *rest: Any) -> Any:
        return right(self, replace(command, idempotency_key=None), *rest)

    return patch.object(Door, "_append", append)
