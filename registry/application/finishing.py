"""What follows from a training that has ended: in the same append, what the policy or the one who asked wants next."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.application.unit import Unit
from registry.domain import events as ev
from registry.domain import versions
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, version_stream
from registry.domain.policy import Policy
from registry.domain.states import ModelState, VersionState
from registry.domain.versions import Who, ref_of

if TYPE_CHECKING:
    from registry.application.commands import Commands
    from registry.application.commands.moves import Moves

logger = logging.getLogger("tenure.policy")

DEPLOYER = Who(actor="policy:deploy-on-trained", reason="deploy = on-trained")


def finished(
    unit: Unit, commands: Commands, version: VersionState, result: versions.Finished, who: Who
) -> list[NewEvent]:
    """The end of a job. An activation that is wanted and refused is recorded as abandoned, with the reason."""
    events = versions.finished(version, result, who)
    if version.state != "training" or result.outcome != "succeeded" or result.artifact is None:
        return events
    model = unit.model(version.model)
    assert model is not None
    policy = commands.limits.policy(model)
    trained = dataclasses.replace(
        version, state="trained", artifact_id=result.artifact.id, artifact_digest=result.artifact.digest
    )
    if policy.deploy == "on-trained":
        events += _standby(unit, commands, trained)
    wish = _wish(version, policy, (result.metrics or {}).get("valid_loss"), model, _active_loss(unit, model))
    if wish is not None:
        events += _activation(unit, commands, trained, wish)
    return events


def approved(unit: Unit, moves: Moves, version: VersionState, who: Who) -> Sequence[NewEvent]:
    """An approval; the last one that an automatic activation waited for lets it happen in the same append."""
    model = unit.model(version.model)
    assert model is not None
    policy = moves.limits.policy(model)
    events = versions.approve(version, policy, who)
    waited = version.state == "trained" and version.activation_requested_at is None and not version.deletion_requested
    if not events or not waited or policy.activate == "manual":
        return events
    now = dataclasses.replace(version, approvals=(*version.approvals, who.actor))
    wish = _wish(now, policy, loss_of(now), model, _active_loss(unit, model))
    return events if wish is None else [*events, *_activation(unit, moves, now, wish)]


def _standby(unit: Unit, commands: Commands, trained: VersionState) -> list[NewEvent]:
    try:
        return list(commands.standby(unit, trained, DEPLOYER)[0])
    except RefusedError as refusal:
        logger.warning("%s is not deployed by policy: %s", ref_of(trained), refusal.message)
        return []


def _activation(unit: Unit, moves: Moves, trained: VersionState, wish: Who) -> list[NewEvent]:
    try:
        return list(moves.activation(unit, trained, wish))
    except RefusedError as refusal:
        stream = version_stream(ref_of(trained))
        asked = ev.ActivationRequested(model=trained.model, version=trained.version)
        refused = ev.ActivationAbandoned(model=trained.model, version=trained.version, error=refusal.message)
        return [wish.says(stream, asked), wish.says(stream, refused)]


def _wish(
    version: VersionState,
    policy: Policy,
    loss: float | None,
    model: ModelState,
    active_loss: float | None,
) -> Who | None:
    """On whose word a version that has just been trained is activated, if on anyone's."""
    if version.activate_when_trained:
        return Who(actor=version.created_by, reason="asked for with --activate")
    wish = by_policy(policy, loss, model, active_loss)
    return wish if wish is not None and len(versions.approvals(version, wish)) >= policy.approvals else None


def by_policy(policy: Policy, loss: float | None, model: ModelState, active_loss: float | None) -> Who | None:
    """What a policy thinks of a version with this validation loss, were it approved."""
    if policy.activate == "on-trained":
        return Who(actor="policy:activate-on-trained", reason="activate = on-trained")
    return _if_better(loss, model, active_loss) if policy.activate == "if-better" else None


def _if_better(loss: float | None, model: ModelState, active_loss: float | None) -> Who | None:
    if loss is None:
        return None
    if model.active is None:
        reason = f"activate = if-better: validation loss {loss:g}, and no version is active"
    elif active_loss is not None and loss < active_loss:
        reason = f"activate = if-better: validation loss {loss:g}, of the active version {active_loss:g}"
    else:
        return None
    return Who(actor="policy:activate-if-better", reason=reason)


def _active_loss(unit: Unit, model: ModelState) -> float | None:
    if model.active is None:
        return None
    active = unit.version(VersionRef(model.name, model.active))
    return loss_of(active) if active else None


def loss_of(version: VersionState) -> float | None:
    """Its validation loss, where its training told one."""
    loss = version.metrics.get("valid_loss")
    return float(loss) if isinstance(loss, int | float) else None
