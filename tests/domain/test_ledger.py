"""Billed spans: from the moment it may be billed to the moment it was seen gone, unknown ones marked and counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from registry.domain.events import Rate
from registry.domain.ledger import Interval, billed_now, billed_since, charges, intervals, total
from registry.domain.states import DeploymentState

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def at(hour: float) -> datetime:
    return DAY + timedelta(hours=hour)


def span(from_: float, to: float, *, known: bool = True) -> Interval:
    return Interval(from_=at(from_), to=at(to), known=known)


def deployment(
    state: str,
    *,
    maybe: float | None = None,
    from_: float | None = None,
    to: float | None = None,
    committed: float | None = None,
    hourly: str | None = None,
    rates: tuple[tuple[float | None, str | None], ...] = (),
) -> DeploymentState:
    return DeploymentState(
        id="dep_1",
        state=state,
        maybe_billed_from=None if maybe is None else at(maybe),
        billed_from=None if from_ is None else at(from_),
        billed_to=None if to is None else at(to),
        committed_until=None if committed is None else at(committed),
        hourly=None if hourly is None else Decimal(hourly),
        rates=tuple(
            Rate(from_=None if since is None else at(since), hourly=None if rate is None else Decimal(rate))
            for since, rate in rates
        ),
    )


def test_one_that_serves_is_billed_until_now() -> None:
    one = deployment("serving", from_=1)
    assert intervals(one, from_=at(0), to=at(5)) == [span(1, 5)]
    assert billed_now(one, at(5))
    assert billed_since(one) == at(1)


def test_one_that_is_gone_is_billed_until_it_was_seen_gone() -> None:
    one = deployment("deleted", from_=1, to=3)
    assert intervals(one, from_=at(0), to=at(5)) == [span(1, 3)]
    assert not billed_now(one, at(5))


def test_one_that_was_never_made_is_not_billed() -> None:
    for state in ("requested", "deleted"):
        assert intervals(deployment(state), from_=at(0), to=at(5)) == []
        assert not billed_now(deployment(state), at(5))
        assert billed_since(deployment(state)) is None


def test_one_that_may_exist_counts_as_billed_and_is_marked() -> None:
    one = deployment("requested", maybe=1)
    assert intervals(one, from_=at(0), to=at(5)) == [span(1, 5, known=False)]
    assert billed_now(one, at(5))


def test_one_that_was_found_after_an_unknown_create_has_both_spans() -> None:
    one = deployment("provisioning", maybe=1, from_=2)
    assert intervals(one, from_=at(0), to=at(5)) == [span(1, 2, known=False), span(2, 5)]
    assert billed_since(one) == at(1)


def test_one_that_was_found_to_be_as_old_as_the_call_has_no_unknown_span() -> None:
    assert intervals(deployment("serving", maybe=1, from_=1), from_=at(0), to=at(5)) == [span(1, 5)]


def test_a_lost_one_was_billed_until_it_was_missed() -> None:
    one = deployment("lost", from_=1, to=2)
    assert not billed_now(one, at(5))
    assert intervals(one, from_=at(0), to=at(5)) == [span(1, 2)]


@pytest.mark.parametrize(
    ("from_", "to", "expected"),
    [(2, 3, [span(2, 3)]), (0, 1, []), (4, 9, []), (0, 2, [span(1, 2)]), (3, 9, [span(3, 4)])],
)
def test_spans_are_clipped_to_the_time_that_is_asked_about(from_: float, to: float, expected: list[Interval]) -> None:
    assert intervals(deployment("deleted", from_=1, to=4), from_=at(from_), to=at(to)) == expected


def test_the_months_of_a_deployment_add_up_to_the_whole() -> None:
    one = deployment("serving", maybe=700, from_=715, hourly="1.80")
    december = datetime(2026, 12, 1, tzinfo=UTC)
    whole = charges(one, from_=at(0), to=at(1000))
    parts = charges(one, from_=at(0), to=december) + charges(one, from_=december, to=at(1000))
    assert total(part.cost for part in parts) == total(part.cost for part in whole) == Decimal("540.000000")


def test_cost_is_exact_to_a_millionth_and_unknown_without_a_price() -> None:
    (second,) = charges(deployment("serving", from_=1, hourly="1.70"), from_=at(0), to=at(1) + timedelta(seconds=1))
    assert second.cost == Decimal("0.000472")
    assert charges(deployment("serving", from_=1, hourly="1.70"), from_=at(0), to=at(1)) == []
    (unknown,) = charges(deployment("serving", from_=1), from_=at(0), to=at(2))
    assert unknown.cost is None
