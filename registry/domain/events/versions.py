"""What happens to a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from registry.domain.events.values import ArtifactRef, DataRef, JobRef, Json, UnitPrice


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
    cost_estimated: Decimal | None = None
    """What a budget counts until the training has ended; None where nobody could say."""


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
    `finished_at`: when the job ended, as far as its provider tells; the cost is of that moment.
    """

    artifact: ArtifactRef
    job_status: str
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    trained_tokens: int | None = None
    duration_s: float | None = None
    cost: Decimal | None = None
    currency: str | None = None
    price: UnitPrice | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFailed:
    error: str
    job_status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCancelled:
    """Cancelled here or at the provider; a job, if there is one, is stopped and seen to have stopped (`JobStopped`)."""

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
