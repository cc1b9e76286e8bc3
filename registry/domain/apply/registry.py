"""What events do to the registry's own state and to a connection's."""

from __future__ import annotations

from registry.domain import events as ev
from registry.domain.apply.shared import Handlers
from registry.domain.events import Event
from registry.domain.states import ConnectionState, Foreign, OrphanJob, RegistryState


def _registry_created(state: RegistryState, payload: ev.RegistryCreated, _event: Event) -> None:
    state.registry = payload.registry


def _scheduler_configured(state: RegistryState, payload: ev.SchedulerConfigured, _event: Event) -> None:
    state.scheduler = payload.settings


def _prices_changed(state: RegistryState, payload: ev.PricesChanged, _event: Event) -> None:
    state.prices = payload.prices


def _default_policy_changed(state: RegistryState, payload: ev.DefaultPolicyChanged, _event: Event) -> None:
    state.policy = payload.policy


def _sign_in_configured(state: RegistryState, payload: ev.SignInConfigured, _event: Event) -> None:
    state.oidc = payload.settings


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


def _orphan_job_found(state: ConnectionState, payload: ev.OrphanJobFound, event: Event) -> None:
    found = OrphanJob(
        job_id=payload.job.id,
        name=payload.job.name,
        status=payload.job.status,
        found_at=event.recorded_at,
        suspected=payload.suspected,
        duplicate=payload.duplicate,
    )
    state.orphan_jobs = (*_left(state.orphan_jobs, payload.job.id), found)


def _orphan_job_ended(state: ConnectionState, payload: ev.OrphanJobEnded, _event: Event) -> None:
    state.orphan_jobs = _left(state.orphan_jobs, payload.job_id)


def _left(jobs: tuple[OrphanJob, ...], ended: str) -> tuple[OrphanJob, ...]:
    return tuple(one for one in jobs if one.job_id != ended)


def _without(foreign: tuple[Foreign, ...], provider_id: str) -> tuple[Foreign, ...]:
    return tuple(one for one in foreign if one.provider_id != provider_id)


HANDLERS: Handlers = {
    ev.RegistryCreated: _registry_created,
    ev.SchedulerConfigured: _scheduler_configured,
    ev.PricesChanged: _prices_changed,
    ev.DefaultPolicyChanged: _default_policy_changed,
    ev.SignInConfigured: _sign_in_configured,
    ev.ConnectionDeclared: _connection_set,
    ev.ConnectionChanged: _connection_set,
    ev.ConnectionRemoved: _connection_removed,
    ev.ConnectionFailed: _connection_failed,
    ev.ConnectionRecovered: _connection_recovered,
    ev.ForeignFound: _foreign_found,
    ev.ForeignGone: _foreign_gone,
    ev.OrphanJobFound: _orphan_job_found,
    ev.OrphanJobEnded: _orphan_job_ended,
}
