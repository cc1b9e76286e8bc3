"""`tenure audit --reconcile`: a bill beside the ledger, by deployment, whoever wrote the bill."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from registry.application.bills import ReconciliationView, compare
from registry.composition import read_bill
from registry.domain.errors import BadInputError
from tests.application.test_focus import PRICED, two_months
from tests.stage import ANA, Stage

DAY = datetime(2026, 11, 2, tzinfo=UTC)


def compared(stage: Stage, path: Path) -> ReconciliationView:
    return stage.tenure().audit_against(path)


def statuses(view: ReconciliationView) -> dict[str, str]:
    return {one.resource: one.status for one in view.rows}


def written(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def day_long(stage: Stage) -> tuple[str, str]:
    """(provider's id, name) of a deployment that serves the whole of 2 November at 1.80 an hour."""
    stage.registry.declaring.apply(PRICED, ANA, plan=False)
    stage.active()
    stage.clock.advance(days=3)
    (view,) = stage.deployments()
    assert view.provider_id is not None
    return view.provider_id, view.name


def test_our_own_focus_file_fits_as_csv_and_as_parquet(stage: Stage, tmp_path: Path) -> None:
    two_months(stage)
    path = tmp_path / "focus.csv"
    path.write_text(stage.registry.auditing.focus(to=stage.clock.time).csv())
    view = compared(stage, path)
    assert (view.fits, view.format, {one.status for one in view.rows}) == (True, "FOCUS", {"fits"})
    parquet = tmp_path / "focus.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM read_csv('{path}', all_varchar = true)) TO '{parquet}' (FORMAT parquet)")
    assert compared(stage, parquet).rows == view.rows


AZURE = "Date,ResourceId,MeterCategory,MeterName,CostInBillingCurrency,BillingCurrency,Tags"
CUR_KEYS = ("ResourceId", "UsageStartDate", "UsageEndDate", "ProductCode", "UnblendedCost", "CurrencyCode")
CUR = ",".join(f"lineItem/{key}" for key in CUR_KEYS)
CUR2 = ",".join("line_item" + re.sub("([A-Z])", r"_\1", key).lower() for key in CUR_KEYS)


@pytest.mark.parametrize(
    ("cost", "fits", "status", "difference"),
    [("43.20", True, "fits", "0"), ("43.205", True, "fits", "0.005"), ("50.00", False, "differs", "6.8")],
)
def test_an_azure_export_is_compared_by_deployment(
    stage: Stage, tmp_path: Path, cost: str, fits: bool, status: str, difference: str
) -> None:
    srv, _ = day_long(stage)
    path = written(
        tmp_path / "azure.csv",
        AZURE,
        f"11/02/2026,{srv.upper()},Azure OpenAI,Hosting,{cost},USD,",
        "11/02/2026,/subscriptions/s/vm,Virtual Machines,D2,9.99,USD,",
    )
    view = compared(stage, path)
    (row,) = view.rows
    assert (view.format, view.fits, row.status) == ("Azure cost export", fits, status)
    assert (row.ledger, row.difference, row.ref) == (Decimal("43.2"), Decimal(difference), "bot@1")
    assert (view.from_, view.to) == (DAY, DAY + timedelta(days=1))
    assert (view.other_lines, view.other_costs) == (1, {"USD": Decimal("9.99")})


def test_what_stands_on_one_side_only_is_listed(stage: Stage, tmp_path: Path) -> None:
    day_long(stage)
    path = written(tmp_path / "azure.csv", AZURE, "11/02/2026,/subscriptions/s/theirs,Azure OpenAI,Hosting,12.00,USD,")
    view = compared(stage, path)
    assert not view.fits
    assert sorted(one.status for one in view.rows) == ["bill-only", "ledger-only"]
    assert view.rows[0].ledger == Decimal("43.2"), "the dearest first"
    assert view.as_json()["from"] == "2026-11-02T00:00:00.000000Z"


def test_a_deployment_is_known_by_its_tag(stage: Stage, tmp_path: Path) -> None:
    day_long(stage)
    (view,) = stage.deployments()
    tags = f'"{{""tenure-deployment"":""{view.id}""}}"'
    path = written(tmp_path / "azure.csv", AZURE, f"2026-11-02,/elsewhere,Azure OpenAI,Hosting,43.20,USD,{tags}")
    assert [one.status for one in compared(stage, path).rows] == ["fits"]


