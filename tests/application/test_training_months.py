"""A training costs in the month in which its job ended, whenever that was seen."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from registry.application.audit_csv import audit_csv
from registry.domain.errors import RefusedError
from registry.domain.ids import VersionRef
from tests.stage import ANA, Stage

NOVEMBER, DECEMBER, JANUARY = (datetime(2026 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in (10, 11, 12))
PRICES = [
    {"provider": "azure-openai", "unit": unit, "price": price, "currency": "USD", "source": "test"}
    for unit, price in (("1M-tokens", "2500"), ("hour", "1.80"))
]


def trained_over_the_end_of_november(stage: Stage, *, ended: datetime) -> VersionRef:
    """Asked for in November, and looked at again two days after that has ended."""
    stage.registry.declaring.apply({"prices": PRICES}, ANA, plan=False)
    ref = stage.fine_tune()
    stage.run()
    (job,) = stage.cloud().jobs.values()
    job.finished_at, job.polls_left = ended, 0
    stage.clock.time = DECEMBER + timedelta(days=2)
    stage.settle()
    assert stage.state(ref) == "trained"
    return ref


def costs(stage: Stage) -> list[Decimal | None]:
    """Of November and of December."""
    audit = stage.registry.auditing.audit
    return [audit(from_=NOVEMBER, to=DECEMBER).total, audit(from_=DECEMBER, to=JANUARY).total]


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (DECEMBER - timedelta(minutes=2), ["2.5", "0"]),
        (DECEMBER + timedelta(minutes=2), ["0", "2.5"]),
        (JANUARY, ["0", "2.5"]),
        (datetime(2019, 1, 1, tzinfo=UTC), ["2.5", "0"]),
    ],
    ids=["in November", "in December", "by a clock that is ahead", "by a clock that is behind"],
)
def test_it_is_of_the_month_in_which_the_provider_says_it_ended(
    stage: Stage, ended: datetime, expected: list[str]
) -> None:
    trained_over_the_end_of_november(stage, ended=ended)
    assert costs(stage) == [Decimal(one) for one in expected]


def test_every_form_of_the_audit_says_the_same_moment(stage: Stage) -> None:
    ended = DECEMBER - timedelta(minutes=2)
    ref = trained_over_the_end_of_november(stage, ended=ended)
    view = stage.registry.auditing.audit(from_=NOVEMBER, to=JANUARY, by="day")
    assert [one.trained_at for one in view.training] == [ended]
    assert [(one["day"], one["training"]) for one in view.groups] == [("2026-11-30", Decimal("2.5"))]
    (row,) = stage.registry.auditing.focus(from_=NOVEMBER, to=JANUARY).rows
    assert (row["BillingPeriodStart"], row["ChargePeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-11-30T23:58:01Z")
    assert "2026-11-30T23:58:00" in audit_csv(stage.registry.auditing.audit(from_=NOVEMBER, to=JANUARY))
    assert stage.registry.reading.version_state(ref).trained_at == ended


def test_a_month_that_was_asked_about_before_its_end_was_seen_is_told_again_as_it_was(stage: Stage) -> None:
    asked_at = DECEMBER + timedelta(hours=1)
    trained_over_the_end_of_november(stage, ended=DECEMBER - timedelta(minutes=2))
    then = stage.registry.auditing.audit(from_=NOVEMBER, to=DECEMBER, as_of=asked_at)
    assert (then.total, then.training) == (Decimal(0), ())


@pytest.mark.parametrize(("ended", "refused"), [(-2, False), (2, True)], ids=["November", "December"])
def test_it_counts_against_the_budget_of_that_month(stage: Stage, ended: int, *, refused: bool) -> None:
    rest_of_december = Decimal(29 * 24) * Decimal("1.80")
    stage.policy(max_monthly_cost=str(rest_of_december + 1))
    ref = trained_over_the_end_of_november(stage, ended=DECEMBER + timedelta(minutes=ended))
    with pytest.raises(RefusedError, match="max_monthly_cost") if refused else nullcontext():
        stage.activate(ref)
