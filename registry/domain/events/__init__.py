"""Everything that can have happened, in the past tense. Frozen values; the store's codec gives each its explicit type.

Names of fields are part of the log's format: a changed meaning is a new schema version with an upcast, never an edit.
No secret, prompt or completion is ever a field of an event. Times are aware UTC; money is `Decimal` with a currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry.domain.events.deployments import (
    DeploymentAccepted,
    DeploymentAttached,
    DeploymentDeleted,
    DeploymentDeletionAccepted,
    DeploymentDeletionRequested,
    DeploymentFailed,
    DeploymentLost,
    DeploymentNotShown,
    DeploymentOutcomeUnknown,
    DeploymentReappeared,
    DeploymentRepointed,
    DeploymentRepriced,
    DeploymentRequested,
    DeploymentServing,
    DeploymentShownAgain,
    OrphanAdopted,
    OrphanFound,
)
from registry.domain.events.models import (
    ActiveVersionChanged,
    BudgetExceeded,
    ModelDeclared,
    PolicyChanged,
    VersionNumbered,
)
from registry.domain.events.registry import (
    ConnectionChanged,
    ConnectionDeclared,
    ConnectionFailed,
    ConnectionRecovered,
    ConnectionRemoved,
    DefaultPolicyChanged,
    ForeignFound,
    ForeignGone,
    OrphanJobEnded,
    OrphanJobFound,
    PricesChanged,
    RegistryCreated,
    SchedulerConfigured,
    SignInConfigured,
)
from registry.domain.events.values import ArtifactRef as ArtifactRef
from registry.domain.events.values import DataRef as DataRef
from registry.domain.events.values import JobRef as JobRef
from registry.domain.events.values import Json as Json
from registry.domain.events.values import Price as Price
from registry.domain.events.values import Rate as Rate
from registry.domain.events.values import UnitPrice as UnitPrice
from registry.domain.events.versions import (
    ActivationAbandoned,
    ActivationRequested,
    DeletionRequested,
    DuplicateJobFound,
    FineTuneRequested,
    JobStatusChanged,
    JobStopped,
    OwnTrainingStarted,
    RetirementAnnounced,
    ServingLost,
    TrainingOutcomeUnknown,
    TrainingResubmitted,
    TrainingStarted,
    TrainingSubmitted,
    VersionActivated,
    VersionApproved,
    VersionCancelled,
    VersionDeleted,
    VersionFailed,
    VersionImported,
    VersionRetired,
    VersionRetried,
    VersionTrained,
)

RegistryEvent = RegistryCreated | SchedulerConfigured | PricesChanged | DefaultPolicyChanged | SignInConfigured
ConnectionEvent = (
    ConnectionDeclared
    | ConnectionChanged
    | ConnectionRemoved
    | ConnectionFailed
    | ConnectionRecovered
    | ForeignFound
    | ForeignGone
    | OrphanJobFound
    | OrphanJobEnded
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
    | DeploymentRepointed
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
