"""What a policy thinks of a version that is trained: whether it is to be activated, and on whose word."""

from __future__ import annotations

from collections.abc import Mapping

from registry.domain.policy import Policy
from registry.domain.states import VersionState
from registry.domain.versions import Who


def by_policy(policy: Policy, loss: float | None, active: VersionState | None) -> Who | None:
    """Of a version with this validation loss, beside the active one, were it approved."""
    if policy.activate == "on-trained":
        return Who(actor="policy:activate-on-trained", reason="activate = on-trained")
    if policy.activate == "manual" or loss is None:
        return None
    best = loss_of(active.metrics) if active is not None else None
    if active is None:
        reason = f"activate = if-better: validation loss {loss:g}, and no version is active"
    elif best is not None and loss < best:
        reason = f"activate = if-better: validation loss {loss:g}, of the active version {best:g}"
    else:
        return None
    return Who(actor="policy:activate-if-better", reason=reason)


def loss_of(metrics: Mapping[str, object]) -> float | None:
    """The validation loss among a training's final figures, where it told one."""
    loss = metrics.get("valid_loss")
    return float(loss) if isinstance(loss, int | float) else None
