"""Fold events into states. `apply` never refuses: what was recorded has happened.

One handler per event type, found in a table, so that a rebuild of millions of events costs a dictionary look-up each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from registry.domain import events as ev
from registry.domain.events import Event, Json, Price, Rate
from registry.domain.ids import VersionRef
from registry.domain.states import (
    ConnectionState,
    DeploymentState,
    Foreign,
    ModelState,
    RegistryState,
    State,
    VersionState,
)


def new_state(stream: str) -> State:
    """The empty state of a stream, by the kind in its name. Raises ValueError for a kind that does not exist."""
    kind, _, key = stream.partition(":")
    match kind:
        case "version":
            ref = VersionRef.parse(key)
            return VersionState(model=ref.model, version=ref.number)
        case "deployment":
            return DeploymentState(id=key)
        case "model":
            return ModelState(name=key)
        case "connection":
            return ConnectionState(name=key)
        case "registry":
            return RegistryState()
        case _:
            raise ValueError(f"{stream!r} is not a stream of a kind that is known")


def apply(state: State, event: Event) -> None:
    """Change `state` to what it is after `event`, which must be the next one of its stream."""
    handler = _HANDLERS.get(type(event.payload))
    if handler is not None:
        handler(state, event.payload, event)
    state.stream_version = event.stream_version


def fold(stream: str, events: Iterable[Event]) -> State:
    state = new_state(stream)
    for event in events:
        apply(state, event)
    return state


# Registry and connections


def _registry_created(state: RegistryState, payload: ev.RegistryCreated, _event: Event) -> None:
    state.registry = payload.registry


def _scheduler_configured(state: RegistryState, payload: ev.SchedulerConfigured, _event: Event) -> None:
    state.scheduler = payload.settings


def _prices_changed(state: RegistryState, payload: ev.PricesChanged, _event: Event) -> None:
    state.prices = payload.prices


def _default_policy_changed(state: RegistryState, payload: ev.DefaultPolicyChanged, _event: Event) -> None:
    state.policy = payload.policy


def _connection_set(
    state: ConnectionState, payload: ev.ConnectionDeclared | ev.ConnectionChanged, event: Event
) -> None:
    state.provider = payload.provider
    state.settings = payload.settings
    state.declared_at = state.declared_at or event.recorded_at
    state.removed = False
    state.error = None


def _connection_removed(state: ConnectionState, _payload: ev.ConnectionRemoved, _event: Event) -> None:
    state.removed = True


def _connection_failed(state: ConnectionState, payload: ev.ConnectionFailed, _event: Event) -> None:
    state.error = payload.error


def _connection_recovered(state: ConnectionState, _payload: ev.ConnectionRecovered, _event: Event) -> None:
    state.error = None


def _foreign_found(state: ConnectionState, payload: ev.ForeignFound, event: Event) -> None:
    found = Foreign(
        provider_id=payload.provider_id,
        name=payload.name,
        status=payload.status,
        artifact_id=payload.artifact_id,
        created_at=payload.created_at,
        found_at=event.recorded_at,
    )
    state.foreign = (*_without(state.foreign, payload.provider_id), found)


def _foreign_gone(state: ConnectionState, payload: ev.ForeignGone, _event: Event) -> None:
    state.foreign = _without(state.foreign, payload.provider_id)


def _without(foreign: tuple[Foreign, ...], provider_id: str) -> tuple[Foreign, ...]:
    return tuple(one for one in foreign if one.provider_id != provider_id)


# Models


def _model_declared(state: ModelState, _payload: ev.ModelDeclared, event: Event) -> None:
    state.created_at = event.recorded_at
    state.created_by = event.actor


def _policy_changed(state: ModelState, payload: ev.PolicyChanged, _event: Event) -> None:
    state.policy = payload.policy


def _budget_exceeded(state: ModelState, payload: ev.BudgetExceeded, _event: Event) -> None:
    state.over_budget = payload.month


def _version_numbered(state: ModelState, payload: ev.VersionNumbered, _event: Event) -> None:
    state.last_version = payload.version


def _active_version_changed(state: ModelState, payload: ev.ActiveVersionChanged, _event: Event) -> None:
    state.active = payload.version


# Versions


def _asked(state: VersionState | DeploymentState, event: Event) -> None:
    """What follows is done because of this event."""
    state.cause_id = event.id
    state.correlation_id = event.correlation_id


def _begin(state: VersionState, event: Event, name: str) -> None:
    _asked(state, event)
    state.state = name
    state.created_at = event.recorded_at
    state.created_by = event.actor
    state.changed_at = event.recorded_at


def _move(state: VersionState, event: Event, name: str) -> None:
    state.state = name
    state.changed_at = event.recorded_at


def _fine_tune_requested(state: VersionState, payload: ev.FineTuneRequested, event: Event) -> None:
    _begin(state, event, "queued")
    state.connection = payload.connection
    state.provider = payload.provider
    state.base_model = payload.base_model
    state.method = payload.method
    state.hyperparameters = payload.hyperparameters
    state.train = _data(payload.train)
    state.validation = _data(payload.validation)
    state.code = _data(payload.code)
    state.activate_when_trained = payload.activate


def _version_imported(state: VersionState, payload: ev.VersionImported, event: Event) -> None:
    _begin(state, event, "trained")
    state.connection = payload.connection
    state.provider = payload.provider
    state.base_model = payload.base_model
    state.artifact_id = payload.artifact.id
    state.artifact_digest = payload.artifact.digest
    state.job_final = True
    state.method = "imported"


def _own_training_started(state: VersionState, payload: ev.OwnTrainingStarted, event: Event) -> None:
    _begin(state, event, "training")
    state.connection = payload.connection
    state.provider = payload.provider
    state.base_model = payload.base_model
    state.directory = payload.directory
    state.job_final = True
    state.method = "own"


def _training_submitted(state: VersionState, payload: ev.TrainingSubmitted, event: Event) -> None:
    state.attempt = payload.attempt
    state.job_name = payload.name
    state.job_token = payload.token
    state.training_price = payload.price
    state.submitted = True
    state.submitted_at = event.recorded_at
    state.outcome_unknown = False


def _training_outcome_unknown(state: VersionState, _payload: ev.TrainingOutcomeUnknown, event: Event) -> None:
    state.outcome_unknown = True
    state.submitted_at = event.recorded_at


def _training_resubmitted(state: VersionState, _payload: ev.TrainingResubmitted, event: Event) -> None:
    state.submitted_at = event.recorded_at


def _training_started(state: VersionState, payload: ev.TrainingStarted, event: Event) -> None:
    if state.state == "queued":
        _move(state, event, "training")
    state.job_id = payload.job.id
    state.job_name = payload.job.name
    state.job_status = payload.job.status
    state.outcome_unknown = False
    state.job_final = False


def _duplicate_job_found(state: VersionState, payload: ev.DuplicateJobFound, _event: Event) -> None:
    state.duplicate_jobs = (*state.duplicate_jobs, payload.job.id)


def _job_status_changed(state: VersionState, payload: ev.JobStatusChanged, _event: Event) -> None:
    state.job_status = payload.status
    state.job_estimated_finish_at = payload.estimated_finish_at


def _version_trained(state: VersionState, payload: ev.VersionTrained, event: Event) -> None:
    _move(state, event, "trained")
    state.artifact_id = payload.artifact.id
    state.artifact_digest = payload.artifact.digest
    state.trained_at = event.recorded_at
    state.job_status = payload.job_status
    state.job_final = True
    state.metrics = dict(payload.metrics)
    state.trained_tokens = payload.trained_tokens
    state.training_s = payload.duration_s
    state.training_price = payload.price or state.training_price
    state.training_cost = payload.cost
    state.training_currency = payload.currency
    state.error = None


def _version_failed(state: VersionState, payload: ev.VersionFailed, event: Event) -> None:
    _move(state, event, "failed")
    state.error = payload.error
    state.job_status = payload.job_status or state.job_status
    state.job_final = True


def _version_cancelled(state: VersionState, payload: ev.VersionCancelled, event: Event) -> None:
    _move(state, event, "cancelled")
    _asked(state, event)
    state.job_status = payload.job_status or state.job_status
    state.job_final = state.job_final or not state.submitted


def _job_stopped(state: VersionState, payload: ev.JobStopped, _event: Event) -> None:
    state.job_status = payload.status
    state.job_final = True
    if payload.artifact is not None:
        state.artifact_id = payload.artifact.id
        state.artifact_digest = payload.artifact.digest


def _version_retried(state: VersionState, payload: ev.VersionRetried, event: Event) -> None:
    _move(state, event, "queued")
    _asked(state, event)
    state.attempt = payload.attempt
    state.approvals = ()
    state.submitted = False
    state.outcome_unknown = False
    state.job_id = state.job_name = state.job_token = state.job_status = None
    state.job_estimated_finish_at = None
    state.job_final = False
    state.artifact_id = state.artifact_digest = None
    state.error = None


def _activation_requested(state: VersionState, _payload: ev.ActivationRequested, event: Event) -> None:
    _move(state, event, "deploying")
    _asked(state, event)
    state.reactivating = False
    state.activation_requested_at = event.recorded_at
    state.activation_requested_by = event.actor
    state.activation_reason = event.reason
    state.error = None


def _version_activated(state: VersionState, _payload: ev.VersionActivated, event: Event) -> None:
    _move(state, event, "active")
    state.activated_at = event.recorded_at
    state.reactivating = False
    state.activate_when_trained = False
    state.error = None


def _activation_abandoned(state: VersionState, payload: ev.ActivationAbandoned, event: Event) -> None:
    _move(state, event, "trained")
    state.error = payload.error
    state.reactivating = False
    state.activate_when_trained = False


def _version_retired(state: VersionState, _payload: ev.VersionRetired, event: Event) -> None:
    _move(state, event, "retired")
    _asked(state, event)
    state.retired_at = event.recorded_at


def _serving_lost(state: VersionState, _payload: ev.ServingLost, event: Event) -> None:
    _move(state, event, "deploying")
    _asked(state, event)
    state.reactivating = True


def _deletion_requested(state: VersionState, _payload: ev.DeletionRequested, event: Event) -> None:
    _asked(state, event)
    state.deletion_requested = True


def _version_deleted(state: VersionState, _payload: ev.VersionDeleted, event: Event) -> None:
    _move(state, event, "deleted")
    state.deletion_requested = False


def _version_approved(state: VersionState, _payload: ev.VersionApproved, event: Event) -> None:
    if event.actor not in state.approvals:
        state.approvals = (*state.approvals, event.actor)


def _retirement_announced(state: VersionState, payload: ev.RetirementAnnounced, _event: Event) -> None:
    state.retires_on = payload.retires_on


def _data(data: ev.DataRef | None) -> Json | None:
    if data is None:
        return None
    return {"rows": data.rows, "sha256": data.sha256, "tokens": data.tokens, "name": data.name, "path": data.path}


# Deployments


def _deployment_requested(state: DeploymentState, payload: ev.DeploymentRequested, event: Event) -> None:
    state.state = "requested"
    state.token = payload.token
    state.attempt = payload.attempt
    state.purpose = payload.purpose
    state.activation_id = event.causation_id if payload.purpose == "activation" else None
    _describe(state, payload, event)


def _deployment_attached(state: DeploymentState, payload: ev.DeploymentAttached, event: Event) -> None:
    state.state = "serving"
    state.attached = True
    state.provider_id = payload.provider_id
    state.endpoint = payload.endpoint
    state.billed_from = payload.billed_from
    state.committed_until = payload.committed_until
    state.serving_at = event.recorded_at
    _describe(state, payload, event)


def _describe(state: DeploymentState, payload: ev.DeploymentRequested | ev.DeploymentAttached, event: Event) -> None:
    state.model = payload.model
    state.version = payload.version
    state.connection = payload.connection
    state.provider = payload.provider
    state.name = payload.name
    state.artifact_id = payload.artifact.id
    state.artifact_digest = payload.artifact.digest
    _priced(state, payload.price)
    state.requested_at = event.recorded_at
    state.requested_by = event.actor
    state.reason = event.reason
    _asked(state, event)


def _deployment_outcome_unknown(state: DeploymentState, payload: ev.DeploymentOutcomeUnknown, _event: Event) -> None:
    state.outcome_unknown = True
    state.maybe_billed_from = state.maybe_billed_from or payload.called_at
    state.error = payload.error


def _deployment_accepted(state: DeploymentState, payload: ev.DeploymentAccepted, _event: Event) -> None:
    if state.state == "requested":
        state.state = "provisioning"
    state.provider_id = payload.provider_id
    state.billed_from = min(state.billed_from or payload.billed_from, payload.billed_from)
    state.committed_until = payload.committed_until or state.committed_until
    state.outcome_unknown = False
    state.error = None


def _deployment_repriced(state: DeploymentState, payload: ev.DeploymentRepriced, event: Event) -> None:
    now = event.recorded_at
    before = state.rates or (Rate(from_=None, hourly=state.hourly),)
    kept = tuple(one for one in before if one.from_ is None or one.from_ < now)
    _priced(state, payload.price)
    state.rates = (*kept, Rate(from_=now, hourly=payload.price.hourly), *payload.price.later)


def _priced(state: DeploymentState, price: Price) -> None:
    state.hourly = price.hourly
    state.currency = price.currency
    state.price_source = price.source
    state.units = price.units
    state.sku = price.sku
    state.rates = (Rate(from_=None, hourly=price.hourly), *price.later) if price.later else ()


def _deployment_serving(state: DeploymentState, payload: ev.DeploymentServing, event: Event) -> None:
    state.state = "serving"
    state.endpoint = payload.endpoint
    state.serving_at = event.recorded_at
    state.error = None


def _deployment_failed(state: DeploymentState, payload: ev.DeploymentFailed, event: Event) -> None:
    _shown(state)
    state.state = "failed"
    state.error = payload.error
    if not payload.exists:
        state.outcome_unknown = False
    elif state.billed_from is None and state.maybe_billed_from is None:
        state.maybe_billed_from = event.recorded_at


def _deployment_lost(state: DeploymentState, payload: ev.DeploymentLost, event: Event) -> None:
    _shown(state)
    state.state = "lost"
    state.billed_to = event.recorded_at
    state.error = "gone at the provider; nobody here deleted it"
    if payload.last_seen_at is not None:
        state.error += f" (last seen {payload.last_seen_at.isoformat()})"


def _deletion_of_deployment_requested(
    state: DeploymentState, _payload: ev.DeploymentDeletionRequested, event: Event
) -> None:
    state.state = "deleting"
    _asked(state, event)
    state.deletion_requested_at = event.recorded_at
    state.deletion_accepted = False
    state.billed_to = None


def _deployment_deletion_accepted(
    state: DeploymentState, _payload: ev.DeploymentDeletionAccepted, _event: Event
) -> None:
    state.deletion_accepted = True
    _shown(state)  # what was missed before says nothing about this deletion


def _deployment_not_shown(state: DeploymentState, payload: ev.DeploymentNotShown, event: Event) -> None:
    state.missed_reads = payload.reads
    state.missed_since = state.missed_since or event.recorded_at


def _deployment_shown_again(state: DeploymentState, _payload: ev.DeploymentShownAgain, _event: Event) -> None:
    _shown(state)


def _shown(state: DeploymentState) -> None:
    state.missed_reads, state.missed_since = 0, None


def _deployment_deleted(state: DeploymentState, payload: ev.DeploymentDeleted, _event: Event) -> None:
    _shown(state)
    state.state = "deleted"
    state.billed_to = payload.billed_to
    state.outcome_unknown = False


def _orphan_found(state: DeploymentState, payload: ev.OrphanFound, event: Event) -> None:
    state.state = "serving"
    state.orphan = True
    state.attached = True
    state.purpose = "standby"
    state.connection = payload.connection
    state.provider = payload.provider
    state.name = payload.name
    state.provider_id = payload.provider_id
    state.endpoint = payload.endpoint
    state.artifact_id = payload.artifact_id or ""
    _priced(state, payload.price)
    state.billed_from = payload.billed_from
    state.requested_at = event.recorded_at
    state.requested_by = event.actor
    state.reason = event.reason
    state.suspected = payload.suspected
    state.duplicate_of = payload.duplicate_of
    _asked(state, event)


def _orphan_adopted(state: DeploymentState, payload: ev.OrphanAdopted, event: Event) -> None:
    state.orphan = False
    state.model = payload.model
    state.version = payload.version
    state.artifact_id = payload.artifact.id
    state.artifact_digest = payload.artifact.digest
    state.serving_at = event.recorded_at
    state.requested_by = event.actor
    state.reason = event.reason
    _asked(state, event)


def _deployment_reappeared(state: DeploymentState, payload: ev.DeploymentReappeared, event: Event) -> None:
    state.state = "deleting"
    _asked(state, event)
    state.deletion_requested_at = event.recorded_at
    state.deletion_accepted = False
    if state.billed_from is None and state.maybe_billed_from is None:
        state.maybe_billed_from = state.requested_at
    state.billed_to = None
    state.error = f"it was gone and is back: the provider says {payload.seen_as}"


# pyright cannot pair each handler with its payload; `Any` stands for "the payload that this key names".
_HANDLERS: dict[type[object], Callable[[Any, Any, Event], None]] = {
    ev.RegistryCreated: _registry_created,
    ev.SchedulerConfigured: _scheduler_configured,
    ev.PricesChanged: _prices_changed,
    ev.DefaultPolicyChanged: _default_policy_changed,
    ev.ConnectionDeclared: _connection_set,
    ev.ConnectionChanged: _connection_set,
    ev.ConnectionRemoved: _connection_removed,
    ev.ConnectionFailed: _connection_failed,
    ev.ConnectionRecovered: _connection_recovered,
    ev.ForeignFound: _foreign_found,
    ev.ForeignGone: _foreign_gone,
    ev.ModelDeclared: _model_declared,
    ev.PolicyChanged: _policy_changed,
    ev.BudgetExceeded: _budget_exceeded,
    ev.VersionNumbered: _version_numbered,
    ev.ActiveVersionChanged: _active_version_changed,
    ev.FineTuneRequested: _fine_tune_requested,
    ev.VersionImported: _version_imported,
    ev.OwnTrainingStarted: _own_training_started,
    ev.TrainingSubmitted: _training_submitted,
    ev.TrainingOutcomeUnknown: _training_outcome_unknown,
    ev.TrainingResubmitted: _training_resubmitted,
    ev.TrainingStarted: _training_started,
    ev.DuplicateJobFound: _duplicate_job_found,
    ev.JobStatusChanged: _job_status_changed,
    ev.VersionTrained: _version_trained,
    ev.VersionFailed: _version_failed,
    ev.VersionCancelled: _version_cancelled,
    ev.JobStopped: _job_stopped,
    ev.VersionRetried: _version_retried,
    ev.ActivationRequested: _activation_requested,
    ev.VersionActivated: _version_activated,
    ev.ActivationAbandoned: _activation_abandoned,
    ev.VersionRetired: _version_retired,
    ev.ServingLost: _serving_lost,
    ev.DeletionRequested: _deletion_requested,
    ev.VersionDeleted: _version_deleted,
    ev.VersionApproved: _version_approved,
    ev.RetirementAnnounced: _retirement_announced,
    ev.DeploymentRequested: _deployment_requested,
    ev.DeploymentAttached: _deployment_attached,
    ev.DeploymentOutcomeUnknown: _deployment_outcome_unknown,
    ev.DeploymentAccepted: _deployment_accepted,
    ev.DeploymentRepriced: _deployment_repriced,
    ev.DeploymentServing: _deployment_serving,
    ev.DeploymentFailed: _deployment_failed,
    ev.DeploymentLost: _deployment_lost,
    ev.DeploymentDeletionRequested: _deletion_of_deployment_requested,
    ev.DeploymentDeletionAccepted: _deployment_deletion_accepted,
    ev.DeploymentDeleted: _deployment_deleted,
    ev.OrphanFound: _orphan_found,
    ev.OrphanAdopted: _orphan_adopted,
    ev.DeploymentReappeared: _deployment_reappeared,
    ev.DeploymentNotShown: _deployment_not_shown,
    ev.DeploymentShownAgain: _deployment_shown_again,
}
