"""Questions: what is so, what was so at any position or time, what it cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

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
