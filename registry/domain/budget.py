"""What a model may cost: refused before money is spent, counting what runs already and what has been asked for.

Pure. A limit is in the currency of the price book; amounts are compared as they stand. An unknown price is refused
under a limit, because nobody can say that it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from registry.domain import ledger
from registry.domain.deploying import GONE
from registry.domain.errors import RefusedError
from registry.domain.events import Price
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, VersionState

CENT = Decimal("0.01")
UNDER_WAY = frozenset({"queued", "training"})
SECONDS_PER_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A model's money at a moment. `deployments`: all it ever had; `versions`: trained this month, or being trained."""

    model: str
    now: datetime
    deployments: Sequence[DeploymentState] = ()
    versions: Sequence[VersionState] = ()
    asked: int = 0
    """Activations that have been asked for, and have no deployment yet: each will want one at this price."""
    replaced: frozenset[str] = frozenset()
    """Deployments that go, by policy, soon after this one serves."""

    @property
    def live(self) -> list[DeploymentState]:
        """Those that are there, and those that are not and are billed until a commitment ends."""
        return [one for one in self.deployments if one.state not in GONE or ledger.billed_now(one, self.now)]

    def hourly(self) -> Decimal:
        """What an hour of everything that runs, or is about to, costs as far as it is known."""
        return sum((self._rate(one) for one in self.live), Decimal(0))

    def spent(self) -> Decimal:
        """This month so far, as far as prices are known: serving, and trainings that have ended."""
        start, _ = month(self.now)
        serving = (
            charge.cost or Decimal(0)
            for one in self.deployments
            for charge in ledger.charges(one, from_=start, to=self.now)
        )
        training = (
            one.training_cost or Decimal(0)
            for one in self.versions
            if one.trained_at is not None and start <= one.trained_at <= self.now
        )
        return sum(serving, Decimal(0)) + sum(training, Decimal(0))

    def ahead(self, grace: timedelta) -> Decimal:
        """What is billed costs until the month ends, what is replaced until its grace is over; and trainings."""
        _, end = month(self.now)
        serving = (self._rate(one) * _hours(self._until(one, end, grace) - self.now) for one in self.live)
        training = (one.cost_estimated or Decimal(0) for one in self.versions if one.state in UNDER_WAY)
        return sum(serving, Decimal(0)) + sum(training, Decimal(0))

    def _until(self, deployment: DeploymentState, end: datetime, grace: timedelta) -> datetime:
        if deployment.id in self.replaced:
            return min(end, self.now + grace)
        return end if deployment.state not in GONE else min(end, ledger.billed_until(deployment) or end)

    def _rate(self, deployment: DeploymentState) -> Decimal:
        return ledger.rate_at(deployment, self.now) or Decimal(0)


def month(now: datetime) -> tuple[datetime, datetime]:
    """The calendar month in UTC: its first moment, and the next one's."""
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)


def month_name(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y-%m}"


def check_deployment(policy: Policy, price: Price, spending: Spending) -> None:
    """Refuse a deployment that would take its model above a limit. Raises RefusedError."""
    if policy.max_hourly_cost is None and policy.max_monthly_cost is None:
        return
    if price.source == "not billed":
        return
    if price.hourly is None:
        key = "max_hourly_cost" if policy.max_hourly_cost is not None else "max_monthly_cost"
        limit = policy.max_hourly_cost if policy.max_hourly_cost is not None else policy.max_monthly_cost
        raise RefusedError(
            f"{spending.model} has {key} = {limit} and the price of this deployment is unknown",
            hint="add a [[prices]] entry and run tenure apply",
        )
    _check_hourly(policy, price, price.hourly, spending)
    _check_monthly(policy, price, price.hourly, spending)


def _check_hourly(policy: Policy, price: Price, hourly: Decimal, spending: Spending) -> None:
    if policy.max_hourly_cost is None:
        return
    running = spending.hourly() + hourly * spending.asked
    if running + hourly > policy.max_hourly_cost:
        raise RefusedError(
            f"{spending.model} runs at {running} {price.currency} an hour; another {hourly} would exceed"
            f" max_hourly_cost = {policy.max_hourly_cost}",
            hint="delete a deployment (tenure deployments --billed), or raise the limit with tenure apply",
        )


def _check_monthly(policy: Policy, price: Price, hourly: Decimal, spending: Spending) -> None:
    """As if everything that runs, and this one, ran until the month ends."""
    if policy.max_monthly_cost is None:
        return
    spent = spending.spent()
    _, end = month(spending.now)
    ahead = spending.ahead(policy.superseded_grace)
    this = hourly * _hours(end - spending.now) * (1 + spending.asked)
    if spent + ahead + this > policy.max_monthly_cost:
        raise RefusedError(
            f"{spending.model} has cost {_cents(spent)} {price.currency} this month, what runs will cost"
            f" {_cents(ahead)} more, and this one {_cents(this)} until the month ends: that would exceed"
            f" max_monthly_cost = {policy.max_monthly_cost}",
            hint="delete a deployment (tenure deployments --billed), or raise the limit with tenure apply",
        )


def check_training(policy: Policy, cost: Decimal | None, currency: str, spending: Spending) -> None:
    """Refuse a training that would take its model above its month. One whose cost nobody can tell is refused only
    when nothing is left: most prices of training follow from tokens that are counted later.
    """
    if policy.max_monthly_cost is None:
        return
    taken = spending.spent() + spending.ahead(policy.superseded_grace)
    if taken + (cost or Decimal(0)) > policy.max_monthly_cost or taken == policy.max_monthly_cost:
        more = f"; this training would cost {_cents(cost)} more" if cost is not None else ""
        raise RefusedError(
            f"{spending.model} will have cost {_cents(taken)} {currency} when the month ends{more}, and"
            f" max_monthly_cost = {policy.max_monthly_cost}",
            hint="delete a deployment (tenure deployments --billed), or raise the limit with tenure apply",
        )


def exceeded(policy: Policy, spending: Spending) -> Decimal | None:
    """What the month has cost, where that is above its limit already."""
    if policy.max_monthly_cost is None:
        return None
    spent = spending.spent()
    return spent if spent > policy.max_monthly_cost else None


def _hours(span: timedelta) -> Decimal:
    return Decimal(str(span.total_seconds())) / SECONDS_PER_HOUR


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT)
