"""Where things stand: each state is the fold of one stream. Mutable while it is folded, owned by whoever folds it.

`apply(state, event)` never refuses: what was recorded has happened. Every read model row is one of these, as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from registry.domain.events import Json, Rate, UnitPrice


@dataclass(slots=True, kw_only=True)
class RegistryState:
    """The registry's own identity and settings."""

    stream_version: int = 0
    registry: str | None = None
    scheduler: Json = field(default_factory=dict[str, object])
    prices: tuple[Json, ...] = ()
    policy: Json = field(default_factory=dict[str, object])
    """What every model inherits; only what was set."""
    oidc: Json = field(default_factory=dict[str, object])
    """Where people sign in; empty where they do so with tokens alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A deployment in a connection's account that is not ours."""

    provider_id: str
    name: str
    status: str
    artifact_id: str | None = None
    created_at: datetime | None = None
    found_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanJob:
    """A training job of ours that no version knows; see `OrphanJobFound`."""

    job_id: str
    name: str
    status: str
    found_at: datetime
    suspected: str | None = None
    duplicate: bool = False


@dataclass(slots=True, kw_only=True)
class ConnectionState:
    name: str
    stream_version: int = 0
    provider: str = ""
    settings: Json = field(default_factory=dict[str, object])
    declared_at: datetime | None = None
    removed: bool = False
    error: str | None = None
    """Why its polling stands still; None while it answers."""
    foreign: tuple[Foreign, ...] = ()
    orphan_jobs: tuple[OrphanJob, ...] = ()


@dataclass(slots=True, kw_only=True)
class ModelState:
    name: str
    stream_version: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    last_version: int = 0
    active: int | None = None
    policy: Json = field(default_factory=dict[str, object])
    """Only what was set; defaults are the registry's, then the policy's."""
    over_budget: str | None = None
    """The last month (`2026-11`) whose limit was exceeded."""


@dataclass(slots=True, kw_only=True)
class VersionState:
    model: str
    version: int
    stream_version: int = 0
    state: str = ""
    """queued | training | trained | deploying | active | retired | failed | cancelled | deleted"""
    connection: str = ""
    provider: str = ""
    base_model: str | None = None
    method: str = "supervised"
    hyperparameters: Json = field(default_factory=dict[str, object])
    train: Json | None = None
    validation: Json | None = None
    code: Json | None = None
    directory: str | None = None
    """Of a version that somebody trains in a folder of ours."""
    attempt: int = 1
    submitted: bool = False
    """The intent of this attempt is recorded."""
    submitted_at: datetime | None = None
    """When it was last asked for, as far as the log tells."""
    outcome_unknown: bool = False
    job_id: str | None = None
    job_name: str | None = None
    job_token: str | None = None
    job_status: str | None = None
    job_final: bool = False
    job_estimated_finish_at: datetime | None = None
    duplicate_jobs: tuple[str, ...] = ()
    artifact_id: str | None = None
    artifact_digest: str | None = None
    metrics: Json = field(default_factory=dict[str, object])
    trained_tokens: int | None = None
    training_s: float | None = None
    training_price: UnitPrice | None = None
    training_cost: Decimal | None = None
    training_currency: str | None = None
    error: str | None = None
    cost_estimated: Decimal | None = None
    activate_when_trained: bool = False
    reactivating: bool = False
    """It is `deploying` because its deployment was lost while it was active; the pointer has not moved."""
    activation_requested_at: datetime | None = None
    activation_requested_by: str | None = None
    activation_reason: str | None = None
    activated_at: datetime | None = None
    retired_at: datetime | None = None
    trained_at: datetime | None = None
    deletion_requested: bool = False
    approvals: tuple[str, ...] = ()
    retires_on: date | None = None
    """The day on which the provider takes the base model away, as far as it has said."""
    created_at: datetime | None = None
    created_by: str = ""
    changed_at: datetime | None = None
    cause_id: str | None = None
    """The event that asked for what is under way: of the fine-tune, the activation, the deletion …"""
    correlation_id: str | None = None
    """Of the command that `cause_id` began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    from_: datetime
    to: datetime


@dataclass(slots=True, kw_only=True)
class DeploymentState:
    id: str
    stream_version: int = 0
    state: str = ""
    """requested | provisioning | serving | deleting | deleted | failed | lost"""
    model: str = ""
    version: int = 0
    connection: str = ""
    provider: str = ""
    name: str = ""
    token: str = ""
    attempt: int = 1
    purpose: str = "standby"
    attached: bool = False
    provider_id: str | None = None
    endpoint: str | None = None
    artifact_id: str = ""
    artifact_digest: str | None = None
    shown_artifact: str | None = None
    """What its provider called the artifact when it first served, where that is another name."""
    other_artifact: str | None = None
    """What it serves since somebody past the registry changed it; None while that is its version's artifact."""
    hourly: Decimal | None = None
    currency: str = "USD"
    price_source: str = ""
    sku: str | None = None
    units: Decimal = Decimal(1)
    rates: tuple[Rate, ...] = ()
    """All prices it ever had, by when they hold; empty while it has only had the one of its intent."""
    requested_at: datetime | None = None
    requested_by: str = ""
    reason: str | None = None
    activation_id: str | None = None
    """The event that asked for the activation which it was made for; None for a standby."""
    cause_id: str | None = None
    """The event that asked for what is under way: its intent, or that of its deletion."""
    correlation_id: str | None = None
    """Of the command that `cause_id` began with."""
    outcome_unknown: bool = False
    maybe_billed_from: datetime | None = None
    """Since when it may be billed although nobody knows whether it exists."""
    billed_from: datetime | None = None
    billed_to: datetime | None = None
    committed_until: datetime | None = None
    """It is billed until then, whatever is deleted."""
    doubts: tuple[Span, ...] = ()
    """Times since `billed_from` in which nobody knows whether it was there, in order and apart."""
    serving_at: datetime | None = None
    deletion_requested_at: datetime | None = None
    deletion_accepted: bool = False
    missed_reads: int = 0
    """How many reads in a row did not show it, the first of them at `missed_since`."""
    missed_since: datetime | None = None
    last_seen_at: datetime | None = None
    """Of one that reads do not show: when the last one did."""
    error: str | None = None
    orphan: bool = False
    """Found at the provider with our tag and no intent behind it; it has no version until it is adopted."""
    suspected: str | None = None
    """Of an orphan: the version whose artifact it serves."""
    duplicate_of: str | None = None


State = RegistryState | ConnectionState | ModelState | VersionState | DeploymentState
