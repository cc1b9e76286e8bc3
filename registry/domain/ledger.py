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


def billed_now(deployment: DeploymentState) -> bool:
    """Whether it may be billed at this moment."""
    since = deployment.billed_from or deployment.maybe_billed_from
    return since is not None and deployment.billed_to is None and deployment.state not in {"deleted", "lost"}


def intervals(deployment: DeploymentState, *, from_: datetime, to: datetime) -> list[Interval]:
    """The billed spans within [from_, to), in order."""
    start = deployment.billed_from or deployment.maybe_billed_from
    if start is None or (deployment.state == "deleted" and deployment.billed_to is None):
        return []
    end = deployment.billed_to or to
    spans: list[Interval] = []
    unsure = deployment.maybe_billed_from
    if unsure is not None:
        sure = deployment.billed_from if deployment.billed_from and deployment.billed_from > unsure else None
        spans.append(Interval(from_=unsure, to=sure or (unsure if deployment.billed_from else end), known=False))
    if deployment.billed_from is not None:
        spans.append(Interval(from_=deployment.billed_from, to=end, known=True))
    clipped = [Interval(from_=max(one.from_, from_), to=min(one.to, to), known=one.known) for one in spans]
    return [one for one in clipped if one.from_ < one.to]


def cost(hourly: Decimal | None, spans: list[Interval]) -> Decimal | None:
    """None where the price is unknown."""
    if hourly is None:
        return None
    seconds = sum((Decimal(str((one.to - one.from_).total_seconds())) for one in spans), Decimal(0))
    return (hourly * seconds / Decimal(3600)).quantize(CENT_FRACTION, rounding=ROUND_HALF_EVEN)
