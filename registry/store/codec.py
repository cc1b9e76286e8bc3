"""Events to JSON and back: the explicit type of each, its schema version, and the upcasts of older ones.

A type is a string that never changes, whatever happens to the class. A changed meaning is a new schema version with an
upcast from the one before; `tests/store/golden` holds every form that was ever stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from registry.domain import events as ev
from registry.domain.events import DomainEvent, UnknownEvent
from registry.store.values import canonical_text, decoder, fields_of

Upcast = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Reader = Callable[[Mapping[str, Any]], DomainEvent]

TYPES: Mapping[str, tuple[type, int]] = {
    "registry-created": (ev.RegistryCreated, 1),
    "scheduler-configured": (ev.SchedulerConfigured, 1),
    "prices-changed": (ev.PricesChanged, 1),
    "connection-declared": (ev.ConnectionDeclared, 1),
    "connection-changed": (ev.ConnectionChanged, 1),
    "connection-removed": (ev.ConnectionRemoved, 1),
    "connection-failed": (ev.ConnectionFailed, 1),
    "connection-recovered": (ev.ConnectionRecovered, 1),
    "model-declared": (ev.ModelDeclared, 1),
    "policy-changed": (ev.PolicyChanged, 1),
    "version-numbered": (ev.VersionNumbered, 1),
    "active-version-changed": (ev.ActiveVersionChanged, 1),
    "fine-tune-requested": (ev.FineTuneRequested, 1),
    "version-imported": (ev.VersionImported, 1),
    "own-training-started": (ev.OwnTrainingStarted, 1),
    "training-submitted": (ev.TrainingSubmitted, 1),
    "training-outcome-unknown": (ev.TrainingOutcomeUnknown, 1),
    "training-resubmitted": (ev.TrainingResubmitted, 1),
    "training-started": (ev.TrainingStarted, 1),
    "duplicate-job-found": (ev.DuplicateJobFound, 1),
    "job-status-changed": (ev.JobStatusChanged, 1),
    "version-trained": (ev.VersionTrained, 1),
    "version-failed": (ev.VersionFailed, 1),
    "version-cancelled": (ev.VersionCancelled, 1),
    "job-stopped": (ev.JobStopped, 1),
    "version-retried": (ev.VersionRetried, 1),
    "activation-requested": (ev.ActivationRequested, 1),
    "version-activated": (ev.VersionActivated, 1),
    "activation-abandoned": (ev.ActivationAbandoned, 1),
    "version-retired": (ev.VersionRetired, 1),
    "serving-lost": (ev.ServingLost, 1),
    "deletion-requested": (ev.DeletionRequested, 1),
    "version-deleted": (ev.VersionDeleted, 1),
    "version-approved": (ev.VersionApproved, 1),
    "retirement-announced": (ev.RetirementAnnounced, 1),
    "deployment-requested": (ev.DeploymentRequested, 1),
    "deployment-attached": (ev.DeploymentAttached, 1),
    "deployment-outcome-unknown": (ev.DeploymentOutcomeUnknown, 1),
    "deployment-accepted": (ev.DeploymentAccepted, 1),
    "deployment-repriced": (ev.DeploymentRepriced, 1),
    "deployment-serving": (ev.DeploymentServing, 1),
    "deployment-failed": (ev.DeploymentFailed, 1),
    "deployment-lost": (ev.DeploymentLost, 1),
    "deployment-deletion-requested": (ev.DeploymentDeletionRequested, 1),
    "deployment-deletion-accepted": (ev.DeploymentDeletionAccepted, 1),
    "deployment-deleted": (ev.DeploymentDeleted, 1),
    "default-policy-changed": (ev.DefaultPolicyChanged, 1),
    "foreign-found": (ev.ForeignFound, 1),
    "foreign-gone": (ev.ForeignGone, 1),
    "orphan-job-found": (ev.OrphanJobFound, 1),
    "orphan-job-ended": (ev.OrphanJobEnded, 1),
    "budget-exceeded": (ev.BudgetExceeded, 1),
    "orphan-found": (ev.OrphanFound, 1),
    "orphan-adopted": (ev.OrphanAdopted, 1),
    "deployment-reappeared": (ev.DeploymentReappeared, 1),
    "deployment-repointed": (ev.DeploymentRepointed, 1),
    "deployment-not-shown": (ev.DeploymentNotShown, 1),
    "deployment-shown-again": (ev.DeploymentShownAgain, 1),
    "sign-in-configured": (ev.SignInConfigured, 1),
}
"""Type -> (class, the schema version that is written now)."""

UPCASTS: Mapping[tuple[str, int], Upcast] = {}
"""(type, schema version) -> data of the next schema version."""

_NAMES = {cls: (type_, version) for type_, (cls, version) in TYPES.items()}


_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})
"""What comes back from JSON as it went in: the same value of the same type."""


def encode(payload: DomainEvent) -> tuple[str, int, str, Mapping[str, Any] | None]:
    """(type, schema version, canonical data, the same data as JSON would give them back, where that is plain to see)

    Raises BadInputError for what JSON cannot hold. Where the data are told, the payload too is what would be decoded:
    most appends are spared that round trip, half of what their callers do.
    """
    type_, version = _NAMES[type(payload)]
    fields = fields_of(payload)
    text = canonical_text(fields)
    return type_, version, text, fields if _AS_THEY_ARE.issuperset(map(type, fields.values())) else None


def decode(type: str, schema_version: int, data: Mapping[str, Any]) -> DomainEvent | UnknownEvent:
    """A type or a schema version that this release does not know is an UnknownEvent. Raises TypeError, ValueError or
    ArithmeticError (a Decimal) where the data are not what the type says.
    """
    reader = _READERS.get((type, schema_version))
    if reader is None:
        return UnknownEvent(type=type, schema_version=schema_version, data=data)
    return reader(data)


def readers(
    types: Mapping[str, tuple[type, int]], upcasts: Mapping[tuple[str, int], Upcast]
) -> dict[tuple[str, int], Reader]:
    """One reader for each (type, schema version) that was ever written: its upcasts in a row, then the class."""
    found: dict[tuple[str, int], Reader] = {}
    for type_, (cls, newest) in types.items():
        reader = cast("Reader", decoder(cls))
        found[type_, newest] = reader
        for version in range(newest - 1, 0, -1):
            reader = _after(upcasts[type_, version], reader)
            found[type_, version] = reader
    return found


def _after(upcast: Upcast, reader: Reader) -> Reader:
    return lambda data: reader(upcast(data))


_READERS = readers(TYPES, UPCASTS)
