"""Billed spans: from the moment it may be billed to the moment it was seen gone, unknown ones marked and counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st

from registry.domain.events import Rate
from registry.domain.ledger import (
    Interval,
    billed_now,
    billed_since,
    billed_until,
    by_day,
    charges,
    intervals,
    rate_at,
    total,
)
from registry.domain.states import DeploymentState, Span

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


def test_a_commitment_is_billed_to_its_end_whatever_is_deleted() -> None:
    one = deployment("deleted", from_=1, to=3, committed=8, hourly="2")
    assert charges(one, from_=at(0), to=at(20))[-1].to == at(8)
    assert (billed_now(one, at(7)), billed_now(one, at(8)), billed_until(one)) == (True, False, at(8))
    over = deployment("deleted", from_=1, to=9, committed=8)
    assert billed_until(over) == at(9)
    assert billed_now(deployment("serving", from_=1, committed=8), at(9))


def test_a_new_price_holds_from_then_on_and_the_past_keeps_its_own() -> None:
    one = deployment("serving", from_=0, hourly="3", rates=((None, "1"), (2, "3"), (4, None)))
    found = [(span.from_, span.to, span.cost) for span in charges(one, from_=at(1), to=at(5))]
    assert found == [(at(1), at(2), 1), (at(2), at(4), 6), (at(4), at(5), None)]
    assert [rate_at(one, at(hour)) for hour in (0, 2, 3, 4)] == [1, 3, 3, None]
    assert total(cost for *_, cost in found) is None


HOURS = st.integers(0, 2000).map(lambda count: count / 7)


@st.composite
def lives(draw: st.DrawFn) -> DeploymentState:
    """What a fold can give: known from a moment on, unsure before it, gone after it."""
    start = draw(HOURS)
    unsure, sure = draw(st.none() | st.just(start)), draw(st.none() | HOURS.map(lambda hours: start + hours))
    gone = max(start, sure or start) + draw(HOURS)
    changes = sorted(draw(st.sets(HOURS, max_size=3)))
    prices = st.none() | st.decimals("0", "50", places=9)
    return DeploymentState(
        id="dep_1",
        state=draw(st.sampled_from(["serving", "deleted"])),
        maybe_billed_from=None if unsure is None else at(unsure),
        billed_from=None if sure is None else at(sure),
        billed_to=draw(st.none() | st.just(at(gone))),
        committed_until=draw(st.none() | HOURS.map(at)),
        rates=(Rate(from_=None, hourly=draw(prices)), *(Rate(from_=at(one), hourly=draw(prices)) for one in changes)),
    )


def known_cost(one: DeploymentState, from_: datetime, to: datetime) -> Decimal:
    return sum((span.cost or Decimal(0) for span in charges(one, from_=from_, to=to)), Decimal(0))


@with_examples(lives(), st.tuples(HOURS, HOURS, HOURS).map(sorted))
def test_spans_never_overlap_and_their_cost_adds_up_wherever_they_are_cut(
    one: DeploymentState, cuts: list[float]
) -> None:
    first, middle, last = (at(hour) for hour in cuts)
    spans = intervals(one, from_=first, to=last)
    assert all(span.from_ < span.to for span in spans)
    assert all(before.to <= after.from_ for before, after in pairwise(spans))
    # What lasts until now is reckoned to now, so the earlier part is asked for at the same moment.
    whole = known_cost(one, first, last)
    assert known_cost(one, first, middle) + known_cost(one, middle, last) == whole
    by_days = sum((charge.cost or Decimal(0) for _, charge in by_day(one, from_=first, to=last)), Decimal(0))
    assert by_days == whole


@with_examples(lives(), st.tuples(HOURS, HOURS).map(sorted))
def test_a_cost_never_falls_with_time(one: DeploymentState, times: list[float]) -> None:
    earlier, later = (at(hour) for hour in times)
    assert known_cost(one, DAY, earlier) <= known_cost(one, DAY, later)


def test_times_in_which_nobody_knows_are_marked_and_billed() -> None:
    one = deployment("deleted", from_=1, to=9, hourly="2")
    one.doubts = (Span(from_=at(3), to=at(4)), Span(from_=at(8), to=at(9)))
    spans = [(charge.from_, charge.to, charge.known, charge.cost) for charge in charges(one, from_=at(0), to=at(24))]
    assert spans == [
        (at(1), at(3), True, 4),
        (at(3), at(4), False, 2),
        (at(4), at(8), True, 8),
        (at(8), at(9), False, 2),
    ]
