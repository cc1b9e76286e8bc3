"""Which columns each kind of answer has, in a table and when piped. Keys are the names that JSON has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from registry.cli.output import Column

if TYPE_CHECKING:
    from registry.application.views import (
        BilledDeploymentView,
        ChangeView,
        CheckView,
        ConnectionView,
        DeploymentView,
        EventView,
        MetricView,
        ModelView,
        StepView,
        TrainingCostView,
        VersionView,
    )


def _metric(name: str) -> Column[VersionView]:
    return Column(name, lambda row: row.metrics.get(name), right=True)


def money(amount: Decimal | None, currency: str) -> str | None:
    return None if amount is None else f"{amount:f} {currency}"


MODELS: list[Column[ModelView]] = [
    Column("model", lambda row: row.model),
    Column("active", lambda row: row.active),
    Column("versions", lambda row: row.versions, right=True),
    Column("moving", lambda row: row.moving),
    Column("created_at", lambda row: row.created_at),
    Column("created_by", lambda row: row.created_by),
]
VERSIONS: list[Column[VersionView]] = [
    Column("ref", lambda row: row.ref),
    Column("state", lambda row: row.state),
    Column("active", lambda row: row.active, piped_only=True),
    Column("connection", lambda row: row.connection),
    Column("provider", lambda row: row.provider, piped_only=True),
    Column("base_model", lambda row: row.base_model),
    _metric("train_loss"),
    _metric("valid_loss"),
    Column("deployments", lambda row: row.deployments, piped_only=True),
    Column("created_at", lambda row: row.created_at),
    Column("created_by", lambda row: row.created_by),
    Column("error", lambda row: row.error, piped_only=True),
]
DEPLOYMENTS: list[Column[DeploymentView]] = [
    Column("id", lambda row: row.id),
    Column("ref", lambda row: row.ref),
    Column("state", lambda row: row.state),
    Column("billed", lambda row: row.billed),
    Column("hourly_rate", lambda row: row.hourly_rate, right=True),
    Column("cost_to_date", lambda row: row.cost_to_date, right=True),
    Column("currency", lambda row: row.currency),
    Column("billed_from", lambda row: row.billed_from),
    Column("billed_to", lambda row: row.billed_to, piped_only=True),
    Column("connection", lambda row: row.connection),
    Column("provider", lambda row: row.provider, piped_only=True),
    Column("provider_id", lambda row: row.provider_id, piped_only=True),
    Column("requested_by", lambda row: row.requested_by),
    Column("reason", lambda row: row.reason),
    Column("error", lambda row: row.error, piped_only=True),
]
EVENTS: list[Column[EventView]] = [
    Column("position", lambda row: row.position, right=True),
    Column("recorded_at", lambda row: row.recorded_at),
    Column("stream", lambda row: row.stream),
    Column("type", lambda row: row.type),
    Column("actor", lambda row: row.actor),
    Column("reason", lambda row: row.reason),
    Column("data", lambda row: row.data, piped_only=True),
]
METRICS: list[Column[MetricView]] = [
    Column("step", lambda row: row.step, right=True),
    Column("name", lambda row: row.name),
    Column("value", lambda row: row.value, right=True),
    Column("epoch", lambda row: row.epoch, right=True),
    Column("attempt", lambda row: row.attempt, right=True),
    Column("recorded_at", lambda row: row.recorded_at),
]
CONNECTIONS: list[Column[ConnectionView]] = [
    Column("name", lambda row: row.name),
    Column("provider", lambda row: row.provider),
    Column("fine_tuning", lambda row: row.fine_tuning),
    Column("settings", lambda row: row.settings),
    Column("error", lambda row: row.error),
]
STEPS: list[Column[StepView]] = [
    Column("outcome", lambda row: row.outcome),
    Column("action", lambda row: row.action),
    Column("subject", lambda row: row.subject),
    Column("why", lambda row: row.why),
    Column("detail", lambda row: row.detail),
]
CHANGES: list[Column[ChangeView]] = [
    Column("kind", lambda row: row.kind),
    Column("subject", lambda row: row.subject),
    Column("detail", lambda row: row.detail),
]
CHECKS: list[Column[CheckView]] = [
    Column("passed", lambda row: row.passed),
    Column("name", lambda row: row.name),
    Column("detail", lambda row: row.detail),
    Column("remedy", lambda row: row.remedy),
]
BILLED: list[Column[BilledDeploymentView]] = [
    Column("id", lambda row: row.deployment.id),
    Column("ref", lambda row: row.deployment.ref),
    Column("state", lambda row: row.deployment.state),
    Column("connection", lambda row: row.deployment.connection),
    Column("provider", lambda row: row.deployment.provider, piped_only=True),
    Column("provider_id", lambda row: row.deployment.provider_id, piped_only=True),
    Column("from", lambda row: row.intervals[0].from_ if row.intervals else None),
    Column("to", lambda row: row.intervals[-1].to if row.intervals else None),
    Column("hourly_rate", lambda row: row.deployment.hourly_rate, right=True),
    Column("cost", lambda row: row.cost, right=True),
    Column("currency", lambda row: row.deployment.currency),
    Column("requested_by", lambda row: row.deployment.requested_by),
    Column("reason", lambda row: row.deployment.reason),
]
TRAINING_COSTS: list[Column[TrainingCostView]] = [
    Column("version", lambda row: row.version),
    Column("quantity", lambda row: row.quantity, right=True),
    Column("unit", lambda row: row.unit),
    Column("price", lambda row: row.price, right=True),
    Column("cost", lambda row: row.cost, right=True),
    Column("currency", lambda row: row.currency),
    Column("trained_at", lambda row: row.trained_at),
]


def of_mappings(rows: Sequence[Mapping[str, object]]) -> list[Column[Mapping[str, object]]]:
    """Columns for rows that a provider shaped: every key that stands in any of them, in the order they come."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [_named(key) for key in keys]


def _named(key: str) -> Column[Mapping[str, object]]:
    return Column(key, lambda row: row.get(key))