def test_deployments_that_a_bill_puts_under_one_account_are_compared_together(stage: Stage, tmp_path: Path) -> None:
    srv, _ = day_long(stage)
    account = "/subscriptions/s/accounts/a"
    path = written(tmp_path / "azure.csv", AZURE, f"2026-11-02,{account},Azure OpenAI,Hosting,43.20,USD,")
    bill = read_bill(path)
    audit = stage.registry.auditing.audit(from_=bill.from_, to=bill.to)
    entry = audit.deployments[0]
    there = dataclasses.replace(entry.deployment, provider_id=f"{account}/deployments/{srv}")
    view = compare(bill, dataclasses.replace(audit, deployments=(dataclasses.replace(entry, deployment=there),)))
    assert [(row.resource, row.status) for row in view.rows] == [(account, "fits")]


@pytest.mark.parametrize(("header", "form"), [(CUR, "AWS CUR"), (CUR2, "AWS CUR 2.0")])
def test_an_aws_report_is_read_and_nothing_of_azure_is_expected_on_it(
    stage: Stage, tmp_path: Path, header: str, form: str
) -> None:
    day_long(stage)
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
    times = "2026-11-02T00:00:00Z,2026-11-02T01:00:00Z"
    path = written(
        tmp_path / "cur.csv",
        header,
        f"{arn},{times},AmazonBedrock,20.50,USD",
        f"{arn},{times},AmazonBedrock,1.5E-7,USD",
        f"i-0abc,{times},AmazonEC2,3,USD",
    )
    view = compared(stage, path)
    assert (view.format, statuses(view)) == (form, {arn: "bill-only"})
    assert view.rows[0].bill == Decimal("20.50000015")


def test_openais_costs_are_read(stage: Stage, tmp_path: Path) -> None:
    path = written(
        tmp_path / "costs.csv",
        "start_time,end_time,amount_value,amount_currency,line_item,project_name",
        f"{int(DAY.timestamp())},{int(DAY.timestamp()) + 86400},0.06,usd,ft-gpt-4.1 training,prod",
    )
    view = compared(stage, path)
    assert (view.format, view.from_, statuses(view)) == ("OpenAI costs", DAY, {"ft-gpt-4.1 training": "bill-only"})
    assert view.rows[0].currency == "USD"


def test_a_bill_for_what_has_no_known_price_is_shown_beside_it(stage: Stage, tmp_path: Path) -> None:
    unlisted = {"cloud": {"provider": "azure-openai", "sku": "ProvisionedManaged"}}
    stage.registry.declaring.apply({"connections": unlisted, "prices": []}, ANA, plan=False)
    stage.active()
    stage.clock.advance(days=3)
    (one,) = stage.deployments()
    path = written(tmp_path / "azure.csv", AZURE, f"2026-11-02,{one.provider_id},Azure OpenAI,PTU,99.00,EUR,")
    (row,) = compared(stage, path).rows
    assert (row.status, row.bill, row.ledger, row.difference) == ("unpriced", Decimal(99), None, None)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "there is no such file"),
        ("vm.csv", "a,b\n1,2\n", "is no bill that is known here: its columns are a, b"),
        ("x.parquet", "not parquet", "cannot be read as CSV or Parquet"),
        ("dates.csv", AZURE + "\nsoon,/r,Azure OpenAI,m,1.00,USD,\n", "no line with a date that can be read"),
        ("money.csv", AZURE + "\n2026-11-02,/r,Azure OpenAI,m,free,USD,\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_bill_is_refused_by_name(
    stage: Stage, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=message) as refusal:
        compared(stage, tmp_path / name)
    assert name in refusal.value.message


def test_a_bill_in_another_currency_does_not_fit(stage: Stage, tmp_path: Path) -> None:
    srv, _ = day_long(stage)
    path = written(tmp_path / "azure.csv", AZURE, f"2026-11-02,{srv},Azure OpenAI,Hosting,43.20,EUR,")
    (row,) = compared(stage, path).rows
    assert (row.status, row.currency, row.difference) == ("differs", "EUR", None)
