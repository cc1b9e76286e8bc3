"""The audit in FOCUS 1.2: valid, complete, and the same money as the audit's own."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from registry.application.focus import COLUMNS, Focus, training_row
from registry.application.ports import Trained
from registry.domain import ledger
from registry.domain.events.values import UnitPrice
from tests.application.focus_columns import MANDATORY, faults
from tests.stage import ANA, Stage

PRICED = {
    "prices": [
        {"provider": "azure-openai", "unit": "hour", "price": "1.80", "currency": "USD", "source": "test"},
        {"provider": "azure-openai", "unit": "1M-tokens", "price": "2.50", "currency": "USD", "source": "test"},
    ]
}


def rows_of(focus: Focus) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(focus.csv())))


def two_months(stage: Stage) -> None:
    stage.registry.declaring.apply(PRICED, ANA, plan=False)
    stage.active()
    stage.clock.advance(days=40)
    stage.trained("mine", "local")
    stage.registry.commands.retire(stage.active("other"), ANA)
    stage.let_pass(hours=1)


def test_every_row_is_valid_and_they_add_up_to_the_audit(stage: Stage) -> None:
    two_months(stage)
    end = stage.clock.time
    focus = stage.registry.auditing.focus(to=end)
    rows = rows_of(focus)
    assert faults(COLUMNS, rows) == []
    assert focus.unpriced == 0
    total = sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
    assert total == stage.registry.auditing.audit(to=end).total
    assert {row["BillingPeriodStart"] for row in rows} == {"2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"}
    assert {row["ServiceName"] for row in rows} == {"Azure OpenAI", "Own hardware"}


def test_a_row_tells_what_it_is_for(stage: Stage) -> None:
    stage.registry.declaring.apply(PRICED, ANA, plan=False)
    stage.active()
    stage.clock.advance(hours=10)
    hosting, training = rows_of(stage.registry.auditing.focus())
    assert (hosting["ChargeDescription"], hosting["PricingUnit"], hosting["x_Version"]) == (
        "Hosting of bot@1",
        "Hours",
        "bot@1",
    )
    assert (hosting["ListUnitPrice"], hosting["BillingAccountName"], hosting["x_RequestedBy"]) == (
        "1.8",
        "cloud",
        "user:ana",
    )
    assert (
        training["PricingUnit"],
        training["PricingQuantity"],
        training["ListCost"],
        training["ConsumedQuantity"],
    ) == (
        "1000000 Tokens",
        "0.001",
        "0.0025",
        "1000",
    )


def test_hours_of_training_are_the_audit_s_own_to_the_last_digit() -> None:
    price = UnitPrice(amount=Decimal("0.00"), unit="hour", currency="USD", source="test")
    trained = Trained(
        ref="bot@1",
        connection="local",
        provider="huggingface",
        trained_at=datetime(2026, 11, 23, tzinfo=UTC),
        tokens=None,
        duration_s=5.02550482749939,
        price=price,
        cost=Decimal(0),
        currency="USD",
    )
    row = training_row(trained, None)
    assert row is not None
    told = ledger.training_quantity("hour", tokens=None, duration_s=trained.duration_s)
    assert (row["ConsumedQuantity"], row["PricingQuantity"]) == (str(told), str(told)) == ("0.001396111",) * 2


def test_what_has_no_price_has_no_row_and_is_counted(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=1)
    focus = stage.registry.auditing.focus()
    assert (len(focus.rows), focus.unpriced) == (1, 1), "the training has no price"


def test_a_window_cuts_the_charges_and_nothing_gives_a_header_alone(stage: Stage) -> None:
    two_months(stage)
    november = stage.registry.auditing.focus(
        from_=datetime(2026, 11, 1, tzinfo=UTC), to=datetime(2026, 12, 1, tzinfo=UTC)
    )
    assert {row["BillingPeriodEnd"] for row in rows_of(november)} == {"2026-12-01T00:00:00Z"}
    before = stage.registry.auditing.focus(to=datetime(2026, 10, 1, tzinfo=UTC))
    assert before.csv() == ",".join(COLUMNS) + "\n"


def test_a_window_since_ever_is_asked_of_the_log_from_its_beginning_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question for each month since the year 1 kept a server busy for minutes."""
    stage.active()
    stage.clock.advance(hours=3)
    asked: list[object] = []
    log, billed = stage.log, stage.log.billed

    def counted(**query: Any) -> object:
        asked.append(query)
        return billed(**query)

    monkeypatch.setattr(log, "billed", counted)
    begin = datetime(1, 1, 1, tzinfo=UTC)
    rows = stage.registry.auditing.focus(from_=begin, to=datetime.max.replace(tzinfo=UTC)).rows
    assert len(asked) < 10
    begun = [row["ChargePeriodStart"] for row in stage.registry.auditing.focus().rows]
    assert [row["ChargePeriodStart"] for row in rows] == begun
    assert begun


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"BilledCost": ""}, "BilledCost is null"),
        ({"ListCost": "$3"}, "is not a decimal"),
        ({"ChargePeriodStart": "2026-11-01 10:00"}, "is not a time"),
        ({"BillingCurrency": "usd"}, "is not a currency"),
        ({"ChargeCategory": "Hosting"}, "is not allowed"),
        ({"PricingUnit": ""}, "PricingQuantity without PricingUnit"),
        ({"ListUnitPrice": "9"}, "is not ListCost"),
        ({"ChargePeriodEnd": "2026-11-01T00:00:00Z"}, "does not lie in the billing period"),
    ],
)
def test_the_validator_sees_what_is_wrong(stage: Stage, change: dict[str, str], fault: str) -> None:
    stage.active()
    stage.clock.advance(hours=1)
    (row,) = rows_of(stage.registry.auditing.focus())
    assert any(fault in one for one in faults(COLUMNS, [{**row, **change}]))
    assert len(faults([], [])) == len(MANDATORY) + 2
