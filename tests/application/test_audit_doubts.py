"""What an audit cannot account for, and its CSV."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest

from registry.application.audit_csv import COLUMNS, audit_csv
from registry.application.focus import Focus
from registry.application.prices import serving_sku
from registry.domain import events as ev
from registry.domain.ids import connection_stream, deployment_stream
from registry.domain.states import ConnectionState
from tests.stage import ANA, BOT, Stage

PRICE = ev.Price(hourly=Decimal(2), currency="USD", source="test")


def says(stage: Stage, stream: str, payload: ev.DomainEvent) -> None:
    stage.log.append([ANA.says(stream, payload)], expected={})


def intent(stage: Stage, key: str) -> None:
    payload = ev.DeploymentRequested(
        deployment=key,
        model=BOT,
        version=1,
        connection="cloud",
        provider="azure-openai",
        name=f"tenure-{key}",
        token=key,
        attempt=1,
        artifact=ev.ArtifactRef(id="ft:1"),
        price=PRICE,
        purpose="standby",
    )
    says(stage, deployment_stream(key), payload)


def orphan(stage: Stage, key: str, provider_id: str, *, suspected: str | None = None) -> None:
    payload = ev.OrphanFound(
        deployment=key,
        connection="cloud",
        provider="bedrock",
        name=f"tenure-{key}",
        provider_id=provider_id,
        status="InService",
        price=PRICE,
        billed_from=stage.clock.time,
        suspected=suspected,
    )
    says(stage, deployment_stream(key), payload)


def test_what_nobody_can_account_for_is_told_with_the_reason(stage: Stage) -> None:
    intent(stage, "dep_1")
    intent(stage, "dep_2")
    unknown = ev.DeploymentOutcomeUnknown(called_at=stage.clock.time, error="time-out")
    says(stage, deployment_stream("dep_2"), unknown)
    orphan(stage, "dep_3", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/x", suspected="bot@1")
    orphan(stage, "dep_4", "srv-4")
    stage.clock.advance(hours=1)
    audit = stage.registry.auditing.audit()
    reasons = {str(one["deployment"]): str(one["why"]) for one in audit.unknown}
    assert "whether it was made is not recorded yet" in reasons["dep_1"]
    assert reasons["dep_2"] == "whether it was made is not known: time-out"
    assert "serves the artifact of bot@1" in reasons["dep_3"]
    assert "no intent names it" in reasons["dep_4"]
    billed = {one.deployment.id: one for one in audit.deployments}
    assert set(billed) == {"dep_2", "dep_3", "dep_4"}, "an intent alone is shown, and charged when it is known to exist"
    assert [span.known for span in billed["dep_2"].intervals] == [False]
    assert (billed["dep_2"].cost or 0) >= 2, "and counted"
    rows = {row["x_Deployment"]: row for row in stage.registry.auditing.focus().rows}
    assert rows["dep_3"]["BillingAccountId"] == "123456789012"
    assert rows["dep_4"]["BillingAccountId"] == "cloud"
    assert str(rows["dep_2"]["ChargeDescription"]).endswith("; not known whether it was there")


def test_what_is_not_ours_is_shown_until_it_is_gone(stage: Stage) -> None:
    found = ev.ForeignFound(connection="cloud", provider_id="srv-9", name="theirs", status="Succeeded")
    says(stage, connection_stream("cloud"), found)
    (foreign,) = stage.registry.auditing.audit().foreign
    assert (foreign["provider_id"], foreign["connection"], foreign["name"]) == ("srv-9", "cloud", "theirs")
    says(stage, connection_stream("cloud"), ev.ForeignGone(connection="cloud", provider_id="srv-9"))
    assert stage.registry.auditing.audit().foreign == ()


def test_the_csv_has_a_line_for_each_span_and_training_and_for_each_group(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=10)
    view = stage.registry.auditing.audit()
    rows = list(csv.DictReader(io.StringIO(audit_csv(view))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["kind"], row["ref"], row["unit"]) for row in rows] == [
        ("deployment", "bot@1", "hour"),
        ("training", "bot@1", "1M-tokens"),
    ]
    assert (rows[0]["rate"], Decimal(rows[0]["cost"]), rows[1]["cost"]) == ("1.80", view.total, "")
    groups = list(csv.DictReader(io.StringIO(audit_csv(stage.registry.auditing.audit(by="connection")))))
    assert (groups[0]["connection"], groups[0]["unpriced"]) == ("cloud", "1")


def test_a_focus_file_is_read_back_as_it_was_written(stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=10)
    focus = stage.registry.auditing.focus()
    again = Focus.of_csv(focus.csv(), unpriced=focus.unpriced)
    assert again.csv() == focus.csv()


def test_what_a_deployment_is_billed_as_follows_from_its_connection() -> None:
    def sku(provider: str, **settings: object) -> tuple[str | None, Decimal]:
        return serving_sku(ConnectionState(name="c", provider=provider, settings=settings))

    assert sku("azure-openai") == ("Standard", 1)
    assert sku("azure-openai", sku="ProvisionedManaged", capacity=50) == ("ProvisionedManaged", 50)
    assert sku("bedrock", model_units=2) == ("provisioned-throughput", 2)
    assert sku("openai") == (None, 1)


def test_days_and_trainings_are_grouped_in_utc(stage: Stage) -> None:
    stage.trained()
    (group,) = stage.registry.auditing.audit(by="day").groups
    assert (group["day"], group["cost"], group["unpriced"]) == ("2026-11-01", 0, 1)
    (again,) = stage.registry.auditing.audit(to=stage.clock.time + timedelta(days=1), by="day").groups
    assert again == group


def spans(stage: Stage) -> list[tuple[float, bool]]:
    """Of the only deployment: how many minutes each of its spans has, and whether it was known to be there."""
    (entry,) = stage.registry.auditing.audit().deployments
    return [(round((one.to - one.from_).total_seconds() / 60, 1), one.known) for one in entry.intervals]


def standby(stage: Stage) -> str:
    deployment = stage.registry.commands.deploy(stage.trained(), ANA)
    stage.settle()
    return deployment


def test_from_when_it_was_last_seen_until_it_was_missed_nobody_knows(stage: Stage) -> None:
    standby(stage)
    stage.clock.advance(hours=1)
    stage.run()
    stage.cloud().lose(next(iter(stage.cloud().deployments.values())).name)
    stage.clock.advance(minutes=30)
    for _ in range(3):
        stage.run()
    assert stage.states() == ["lost"]
    assert spans(stage) == [(60.3, True), (30.0, False)]


def test_where_no_process_lived_to_say_when_it_was_last_seen_that_is_when_it_began_to_serve(stage: Stage) -> None:
    standby(stage)
    stage.clock.advance(hours=1)
    stage.run()
    stage.cloud().lose(next(iter(stage.cloud().deployments.values())).name)
    stage.restart()
    for _ in range(3):
        stage.run()
    assert spans(stage) == [(0.3, True), (60.0, False)]


def test_a_deletion_that_nobody_saw_for_long_leaves_a_doubt_and_a_swift_one_leaves_none(stage: Stage) -> None:
    swift = standby(stage)
    stage.run()
    stage.registry.commands.undeploy(swift, ANA)
    stage.settle()
    assert [known for _, known in spans(stage)] == [True]


def test_a_deletion_of_something_that_had_gone_unseen_is_in_doubt_since_it_was_last_seen(stage: Stage) -> None:
    slow = standby(stage)
    stage.run()
    stage.clock.advance(hours=2)
    stage.registry.commands.undeploy(slow, ANA)
    stage.settle()
    assert spans(stage)[-1] == (120.0, False)


def test_between_gone_and_back_again_nobody_knows(stage: Stage) -> None:
    deployment = standby(stage)
    stage.run()
    gone = next(iter(stage.cloud().deployments.values()))
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    stage.clock.advance(hours=5)
    stage.cloud().deployments[gone.id] = gone
    stage.registry.reconciler.run(sweep=True)
    stage.settle()
    assert [(round(minutes / 60), known) for minutes, known in spans(stage)] == [(0, True), (5, False)]


def test_a_commitment_is_billed_for_sure_whoever_saw_it(stage: Stage) -> None:
    intent(stage, "dep_1")
    at = stage.clock.time
    end = at + timedelta(days=30)
    accepted = ev.DeploymentAccepted(provider_id="srv-1", billed_from=at, committed_until=end)
    says(stage, deployment_stream("dep_1"), accepted)
    says(stage, deployment_stream("dep_1"), ev.DeploymentDeletionRequested(deployment="dep_1"))
    gone = ev.DeploymentDeleted(billed_to=end + timedelta(days=2), reads=3, last_seen_at=at)
    says(stage, deployment_stream("dep_1"), gone)
    stage.clock.advance(days=40)
    assert spans(stage) == [(30 * 24 * 60, True), (2 * 24 * 60, False)]


def test_between_a_read_that_missed_it_and_one_that_showed_it_again_nobody_knows(stage: Stage) -> None:
    standby(stage)
    stage.run()
    gone = next(iter(stage.cloud().deployments.values()))
    del stage.cloud().deployments[gone.id]
    stage.run()
    stage.clock.advance(minutes=3)
    stage.cloud().deployments[gone.id] = gone
    stage.run()
    stage.clock.advance(hours=1)
    assert spans(stage) == [(0.3, True), (3.0, False), (60.0, True)]


def test_what_is_attached_costs_what_it_cost_since_it_was_made(stage: Stage) -> None:
    ref = stage.trained()
    (artifact,) = stage.cloud().artifacts
    made = stage.cloud().stranger("by-hand", artifact)
    stage.clock.advance(days=30)
    price = {"provider": "azure-openai", "unit": "hour", "currency": "USD", "source": "a list"}
    dearer = {**price, "price": "9", "effective": stage.clock.time.date().isoformat()}
    stage.registry.declaring.apply({"prices": [{**price, "price": "2"}, dearer]}, ANA, plan=False)
    stage.registry.commands.attach(ref, made.id, ANA)
    stage.clock.advance(hours=1)
    (entry,) = stage.registry.auditing.audit().deployments
    assert [one.hourly_rate for one in entry.intervals] == [Decimal(2), Decimal(9)]


def test_what_is_attached_is_billed_from_now_at_the_latest_whatever_its_providers_clock_says(stage: Stage) -> None:
    ref = stage.trained()
    (artifact,) = stage.cloud().artifacts
    made = stage.cloud().stranger("by-hand", artifact)
    made.created_at += timedelta(hours=5)
    stage.registry.commands.attach(ref, made.id, ANA)
    stage.clock.advance(hours=1)
    assert spans(stage) == [(60.0, True)]


def test_a_commitment_that_is_told_later_is_billed_to_its_end(stage: Stage) -> None:
    deployment = standby(stage)
    made = next(iter(stage.cloud().deployments.values()))
    stage.run()
    made.committed_until = stage.clock.time + timedelta(hours=10)
    stage.run()
    stage.run()
    stage.registry.commands.undeploy(deployment, ANA)
    stage.settle()
    stage.clock.advance(days=1)
    assert [(round(minutes / 60), known) for minutes, known in spans(stage)] == [(10, True)]
    assert stage.types("bot@1").count("deployment-accepted") == 2


@pytest.mark.parametrize("late", [False, True])
def test_an_orphans_commitment_is_billed_to_its_end_though_it_is_gone(stage: Stage, late: bool) -> None:
    stage.trained()
    made = stage.cloud().stranger("tenure-test12-bot-1-7", "ft:tenure-test12-bot-1-1")
    made.ours = True
    until = stage.clock.time + timedelta(hours=10)
    made.committed_until = None if late else until
    stage.registry.reconciler.run(sweep=True)
    made.committed_until = until
    stage.registry.reconciler.run(sweep=True)
    del stage.cloud().deployments[made.id]
    for _ in range(4):
        stage.clock.advance(minutes=10)
        stage.registry.reconciler.run(sweep=True)
    stage.clock.advance(days=1)
    (entry,) = stage.registry.auditing.audit().deployments
    assert (entry.deployment.state, entry.intervals[-1].to) == ("lost", until)
