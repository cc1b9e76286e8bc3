"""What events do to a version's state."""

from __future__ import annotations

from registry.domain import events as ev
from registry.domain.apply.shared import Handlers, asked
from registry.domain.events import Event, Json
from registry.domain.ledger import trained_at
from registry.domain.states import VersionState


def _begin(state: VersionState, event: Event, name: str) -> None:
    asked(state, event)
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
    state.cost_estimated = payload.cost_estimated


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
    state.trained_at = trained_at(payload, event.recorded_at)
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
    asked(state, event)
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
    asked(state, event)
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
    asked(state, event)
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
    asked(state, event)
    state.retired_at = event.recorded_at


def _serving_lost(state: VersionState, _payload: ev.ServingLost, event: Event) -> None:
    _move(state, event, "deploying")
    asked(state, event)
    state.reactivating = True


def _deletion_requested(state: VersionState, _payload: ev.DeletionRequested, event: Event) -> None:
    asked(state, event)
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


HANDLERS: Handlers = {
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
}
