"""Everything that can have happened, in the past tense. Frozen values; the store's codec gives each its explicit type.

Names of fields are part of the log's format: a changed meaning is a new schema version with an upcast, never an edit.
No secret, prompt or completion is ever a field of an event. Times are aware UTC; money is `Decimal` with a currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """The provider's training job: its own id, our name for it, the provider's own word for its status."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRef:
    id: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """A data set by what it holds. `path` is the registry's own copy; None where the data were never here."""

    sha256: str
    rows: int
    tokens: int | None = None
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What an hour costs since a moment; None: from the beginning."""

    from_: datetime | None
    hourly: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of a deployment costs at most. None where no price is known: unknown, never zero.

    `hourly` is for all of its `units` (capacity, model units); `later`: what is known already to hold from a date on.
    """

    hourly: Decimal | None
    currency: str
    source: str
    units: Decimal = Decimal(1)
    sku: str | None = None
    later: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """What one unit costs: `1M-tokens`, or an `hour` of the device. `amount` None where no price is known."""

    amount: Decimal | None
    unit: str
    currency: str
    source: str


# Registry and connections


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCreated:
    registry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfigured:
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesChanged:
    prices: tuple[Json, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultPolicyChanged:
    """What holds for every model that does not say otherwise; only what was set."""

    policy: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDeclared:
    connection: str
    provider: str
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChanged:
    connection: str
    provider: str
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRemoved:
    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFailed:
    """Its polling stopped: the credential or the address does not answer. Told once, until it recovers."""

    connection: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRecovered:
    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFound:
    """The connection's account has a deployment that is not provably ours: shown, never touched."""

    connection: str
    provider_id: str
    name: str
    status: str
    artifact_id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignGone:
    """It is no longer there, or it is one of ours now."""

    connection: str
    provider_id: str


# Models


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclared:
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    model: str
    policy: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetExceeded:
    """What a model has cost in a month (UTC, `2026-11`) is above its limit; told once a month. Nothing is cut off."""

    model: str
    month: str
    limit: Decimal
    spent: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNumbered:
    """A number was given out; it is never reused."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveVersionChanged:
    """`version` is None when the active version was retired without a successor."""

    model: str
    version: int | None
    previous: int | None


# Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneRequested:
    model: str
    version: int
    connection: str
    provider: str
    base_model: str
    method: str
    train: DataRef
    validation: DataRef | None = None
    hyperparameters: Json = field(default_factory=dict[str, object])
    code: DataRef | None = None
    activate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionImported:
    """A model that was trained elsewhere; enters at `trained`."""

    model: str
    version: int
    connection: str
    provider: str
    base_model: str | None
    artifact: ArtifactRef


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTrainingStarted:
    """`new_version(...)`: somebody trains it in a folder of ours; enters at `training`."""

    model: str
    version: int
    connection: str
    provider: str
    base_model: str | None
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSubmitted:
    """Intent: the job is about to be created under this name and token, at this price."""

    attempt: int
    name: str
    token: str
    price: UnitPrice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResubmitted:
    """Intent: several reads showed no job of this attempt, and it is asked for again, under the same name and token."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcomeUnknown:
    """The create may have happened; it is looked up by name and token before anything is tried again."""

    attempt: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStarted:
    attempt: int
    job: JobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateJobFound:
    """The provider made a second job for one attempt; it is cancelled."""

    job: JobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatusChanged:
    """The provider's own word, kept and shown even where the registry does not know it."""

    status: str
    estimated_finish_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTrained:
    """`trained_tokens`, `duration_s` as the provider tells them; `metrics`: final figures (train_loss, valid_loss).

    `cost` follows from `price`, which is that of the intent; None where the price or the quantity is unknown.
    """

    artifact: ArtifactRef
    job_status: str
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    trained_tokens: int | None = None
    duration_s: float | None = None
    cost: Decimal | None = None
    currency: str | None = None
    price: UnitPrice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFailed:
    error: str
    job_status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCancelled:
    """Cancelled here; the provider's job, if there is one, is stopped and seen to have stopped (`JobStopped`)."""

    job_status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStopped:
    """The job of a version that is over has been seen in a final status. `artifact`: what it produced all the same."""

    status: str
    artifact: ArtifactRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRetried:
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRequested:
    """Intent: this version is to become the active one; it does when its deployment has answered a probe."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionActivated:
    """`deployment` is None where the provider serves a tuned model without one."""

    model: str
    version: int
    deployment: str | None
    replaced: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationAbandoned:
    model: str
    version: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRetired:
    """`replaced_by` is None when it was retired by hand, without a successor."""

    model: str
    version: int
    replaced_by: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLost:
    """The provider dropped the deployment of the active version; it is deployed again."""

    model: str
    version: int
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionRequested:
    """Intent: the artifact is to go for good, after every deployment of it."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDeleted:
    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionApproved:
    """One person's word that this version may be activated."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetirementAnnounced:
    """The provider has said when it takes the base model away, and what was tuned from it; None: not any more."""

    base_model: str
    retires_on: date | None


# Deployments


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequested:
    """Intent: about to be created under this name and token, at no more than this price."""

    deployment: str
    model: str
    version: int
    connection: str
    provider: str
    name: str
    token: str
    attempt: int
    artifact: ArtifactRef
    price: Price
    purpose: str
    """activation | standby"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentAttached:
    """One that existed before, taken over; enters at `serving`."""

    deployment: str
    model: str
    version: int
    connection: str
    provider: str
    name: str
    provider_id: str
    artifact: ArtifactRef
    price: Price
    billed_from: datetime
    endpoint: str | None = None
    committed_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOutcomeUnknown:
    """The create may have happened since `called_at`; counted as billed until it is known."""

    called_at: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentAccepted:
    """The provider has it; `billed_from` is the moment since which it may be billed.

    `committed_until`: the end of a commitment, to which it is billed whatever is deleted.
    """

    provider_id: str
    billed_from: datetime
    committed_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRepriced:
    """Another price holds from now on, whatever was said of later times before; what is past stays as it was."""

    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentServing:
    """It answered a probe."""

    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFailed:
    """`exists`: the provider may still have it, so it is deleted and verified."""

    error: str
    exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentLost:
    """Gone outside our hands; `last_seen_at` is when a read last showed it."""

    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeletionRequested:
    """Intent: it is to go. By policy or by hand: the event's actor and reason say whose word it is."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeletionAccepted:
    """The provider took the delete; done only when reads no longer show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentNotShown:
    """A read did not show it, the `reads`-th in a row. It is believed gone after several, by whichever process."""

    deployment: str
    reads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentShownAgain:
    """After reads that had missed it."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeleted:
    """Absent in repeated reads. `billed_to` is when it was first seen gone; None when it was never made."""

    billed_to: datetime | None
    reads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanFound:
    """The provider has a deployment with our tag that no intent of this registry names; enters at `serving`, billed.

    `suspected`: the version (`support-bot@3`) whose artifact it serves, if any. `duplicate_of`: the deployment of ours
    that has the same name; the second one is deleted. `billed_from` is when it was made, or when it was found.
    """

    deployment: str
    connection: str
    provider: str
    name: str
    provider_id: str
    status: str
    price: Price
    billed_from: datetime
    artifact_id: str | None = None
    endpoint: str | None = None
    suspected: str | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanAdopted:
    """It belongs to a version from now on, as if it had been attached."""

    deployment: str
    model: str
    version: int
    artifact: ArtifactRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentReappeared:
    """It was believed gone and a read shows it: deleted again, and billed as if it had never been away."""

    deployment: str
    seen_as: str


RegistryEvent = RegistryCreated | SchedulerConfigured | PricesChanged | DefaultPolicyChanged
ConnectionEvent = (
    ConnectionDeclared
    | ConnectionChanged
    | ConnectionRemoved
    | ConnectionFailed
    | ConnectionRecovered
    | ForeignFound
    | ForeignGone
)
ModelEvent = ModelDeclared | PolicyChanged | BudgetExceeded | VersionNumbered | ActiveVersionChanged
VersionEvent = (
    FineTuneRequested
    | VersionImported
    | OwnTrainingStarted
    | TrainingSubmitted
    | TrainingOutcomeUnknown
    | TrainingResubmitted
    | TrainingStarted
    | DuplicateJobFound
    | JobStatusChanged
    | VersionTrained
    | VersionFailed
    | VersionCancelled
    | JobStopped
    | VersionRetried
    | ActivationRequested
    | VersionActivated
    | ActivationAbandoned
    | VersionRetired
    | ServingLost
    | DeletionRequested
    | VersionDeleted
    | VersionApproved
    | RetirementAnnounced
)
DeploymentEvent = (
    DeploymentRequested
    | DeploymentAttached
    | DeploymentOutcomeUnknown
    | DeploymentAccepted
    | DeploymentRepriced
    | DeploymentServing
    | DeploymentFailed
    | DeploymentLost
    | DeploymentDeletionRequested
    | DeploymentDeletionAccepted
    | DeploymentDeleted
    | OrphanFound
    | OrphanAdopted
    | DeploymentReappeared
    | DeploymentNotShown
    | DeploymentShownAgain
)
DomainEvent = RegistryEvent | ConnectionEvent | ModelEvent | VersionEvent | DeploymentEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """An event whose type this release does not know: kept, shown, exported, and folded to nothing."""

    type: str
    schema_version: int
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """What a command decided, before the log has given it a place."""

    stream: str
    payload: DomainEvent
    actor: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact with its place in the log. `hash`: hex SHA-256 over the previous hash and this event's canonical bytes."""

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
    payload: DomainEvent | UnknownEvent
    data: Json
    hash: str
