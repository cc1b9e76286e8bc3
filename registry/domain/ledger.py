"""What was billed, from what is known of each deployment: intervals, unknown spans, cost. Pure; money is Decimal.

A deployment is billed from the moment it may have been (the accepted create, or the create whose outcome nobody knows)
to the moment it was seen gone. Spans in which nobody knows are marked, and counted as billed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from registry.domain.states import DeploymentState

CENT_FRACTION = Decimal("0.000001")
"""Costs are kept to a millionth of the currency's unit and rounded to cents only where they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    from_: datetime
    to: datetime
    known: bool


def billed_since(deployment: DeploymentState) -> datetime | None:
    """Since when it may have been billed; None for one that never was."""
    times = [one for one in (deployment.maybe_billed_from, deployment.billed_from) if one is not None]
    return min(times, default=None)


def billed_now(deployment: DeploymentState) -> bool:
    """Whether it may be billed at this moment."""
    since = billed_since(deployment)
    return since is not None and deployment.billed_to is None and deployment.state not in {"deleted", "lost"}


def intervals(deployment: DeploymentState, *, from_: datetime, to: datetime) -> list[Interval]:
    """The billed spans within [from_, to), in order."""
    if deployment.state == "deleted" and deployment.billed_to is None:
        return []
    end = deployment.billed_to or to
    spans: list[Interval] = []
    unsure, sure = deployment.maybe_billed_from, deployment.billed_from
    if unsure is not None:
        spans.append(Interval(from_=unsure, to=sure or end, known=False))
    if sure is not None:
        spans.append(Interval(from_=sure, to=end, known=True))
    clipped = [Interval(from_=max(one.from_, from_), to=min(one.to, to), known=one.known) for one in spans]
    return [one for one in clipped if one.from_ < one.to]


def cost(hourly: Decimal | None, spans: list[Interval]) -> Decimal | None:
    """None where the price is unknown."""
    if hourly is None:
        return None
    seconds = sum((Decimal(str((one.to - one.from_).total_seconds())) for one in spans), Decimal(0))
    return (hourly * seconds / Decimal(3600)).quantize(CENT_FRACTION, rounding=ROUND_HALF_EVEN)
