"""What happens to a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry.domain.events.values import ArtifactRef, Price


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
    """It answered a probe. `shown_artifact`: what its provider calls the artifact, where that is another name."""

    endpoint: str | None = None
    shown_artifact: str | None = None


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
class DeploymentRepointed:
    """Somebody past the registry made it serve another model; `other_artifact` None: its version's again."""

    other_artifact: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeletionRequested:
    """Intent: it is to go. By policy or by hand: the event's actor and reason say whose word it is."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeletionAccepted:
    """The provider took the delete; done only when reads no longer show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentNotShown:
    """A read did not show it, the `reads`-th in a row. It is believed gone after several, by whichever process.

    `last_seen_at` is when a read last showed it; of the first.
    """

    deployment: str
    reads: int
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentShownAgain:
    """After reads that had missed it."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeleted:
    """Absent in repeated reads. `billed_to` is when it was first seen gone; None when it was never made.

    `last_seen_at` is when a read last showed it.
    """

    billed_to: datetime | None
    reads: int
    last_seen_at: datetime | None = None


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
