"""Limits on what a model may cost: hourly, and in a calendar month, counting what runs and what has been asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain import budget
from registry.domain import events as ev
from registry.domain.budget import Spending
from registry.domain.errors import RefusedError
from registry.domain.policy import Policy
from registry.domain.states import DeploymentState, VersionState

NOW = datetime(2026, 11, 21, tzinfo=UTC)
"""Ten days before the month ends, 240 hours."""
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
PRICE = ev.Price(hourly=Decimal("1.80"), currency="USD", source="test price list")
UNKNOWN = ev.Price(hourly=None, currency="USD", source="unknown")
NOT_BILLED = ev.Price(hourly=None, currency="USD", source="not billed")


def running(
    hourly: str | None, state: str = "serving", *, since: datetime = NOW, name: str = "", version: int = 1
) -> DeploymentState:
    return DeploymentState(
        id=name or f"dep_{hourly}",
        state=state,
        version=version,
        hourly=Decimal(hourly) if hourly else None,
        requested_at=since,
        billed_from=since,
        billed_to=NOW if state in {"deleted", "lost"} else None,
    )


def spending(*deployments: DeploymentState, **changes: object) -> Spending:
    return Spending(model="bot", now=NOW, deployments=deployments, **changes)  # pyright: ignore[reportArgumentType]


def fits(given_spending: Spending, price: ev.Price = PRICE, **policy: object) -> None:
    budget.check_deployment(Policy.of(policy), price, given_spending)


def test_without_a_limit_any_price_fits() -> None:
    fits(spending(), UNKNOWN)


def test_what_would_take_a_model_above_its_hourly_limit_is_refused() -> None:
    fits(spending(running("1.80")), max_hourly_cost="3.60")
    fits(spending(running("1.80"), running("9.00", "deleted"), running("9", "lost")), max_hourly_cost="3.60")
    fits(spending(running("1.80"), running(None)), max_hourly_cost="3.60")
    with pytest.raises(RefusedError, match=r"bot runs at 1.81 USD an hour; another 1.80 would exceed"):
        fits(spending(running("1.81")), max_hourly_cost="3.60")


def test_what_has_been_asked_for_counts_as_if_it_ran() -> None:
    fits(spending(asked=1), max_hourly_cost="3.60")
    with pytest.raises(RefusedError, match="max_hourly_cost"):
        fits(spending(running("1.80"), asked=1), max_hourly_cost="3.60")
    with pytest.raises(RefusedError, match="max_hourly_cost"):
        fits(spending(running("1.80", "requested")), max_hourly_cost="3.59")


@pytest.mark.parametrize("key", ["max_hourly_cost", "max_monthly_cost"])
def test_an_unknown_price_does_not_fit_under_a_limit_and_nothing_billed_does(key: str) -> None:
    with pytest.raises(RefusedError, match=f"{key} = 3.60 and the price of this deployment is unknown"):
        fits(spending(), UNKNOWN, **{key: "3.60"})
    fits(spending(), NOT_BILLED, **{key: "3.60"})


def test_a_month_holds_what_it_has_cost_what_runs_will_cost_and_the_new_one() -> None:
    first_day = running("1.00", since=MONTH)
    fits(spending(), max_monthly_cost="432.00")
    with pytest.raises(RefusedError, match=r"this one 432.00 until the month ends"):
        fits(spending(), max_monthly_cost="431.99")
    fits(spending(first_day), max_monthly_cost="1152.00")
    with pytest.raises(RefusedError, match=r"bot has cost 480.00 USD this month, what runs will cost 240.00 more"):
        fits(spending(first_day), max_monthly_cost="1151.99")


def test_what_is_replaced_is_counted_for_its_grace() -> None:
    old = running("1.80", name="dep_old")
    replaced = spending(old, replaced=frozenset({"dep_old"}))
    fits(replaced, max_monthly_cost="450.00", superseded_grace="10h")
    with pytest.raises(RefusedError):
        fits(replaced, max_monthly_cost="449.99", superseded_grace="10h")


def test_last_months_cost_is_not_this_months_and_a_training_of_this_month_is() -> None:
    ended = running("100", "deleted", since=MONTH - timedelta(days=40))
    ended.billed_to = MONTH
    trained = VersionState(model="bot", version=1, trained_at=MONTH, training_cost=Decimal(10))
    earlier = VersionState(model="bot", version=2, trained_at=MONTH - timedelta(days=1), training_cost=Decimal(99))
    unknown = VersionState(model="bot", version=3, trained_at=MONTH)
    assert spending(ended, versions=(trained, earlier, unknown)).spent() == 10


def test_a_training_is_refused_when_it_would_take_the_month_above_its_limit() -> None:
    policy = Policy.of({"max_monthly_cost": "720.00"})
    runs = spending(running("1.00", since=MONTH))
    budget.check_training(Policy.of({}), Decimal(1000), "USD", runs)
    budget.check_training(policy, Decimal("0.00"), "USD", spending())
    with pytest.raises(RefusedError, match=r"this training would cost 0.01 more"):
        budget.check_training(policy, Decimal("0.01"), "USD", runs)
    with pytest.raises(RefusedError, match=r"720\.00"):
        budget.check_training(policy, None, "USD", runs)
    budget.check_training(policy, None, "USD", spending(running("0.99", since=MONTH)))


def test_a_training_counts_from_when_it_is_asked_for() -> None:
    policy = Policy.of({"max_monthly_cost": "100.00"})
    under_way = VersionState(model="bot", version=1, state="training", cost_estimated=Decimal(60))
    queued = VersionState(model="bot", version=2, state="queued")
    stopped = VersionState(model="bot", version=3, state="cancelled", cost_estimated=Decimal(60))
    runs = spending(versions=(under_way, queued, stopped))
    budget.check_training(policy, Decimal(40), "USD", runs)
    with pytest.raises(RefusedError, match=r"bot will have cost 60.00 USD when the month ends; this training"):
        budget.check_training(policy, Decimal("40.01"), "USD", runs)
    with pytest.raises(RefusedError, match=r"what runs will cost 60\.00 more"):
        fits(runs, max_monthly_cost="100.00")


def test_what_is_committed_counts_until_the_commitment_ends_also_when_it_is_gone() -> None:
    gone = running("1.00", "lost")
    gone.committed_until = NOW + timedelta(hours=24)
    assert (spending(gone).hourly(), spending(gone).ahead(timedelta())) == (1, 24)
    with pytest.raises(RefusedError, match="max_hourly_cost"):
        fits(spending(gone), max_hourly_cost="2.79")
    gone.committed_until = NOW + timedelta(days=180)
    assert spending(gone).ahead(timedelta()) == 240, "until the month ends"


def test_a_month_is_told_of_when_it_has_cost_more_than_its_limit() -> None:
    runs = spending(running("1.00", since=MONTH))
    assert budget.exceeded(Policy.of({}), runs) is None
    assert budget.exceeded(Policy.of({"max_monthly_cost": "480.00"}), runs) is None
    assert budget.exceeded(Policy.of({"max_monthly_cost": "479.99"}), runs) == Decimal(480)


def test_december_ends_with_the_year() -> None:
    start, end = budget.month(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert (start, end) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert budget.month_name(start) == "2026-12"


RATES = st.lists(st.decimals(min_value=0, max_value=50, places=2), max_size=6)


@given(rates=RATES, price=st.decimals(min_value=0, max_value=50, places=2), limit=st.integers(0, 200))
def test_what_is_allowed_never_takes_a_model_above_its_hourly_limit(
    rates: list[Decimal], price: Decimal, limit: int
) -> None:
    taken = Decimal(0)
    allowed: list[DeploymentState] = []
    for number, rate in enumerate([*rates, price]):
        wanted = ev.Price(hourly=rate, currency="USD", source="list")
        try:
            fits(spending(*allowed), wanted, max_hourly_cost=str(limit))
        except RefusedError:
            assert taken + rate > limit
            continue
        allowed.append(running(str(rate), name=f"dep_{number}"))
        taken += rate
        assert taken <= limit


@given(rates=RATES, hours=st.integers(0, 719), limit=st.integers(0, 5000))
def test_what_is_allowed_never_takes_a_month_above_its_limit_however_long_it_runs(
    rates: list[Decimal], hours: int, limit: int
) -> None:
    now = MONTH + timedelta(hours=hours)
    allowed: list[DeploymentState] = []
    for number, rate in enumerate(rates):
        wanted = ev.Price(hourly=rate, currency="USD", source="list")
        before = Spending(model="bot", now=now, deployments=tuple(allowed))
        try:
            fits(before, wanted, max_monthly_cost=str(limit))
        except RefusedError:
            continue
        allowed.append(running(str(rate), since=now, name=f"dep_{number}"))
    last_moment = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert Spending(model="bot", now=last_moment, deployments=tuple(allowed)).spent() <= limit
