"""Which columns each kind of answer has, in a table and when piped. Keys are the names that JSON has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from registry.cli.output import Column, human

if TYPE_CHECKING:
    from registry.application.bills import ComparedView
    from registry.application.replaying import ReplayedActView
    from registry.application.views import (
        BilledDeploymentView,
        ChangeView,
        CheckpointView,
        CheckView,
        ConnectionView,
        DeploymentView,
        EventView,
        MetricView,
        ModelView,
        SideBySideView,
        StepView,
        TrainingCostView,
        VersionView,
    )


def _metric(name: str) -> Column[VersionView]:
    return Column(name, lambda row: row.metrics.get(name), right=True)


class _Priced(Protocol):
    @property
    def currency(self) -> str: ...


def money(amount: Decimal | None, row: _Priced) -> str | None:
    return None if amount is None else f"{human(amount)} {row.currency}"


def _minute(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M")


def _billed_from(row: BilledDeploymentView) -> datetime | None:
    return row.intervals[0].from_ if row.intervals else None


def _billed_to(row: BilledDeploymentView) -> datetime | None:
    return row.intervals[-1].to if row.intervals else None


MODELS: list[Column[ModelView]] = [
    Column("model", lambda row: row.model),
    Column("active", lambda row: row.active),
    Column("versions", lambda row: row.versions, right=True),
    Column("moving", lambda row: row.moving, wraps=True),
    Column("created_at", lambda row: row.created_at, shown=lambda row: _minute(row.created_at)),
    Column("created_by", lambda row: row.created_by, wraps=True, spare=8),
]
VERSIONS: list[Column[VersionView]] = [
    Column("ref", lambda row: row.ref),
    Column("state", lambda row: row.state),
    Column("active", lambda row: row.active, piped_only=True),
    Column("connection", lambda row: row.connection, spare=9),
    Column("provider", lambda row: row.provider, piped_only=True),
    Column("base_model", lambda row: row.base_model, wraps=True),
    _metric("train_loss"),
    _metric("valid_loss"),
    Column("deployments", lambda row: row.deployments, piped_only=True),
    Column("created_at", lambda row: row.created_at, shown=lambda row: _minute(row.created_at)),
    Column("created_by", lambda row: row.created_by, wraps=True, spare=8),
    Column("error", lambda row: row.error, piped_only=True, wraps=True),
]
DEPLOYMENTS: list[Column[DeploymentView]] = [
    Column("id", lambda row: row.id),
    Column("ref", lambda row: row.ref),
    Column("state", lambda row: row.state),
    Column("billed", lambda row: row.billed),
    Column("hourly_rate", lambda row: row.hourly_rate, right=True, shown=lambda row: money(row.hourly_rate, row)),
    Column(
        "cost_to_date",
        lambda row: row.cost_to_date,
        right=True,
        shown=lambda row: money(row.cost_to_date, row),
        spare=8,
    ),
    Column("currency", lambda row: row.currency, piped_only=True),
    Column("billed_from", lambda row: row.billed_from, shown=lambda row: _minute(row.billed_from), spare=5),
    Column("billed_to", lambda row: row.billed_to, piped_only=True),
    Column("committed_until", lambda row: row.committed_until, piped_only=True),
    Column("connection", lambda row: row.connection, spare=9),
    Column("provider", lambda row: row.provider, piped_only=True),
    Column("provider_id", lambda row: row.provider_id, piped_only=True),
    Column("requested_by", lambda row: row.requested_by, wraps=True, spare=6),
    Column("reason", lambda row: row.reason, wraps=True, spare=7),
    Column("error", lambda row: row.error, piped_only=True, wraps=True),
]


def _beside(column: Column[DeploymentView]) -> Column[SideBySideView]:
    """The same column; empty where only the provider has the deployment, but for what it is called there."""

    def value(row: SideBySideView) -> object:
        return row.value(column.key) if row.deployment is None else column.of(row.deployment)

    def shown(row: SideBySideView) -> object:
        return (
            row.value("name" if column.key == "id" else column.key)
            if row.deployment is None
            else (column.cell(row.deployment))
        )

    return replace(column, of=value, shown=shown)  # pyright: ignore[reportReturnType, reportArgumentType] - of another row


SIDE_BY_SIDE: list[Column[SideBySideView]] = [
    *(_beside(one) for one in DEPLOYMENTS),
    Column("name", lambda row: row.value("name"), piped_only=True),
    Column("provider_status", lambda row: row.provider_status, spare=4),
    Column("difference", lambda row: row.difference, wraps=True),
]
EVENTS: list[Column[EventView]] = [
    Column("position", lambda row: row.position, right=True),
    Column("recorded_at", lambda row: row.recorded_at),
    Column("stream", lambda row: row.stream, shown=lambda row: row.stream.partition(":")[2]),
    Column("type", lambda row: row.type, shown=lambda row: row.type.replace("-", " "), wraps=True),
    Column("actor", lambda row: row.actor, wraps=True),
    Column("reason", lambda row: row.reason, wraps=True),
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
CHECKPOINTS: list[Column[CheckpointView]] = [
    Column("step", lambda row: row.step, right=True),
    Column("train_loss", lambda row: row.metrics.get("train_loss"), right=True),
    Column("valid_loss", lambda row: row.metrics.get("full_valid_loss", row.metrics.get("valid_loss")), right=True),
    Column("artifact", lambda row: row.artifact, wraps=True),
]
CONNECTIONS: list[Column[ConnectionView]] = [
    Column("name", lambda row: row.name),
    Column("provider", lambda row: row.provider),
    Column("fine_tuning", lambda row: row.fine_tuning),
    Column("settings", lambda row: row.settings, wraps=True),
    Column("error", lambda row: row.error, wraps=True),
]
STEPS: list[Column[StepView]] = [
    Column("outcome", lambda row: row.outcome),
    Column("action", lambda row: row.action),
    Column("subject", lambda row: row.subject, wraps=True),
    Column("why", lambda row: row.why, wraps=True),
    Column("detail", lambda row: row.detail, wraps=True),
    Column("actor", lambda row: row.actor, piped_only=True),
    Column("due_at", lambda row: row.due_at, shown=lambda row: _minute(row.due_at), spare=9),
]
REPLAYED: list[Column[ReplayedActView]] = [
    Column("at", lambda row: row.at, shown=lambda row: _minute(row.at)),
    Column("where", lambda row: row.where),
    Column("what", lambda row: row.what),
    Column("subject", lambda row: row.subject),
    Column("actor", lambda row: row.actor, wraps=True),
    Column("why", lambda row: row.why, wraps=True),
]
CHANGES: list[Column[ChangeView]] = [
    Column("kind", lambda row: row.kind),
    Column("subject", lambda row: row.subject, wraps=True),
    Column("detail", lambda row: row.detail, wraps=True),
]
CHECKS: list[Column[CheckView]] = [
    Column("passed", lambda row: row.passed),
    Column("name", lambda row: row.name),
    Column("detail", lambda row: row.detail, wraps=True),
    Column("remedy", lambda row: row.remedy, wraps=True),
]
BILLED: list[Column[BilledDeploymentView]] = [
    Column("id", lambda row: row.deployment.id),
    Column("ref", lambda row: row.deployment.ref),
    Column("state", lambda row: row.deployment.state),
    Column("connection", lambda row: row.deployment.connection, spare=9),
    Column("provider", lambda row: row.deployment.provider, piped_only=True),
    Column("provider_id", lambda row: row.deployment.provider_id, piped_only=True),
    Column("from", _billed_from, shown=lambda row: _minute(_billed_from(row))),
    Column("to", _billed_to, shown=lambda row: _minute(_billed_to(row))),
    Column(
        "hourly_rate",
        lambda row: row.deployment.hourly_rate,
        right=True,
        shown=lambda row: money(row.deployment.hourly_rate, row.deployment),
        spare=8,
    ),
    Column("cost", lambda row: row.cost, right=True, shown=lambda row: money(row.cost, row.deployment)),
    Column("currency", lambda row: row.deployment.currency, piped_only=True),
    Column("requested_by", lambda row: row.deployment.requested_by, wraps=True, spare=7),
    Column("reason", lambda row: row.deployment.reason, wraps=True, spare=6),
]
COMPARED: list[Column[ComparedView]] = [
    Column("status", lambda row: row.status),
    Column("ref", lambda row: row.ref),
    Column("resource", lambda row: row.resource, wraps=True, spare=5),
    Column("ledger", lambda row: row.ledger, right=True),
    Column("bill", lambda row: row.bill, right=True),
    Column("difference", lambda row: row.difference, right=True),
    Column("currency", lambda row: row.currency),
    Column("deployments", lambda row: row.deployments, piped_only=True),
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
TOKENS = (
    "id", "actor", "roles", "created_at", "created_by", "expires_at", "last_used_at", "revoked_at", "rate_max"
)  # fmt: skip
IMPORTABLE = ("id", "digest", "base_model", "kind", "versions")


def of_mappings(rows: Sequence[Mapping[str, object]], known: Sequence[str] = ()) -> list[Column[Mapping[str, object]]]:
    """Columns for rows without a view: every key that stands in any of them, in the order they come.

    `known`: those that there are also where there is no row, so that a script finds a header.
    """
    keys = dict.fromkeys([*known, *(key for row in rows for key in row)])
    return [_named(key) for key in keys]


def _named(key: str) -> Column[Mapping[str, object]]:
    return Column(key, lambda row: row.get(key))
