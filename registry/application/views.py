"""What questions are answered with: the shapes of REST and of `--json`, as frozen values. `as_json()` is that shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import cast

from providers.ports import DeploymentReport, Estimate
from registry.application.ports import CheckedData
from registry.domain.events import Event, Json
from registry.domain.states import ConnectionState


def iso(time: datetime) -> str:
    """`2026-11-22T20:10:00.123456Z`"""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def to_json(value: object) -> object:
    """Plain JSON values: times as ISO 8601 in UTC, money as decimal strings."""
    match value:
        case None | str() | int() | float():
            plain: object = value
        case datetime():
            plain = iso(value)
        case date():
            plain = value.isoformat()
        case Decimal():
            plain = money(value)
        case View():
            plain = value.as_json()
        case Mapping():
            plain = {str(key): to_json(one) for key, one in cast("Mapping[object, object]", value).items()}
        case list() | tuple():
            plain = [to_json(one) for one in cast("Sequence[object]", value)]
        case _:
            plain = str(value)
    return plain


def money(amount: Decimal) -> str:
    """A decimal string without an exponent: `1.70`, `0.0283`."""
    return format(amount, "f")


class View:
    __slots__ = ()

    def as_json(self) -> dict[str, object]:
        return {one.name: to_json(getattr(self, one.name)) for one in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView(View):
    id: str | None
    status: str | None
    estimated_finish_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactView(View):
    id: str
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView(View):
    """A version as DESIGN.md shows it in JSON. `legal` are the commands that would not be refused for its state."""

    model: str
    version: int
    ref: str
    state: str
    active: bool
    connection: str
    provider: str
    base_model: str | None
    method: str
    hyperparameters: Json
    job: JobView | None
    artifact: ArtifactView | None
    deployments: tuple[str, ...]
    dataset: Json | None
    metrics: Json
    error: str | None
    attempt: int
    approvals: tuple[str, ...]
    legal: tuple[str, ...]
    created_at: datetime
    created_by: str
    changed_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    retires_on: date | None
    """The day on which the provider takes the base model away, and this version with it; None: it has not said."""
    stream_version: int

    def __str__(self) -> str:
        return self.ref


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointView(View):
    """`artifact`: what `tenure import --artifact` takes."""

    step: int
    artifact: str
    metrics: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView(View):
    """`versions`: how many numbers were given out. `moving`: versions that are queued, training or deploying."""

    model: str
    active: str | None
    versions: int
    moving: tuple[str, ...]
    policy: Json
    created_at: datetime
    created_by: str
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView(View):
    """`hourly_rate`, `cost_to_date`: None where the price is unknown. `billed`: it may be billed right now.

    `committed_until`: until then it is billed whatever is deleted, and may refuse to be.
    `other_artifact`: what it serves since somebody past the registry changed that; None: its version's.
    """

    id: str
    model: str
    version: int
    ref: str
    connection: str
    provider: str
    provider_id: str | None
    name: str
    state: str
    billed: bool
    billed_from: datetime | None
    billed_to: datetime | None
    committed_until: datetime | None
    hourly_rate: Decimal | None
    currency: str
    cost_to_date: Decimal | None
    requested_at: datetime
    requested_by: str
    reason: str | None
    attached: bool
    other_artifact: str | None
    endpoint: str | None
    error: str | None
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySideView(View):
    """A deployment as the log has it and as its provider shows it; `deployment` None: only the provider has it.

    `provider_status`: the provider's own word; None where it shows none, or was not asked. `difference`: in words.
    """

    deployment: DeploymentView | None = None
    stray: Json = field(default_factory=dict[str, object])
    provider_status: str | None = None
    difference: str | None = None

    @classmethod
    def of(cls, connection: ConnectionState, report: DeploymentReport | None, difference: str) -> SideBySideView:
        """`report` None: nobody knows what the connection has."""
        stray: Json = {one.name: None for one in dataclasses.fields(DeploymentView)}
        stray |= {"connection": connection.name, "provider": connection.provider}
        if report is not None:
            stray |= {"provider_id": report.id, "name": report.name}
        return cls(stray=stray, provider_status=report.status if report else None, difference=difference)

    @property
    def model(self) -> str | None:
        """None where nobody here knows of any."""
        return self.deployment.model or None if self.deployment is not None else None

    def value(self, name: str) -> object:
        return self.stray.get(name) if self.deployment is None else getattr(self.deployment, name)

    def as_json(self) -> dict[str, object]:
        """The deployment's own keys, and two more. One that only the provider has has no `id` and no `state`."""
        own = dict(self.stray) if self.deployment is None else self.deployment.as_json()
        return {**own, "provider_status": self.provider_status, "difference": self.difference}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanJobView(View):
    """A training job that bears our name, runs, and belongs to no version here.

    `suspected`: the version that its name was made for. `duplicate`: that version has a job, and this is a second one.
    """

    id: str
    name: str
    status: str
    found_at: datetime
    suspected: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionView(View):
    name: str
    provider: str
    settings: Json
    fine_tuning: bool
    error: str | None
    declared_at: datetime
    orphan_jobs: tuple[OrphanJobView, ...]
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView(View):
    """The fields listed under Events in DESIGN.md."""

    position: int
    stream: str
    stream_version: int
    id: str
    type: str
    schema_version: int
    recorded_at: datetime
    actor: str
    reason: str | None
    correlation_id: str
    causation_id: str | None
    data: Json
    hash: str

    @classmethod
    def of(cls, event: Event) -> EventView:
        names = (one.name for one in dataclasses.fields(cls))
        return cls(**{name: getattr(event, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView(View):
    step: int
    name: str
    value: float
    epoch: float | None
    attempt: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView(View):
    """One thing the reconciler would do, did or could not do. `outcome`: planned | done | waiting | failed.

    `actor`: on whose word, the scheduler's or a policy's. `due_at`: not before then.
    """

    action: str
    subject: str
    why: str
    outcome: str = "planned"
    detail: str | None = None
    actor: str = "scheduler"
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView(View):
    """One difference that `tenure apply` made, or with `--plan` would make. `kind`: add | change | same."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView(View):
    """One line of `tenure connections test` or `tenure doctor`."""

    name: str
    passed: bool
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateView(View):
    """What a fine-tune would take. `cost` is None where no price is known."""

    train: Json
    validation: Json | None
    tokens: int | None
    steps: int | None
    duration_s: float | None
    cost: Decimal | None
    currency: str | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, checked: CheckedData, estimate: Estimate) -> EstimateView:
        train, validation = checked.train, checked.validation
        return cls(
            train={"rows": train.rows, "tokens": train.tokens, "sha256": train.sha256},
            validation={"rows": validation.rows, "tokens": validation.tokens} if validation else None,
            tokens=estimate.tokens,
            steps=estimate.steps,
            duration_s=estimate.duration_s,
            cost=estimate.cost,
            currency=estimate.currency,
            notes=estimate.notes,
            warnings=checked.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalView(View):
    """A span in which a deployment was billed. `known` is False where it may have been: counted all the same."""

    from_: datetime
    to: datetime
    known: bool
    hourly_rate: Decimal | None
    cost: Decimal | None

    def as_json(self) -> dict[str, object]:
        return {
            "from": iso(self.from_),
            "to": iso(self.to),
            "known": self.known,
            "hourly_rate": to_json(self.hourly_rate),
            "cost": to_json(self.cost),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledDeploymentView(View):
    deployment: DeploymentView
    intervals: tuple[IntervalView, ...]
    cost: Decimal | None

    def as_json(self) -> dict[str, object]:
        return {**self.deployment.as_json(), "intervals": to_json(self.intervals), "cost": to_json(self.cost)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCostView(View):
    """`quantity` counts in `unit`: `1M-tokens`, or an `hour` of the device; `price` is for one. None: unknown."""

    version: str
    connection: str
    provider: str
    quantity: Decimal | None
    unit: str
    price: Decimal | None
    cost: Decimal | None
    currency: str
    trained_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView(View):
    """What was billed from one time to another.

    Currencies are never added up: `totals` and `hourly_rates` have one entry each, and `currency`, `total` and
    `hourly_rate` are None where there are several. What has no known price is in no sum: `unpriced` counts it.
    `hourly_rate` is of what is billed at this moment, whatever time was asked for.
    """

    from_: datetime
    to: datetime
    currency: str | None
    total: Decimal | None
    totals: Mapping[str, Decimal]
    hourly_rate: Decimal | None
    hourly_rates: Mapping[str, Decimal]
    unpriced: int
    deployments: tuple[BilledDeploymentView, ...]
    training: tuple[TrainingCostView, ...]
    unused: tuple[Json, ...] = ()
    """Billed at this moment, and nobody reaches it under its model's name."""
    unknown: tuple[Json, ...] = ()
    """What may be billed, and nobody can say whether, or for which version."""
    foreign: tuple[Json, ...] = ()
    """In the same accounts, and not ours."""
    groups: tuple[Json, ...] = field(default=())
    """With `by`: one entry for each model, provider, connection or day in UTC, and currency."""

    def as_json(self) -> dict[str, object]:
        plain = {one.name: to_json(getattr(self, one.name)) for one in dataclasses.fields(self)}
        return {"from": plain.pop("from_"), **plain}
