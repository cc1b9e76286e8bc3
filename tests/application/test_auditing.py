"""Questions: what is so, what was so at any position or time, what it cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from registry.application.auditing import moment
from registry.domain.errors import BadInputError
from registry.domain.ids import VersionRef
from tests.stage import ANA, BOT, Stage

FIRST = VersionRef(BOT, 1)


def test_the_audit_counts_every_deployment_that_was_billed_with_its_spans(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=10)
    audit = stage.registry.auditing.audit()
    (entry,) = audit.deployments
    (span,) = entry.intervals
    assert (span.known, span.hourly_rate, entry.deployment.requested_by) == (True, Decimal("1.80"), "user:ana")
    assert Decimal(18) < (entry.cost or Decimal(0)) < Decimal("18.1")
    assert audit.hourly_rate == Decimal("1.80")
    assert (audit.unpriced, audit.currency) == (1, "USD"), "the training has no price"
    (training,) = audit.training
    assert (training.version, training.quantity, training.unit, training.cost) == (
        "bot@1",
        Decimal("0.001"),
        "1M-tokens",
        None,
    )


def test_months_add_up_and_a_deleted_deployment_stays_in_the_month_it_was_billed(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=10)
    stage.registry.commands.retire(FIRST, ANA)
    stage.let_pass(minutes=11)
    stage.clock.advance(days=40)
    auditing = stage.registry.auditing
    middle = datetime(2026, 11, 1, 17, 0, tzinfo=UTC)
    start, end = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    whole = auditing.audit(from_=start, to=end)
    first, second = auditing.audit(from_=start, to=middle), auditing.audit(from_=middle, to=end)
    assert whole.total == (first.total or 0) + (second.total or 0)
    assert [one.version for one in first.training + second.training] == ["bot@1"]
    assert whole.deployments[0].deployment.state == "deleted"
    assert auditing.audit(from_=end).deployments == ()
    trained_at = first.training[0].trained_at
    assert auditing.audit(from_=start, to=trained_at).training == (), "a span ends before its end"
    assert len(auditing.audit(from_=trained_at).training) == 1
    assert auditing.audit().total == whole.total


def test_a_past_audit_does_not_change_when_the_price_does(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=1)
    head = stage.log.head()
    before = stage.registry.auditing.audit(as_of=head)
    stage.registry.declaring.apply(
        {"prices": [{"provider": "azure-openai", "unit": "hour", "price": "99", "currency": "USD", "source": "new"}]},
        ANA,
        plan=False,
    )
    stage.clock.advance(days=1)
    assert stage.registry.auditing.audit(as_of=head) == before


@pytest.mark.parametrize("by", ["model", "provider", "connection", "day"])
def test_the_audit_is_grouped_by_what_is_asked(stage: Stage, by: str) -> None:
    stage.active()
    stage.active("other")
    stage.trained("mine", "local")
    stage.clock.advance(days=2)
    audit = stage.registry.auditing.audit(by=by)
    keys = [str(one[by]) for one in audit.groups]
    expected = {
        "model": ["bot", "mine", "other"],
        "provider": ["azure-openai", "huggingface"],
        "connection": ["cloud", "local"],
        "day": ["2026-11-01", "2026-11-02", "2026-11-03"],
    }
    assert keys == expected[by]
    serving = sum((cast("Decimal", one["serving"]) for one in audit.groups), Decimal(0))
    assert serving == audit.total
    assert sum(cast("int", one["unpriced"]) for one in audit.groups) == 2, "two trainings without a price"


def test_deployments_without_a_price_are_counted_as_unpriced(stage: Stage) -> None:
    unlisted = {"cloud": {"provider": "azure-openai", "sku": "ProvisionedManaged"}}
    stage.registry.declaring.apply({"connections": unlisted}, ANA, plan=False)
    stage.active()
    stage.clock.advance(hours=1)
    audit = stage.registry.auditing.audit(by="model")
    assert (audit.total, audit.unpriced) == (Decimal(0), 2)
    assert audit.as_json()["deployments"] != []
    assert audit.deployments[0].as_json()["cost"] is None


def test_this_machine_costs_nothing_and_says_how_long_it_trained(stage: Stage) -> None:
    stage.trained(connection="local")
    (training,) = stage.registry.auditing.audit().training
    assert (training.quantity, training.unit, training.cost) == (Decimal("0.016666667"), "hour", 0)


def test_an_audit_of_what_cannot_be_is_refused(stage: Stage) -> None:
    stage.active()
    now = stage.clock.time
    with pytest.raises(BadInputError, match="is after"):
        stage.registry.auditing.audit(from_=now, to=now - timedelta(days=1))
    with pytest.raises(BadInputError, match="'moon' is not one of model, provider, connection, day"):
        stage.registry.auditing.audit(by="moon")


def test_the_audit_in_json_has_the_fields_that_were_promised(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=1)
    shown = stage.registry.auditing.audit().as_json()
    assert {"from", "to", "currency", "total", "deployments", "training", "unknown", "foreign"} <= set(shown)
    (deployment,) = cast("list[dict[str, Any]]", shown["deployments"])
    assert set(deployment["intervals"][0]) == {"from", "to", "known", "hourly_rate", "cost"}
    assert {"id", "state", "billed", "billed_from", "billed_to", "cost", "requested_by"} <= set(deployment)


def test_a_new_price_holds_from_now_on_and_is_a_fact_of_what_runs(stage: Stage) -> None:
    stage.active()
    start = stage.clock.time
    stage.clock.advance(hours=10)
    change = stage.clock.time
    before = stage.registry.auditing.audit(from_=start, to=change)
    dearer = {"provider": "azure-openai", "unit": "hour", "currency": "USD", "source": "contract 2"}
    prices = [{**dearer, "price": "3.60"}, {**dearer, "price": "7.20", "effective": "2026-11-03"}]
    for _ in range(2):
        stage.registry.declaring.apply({"prices": prices}, ANA, plan=False)
    assert stage.types().count("deployment-repriced") == 1, "and it is told once"
    stage.clock.advance(days=2)
    audit = stage.registry.auditing.audit()
    (entry,) = audit.deployments
    assert [span.hourly_rate for span in entry.intervals] == [Decimal("1.80"), Decimal("3.60"), Decimal("7.20")]
    assert entry.intervals[-1].from_ == datetime(2026, 11, 3, tzinfo=UTC)
    assert audit.hourly_rate == Decimal("7.20")
    assert stage.registry.auditing.audit(from_=start, to=change).total == before.total
    assert entry.cost == sum(span.cost or 0 for span in entry.intervals)


def test_what_runs_keeps_its_price_where_the_new_one_is_unknown_or_in_another_currency(stage: Stage) -> None:
    stage.active()
    euros = {"provider": "azure-openai", "unit": "hour", "price": "1", "currency": "EUR", "source": "contract"}
    stage.registry.declaring.apply({"prices": [euros]}, ANA, plan=False)
    assert "deployment-repriced" not in stage.types()
    assert stage.deployments()[0].hourly_rate == Decimal("1.80")
    stage.active("other")
    stage.clock.advance(hours=10)
    audit = stage.registry.auditing.audit(by="model")
    assert (audit.currency, audit.total, audit.hourly_rate) == (None, None, None), "currencies are never added up"
    assert audit.hourly_rates == {"EUR": Decimal(1), "USD": Decimal("1.80")}
    assert set(audit.totals) == {"EUR", "USD"}
    assert [(one["model"], one["currency"]) for one in audit.groups] == [
        ("bot", "USD"),
        ("other", "EUR"),
        ("other", "USD"),
    ]


def test_a_training_costs_what_its_intent_said(stage: Stage) -> None:
    price = {"provider": "azure-openai", "unit": "1M-tokens", "price": "2.50", "currency": "USD", "source": "list"}
    stage.registry.declaring.apply({"prices": [price, {**price, "model": "else", "price": "99"}]}, ANA, plan=False)
    stage.trained()
    (training,) = stage.registry.auditing.audit().training
    assert (training.quantity, training.price, training.cost) == (Decimal("0.001"), Decimal("2.50"), Decimal("0.0025"))
    assert (training.provider, training.connection) == ("azure-openai", "cloud")


def test_an_audit_as_of_then_is_what_it_was_whatever_came_later(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=3)
    then, head = stage.clock.time, stage.log.head()
    views = [stage.registry.auditing.audit(as_of=at, by="day").as_json() for at in (then, head)]
    stage.active("other")
    stage.registry.commands.retire(FIRST, ANA)
    stage.let_pass(hours=1)
    assert [stage.registry.auditing.audit(as_of=at, by="day").as_json() for at in (then, head)] == views
    assert len(stage.registry.auditing.audit().deployments) == 2


def test_nothing_is_charged_ahead_of_now_and_what_is_billed_now_is_told_of_any_time(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=1)
    far = datetime(2100, 1, 1, tzinfo=UTC)
    audit = stage.registry.auditing.audit(to=far)
    assert audit.to == far
    assert audit.deployments[0].intervals[-1].to < far
    past = stage.registry.auditing.audit(to=datetime(2026, 10, 1, tzinfo=UTC))
    assert (past.total, past.hourly_rate, past.deployments) == (Decimal(0), Decimal("1.80"), ())


def test_what_is_billed_and_not_reached_through_its_model_is_unused(stage: Stage) -> None:
    stage.active()
    standby = stage.trained()
    stage.registry.commands.deploy(standby, ANA)
    stage.settle()
    stage.clock.advance(hours=1)
    (unused,) = stage.registry.auditing.audit().unused
    assert (unused["ref"], unused["hourly_rate"]) == ("bot@2", Decimal("1.80"))
    assert unused["why"] == "bot@2 is not the active version"


def test_a_time_is_a_date_or_has_a_zone_or_is_utc() -> None:
    assert moment(None, "from") is None
    assert moment("2026-11-01", "from") == datetime(2026, 11, 1, tzinfo=UTC)
    assert moment("2026-11-01T01:00:00+01:00", "from") == datetime(2026, 11, 1, tzinfo=UTC)
    with pytest.raises(BadInputError, match="from 'soon' is not an ISO 8601 date or time"):
        moment("soon", "from")


def test_an_audit_as_of_a_time_ends_there_and_one_of_the_future_ends_now(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=10)
    then, auditing = stage.clock.time, stage.registry.auditing
    stage.clock.advance(hours=10)
    assert auditing.audit(as_of=then).to == then
    assert auditing.audit(as_of=then.isoformat()) == auditing.audit(as_of=then)
    assert auditing.audit(as_of=stage.clock.time + timedelta(days=1)).to == stage.clock.time
    assert Decimal(17) < (auditing.audit().total or 0) - (auditing.audit(as_of=then).total or 0) < Decimal("18.1")
