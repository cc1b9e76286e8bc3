"""What events do to a deployment's state."""

from __future__ import annotations

from datetime import datetime, timedelta

from registry.domain import events as ev
from registry.domain.apply.shared import Handlers, asked
from registry.domain.events import Event, Price, Rate
from registry.domain.states import DeploymentState, Span

DOUBT_MIN = timedelta(minutes=1)
"""What was unseen for less counts as seen: looks are some seconds apart."""


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
    asked(state, event)


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
    state.shown_artifact = payload.shown_artifact
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
    _doubt(state, payload.last_seen_at, event.recorded_at)
    state.error = "gone at the provider; nobody here deleted it"
    if payload.last_seen_at is not None:
        state.error += f" (last seen {payload.last_seen_at.isoformat()})"


def _deployment_repointed(state: DeploymentState, payload: ev.DeploymentRepointed, _event: Event) -> None:
    state.other_artifact = payload.other_artifact


def _deletion_of_deployment_requested(
    state: DeploymentState, _payload: ev.DeploymentDeletionRequested, event: Event
) -> None:
    state.state = "deleting"
    asked(state, event)
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
    state.last_seen_at = state.last_seen_at or payload.last_seen_at


def _deployment_shown_again(state: DeploymentState, _payload: ev.DeploymentShownAgain, event: Event) -> None:
    _doubt(state, state.last_seen_at or state.missed_since, event.recorded_at)
    _shown(state)


def _shown(state: DeploymentState) -> None:
    state.missed_reads, state.missed_since = 0, None


def _deployment_deleted(state: DeploymentState, payload: ev.DeploymentDeleted, _event: Event) -> None:
    _shown(state)
    state.state = "deleted"
    state.billed_to = payload.billed_to
    state.outcome_unknown = False
    _doubt(state, payload.last_seen_at, payload.billed_to)


def _doubt(state: DeploymentState, from_: datetime | None, to: datetime | None) -> None:
    """Nobody knows whether it was there. A commitment is billed whether it was or not."""
    state.last_seen_at = None
    if from_ is None or to is None:
        return
    if state.committed_until is not None:
        from_ = max(from_, state.committed_until)
    if to - from_ < DOUBT_MIN:
        return
    before = [one for one in state.doubts if one.to < from_]
    joined = [one for one in state.doubts if one.to >= from_]
    start = min([from_, *(one.from_ for one in joined)])
    state.doubts = (*before, Span(from_=start, to=to))


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
    asked(state, event)


def _orphan_adopted(state: DeploymentState, payload: ev.OrphanAdopted, event: Event) -> None:
    state.orphan = False
    state.model = payload.model
    state.version = payload.version
    state.artifact_id = payload.artifact.id
    state.artifact_digest = payload.artifact.digest
    state.serving_at = event.recorded_at
    state.requested_by = event.actor
    state.reason = event.reason
    asked(state, event)


def _deployment_reappeared(state: DeploymentState, payload: ev.DeploymentReappeared, event: Event) -> None:
    state.state = "deleting"
    asked(state, event)
    state.deletion_requested_at = event.recorded_at
    state.deletion_accepted = False
    if state.billed_from is None and state.maybe_billed_from is None:
        state.maybe_billed_from = state.requested_at
    _doubt(state, state.billed_to, event.recorded_at)
    state.billed_to = None
    state.error = f"it was gone and is back: the provider says {payload.seen_as}"


HANDLERS: Handlers = {
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
    ev.DeploymentRepointed: _deployment_repointed,
    ev.DeploymentNotShown: _deployment_not_shown,
    ev.DeploymentShownAgain: _deployment_shown_again,
}
