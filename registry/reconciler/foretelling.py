"""What a model's policy does by itself: as it was at some time, or as it would be by other rules. Does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from registry.application.ports import DeploymentQuery, EventLog, VersionQuery
from registry.application.views import StepView
from registry.domain import orphan_jobs, versions
from registry.domain.activating import by_policy, loss_of
from registry.domain.ids import VersionRef
from registry.domain.plan import Step, World, plan
from registry.domain.policy import Policy, SchedulerSettings
from registry.domain.states import VersionState
from registry.reconciler.planning import about, model_of

AWAITING_MAX = 20


def policy_steps(
    log: EventLog,
    model: str,
    *,
    rules: Mapping[str, object] | None,
    at: int | None,
    last_used: Callable[[], Mapping[str, datetime]],
) -> list[Step]:
    """One model is read afresh, where `Planning` keeps up with all of them as they are.

    `rules`: the model's own, in place of those in force. Raises BadInputError for rules that are none.
    """
    registry = log.registry(at=at)
    state = log.model(model, at=at)
    policy = Policy.of(rules if rules is not None else state.policy if state else {}, registry.policy)
    deployments = [one for one in log.deployments(DeploymentQuery(live=True), at=at) if model_of(one) == model]
    numbers = sorted({one.version for one in deployments if one.model})
    served = [log.version(VersionRef(model, number), at=at) for number in numbers]
    grace = SchedulerSettings.of(registry.scheduler).orphan_grace
    world = World(
        versions=tuple(one for one in served if one is not None),
        deployments=tuple(deployments),
        policies={model: policy},
        surplus={model: tuple(_surplus(log, model, policy.keep_artifacts, at))},
        last_used=last_used() if policy.idle_delete is not None else {},
        orphan_grace=grace,
    )
    strays = orphan_jobs.steps(log.connections(at=at), lambda _: policy, grace)
    return [one for one in (*strays, *plan(world)) if one.actor.startswith("policy:") and about(one) == model]


def awaiting_approval(
    log: EventLog, model: str, *, rules: Mapping[str, object] | None = None, at: int | None = None
) -> list[StepView]:
    """Versions newer than the active one that the policy activates as soon as people have approved them."""
    state = log.model(model, at=at)
    if state is None:
        return []
    policy = Policy.of(rules if rules is not None else state.policy, log.registry(at=at).policy)
    if policy.activate == "manual" or policy.approvals == 0:
        return []
    active = log.version(VersionRef(model, state.active), at=at) if state.active is not None else None
    query = VersionQuery(model=model, states=frozenset({"trained"}), order="newest", limit=AWAITING_MAX)
    told: list[StepView] = []
    for one in log.versions(query, at=at).items:
        if one.version <= (state.active or 0) or one.activation_requested_at is not None or one.deletion_requested:
            continue
        wish = by_policy(policy, loss_of(one.metrics), active)
        given = len(versions.approvals(one, wish)) if wish is not None else 0
        if wish is not None and given < policy.approvals:
            told.append(
                StepView(
                    action="activate",
                    subject=str(versions.ref_of(one)),
                    why=wish.reason or "",
                    outcome="waiting",
                    detail=f"it needs {policy.approvals_needed} and has {given}",
                    actor=wish.actor,
                )
            )
    return told


def used_until(log: EventLog, model: str, now: datetime) -> Mapping[str, datetime]:
    """When each deployment had last been called, to the hour; what only its provider knew is not kept."""
    found: dict[str, datetime] = {}
    for one in log.usage(model=model):
        if one.deployment is not None and one.last_used_at <= now:
            found[one.deployment] = max(one.last_used_at, found.get(one.deployment, one.last_used_at))
    return found


def _surplus(log: EventLog, model: str, keep: int | None, at: int | None) -> Sequence[VersionState]:
    """See `EventLog.surplus`, which knows the present alone."""
    if keep is None:
        return ()
    if at is None:
        return log.surplus({model: keep})
    retired = log.versions(VersionQuery(model=model, states=frozenset({"retired"})), at=at).items[keep:]
    return [one for one in reversed(retired) if one.method != "imported" and not one.deletion_requested]
