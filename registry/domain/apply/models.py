"""What events do to a model's state."""

from __future__ import annotations

from registry.domain import events as ev
from registry.domain.apply.shared import Handlers
from registry.domain.events import Event
from registry.domain.states import ModelState


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


HANDLERS: Handlers = {
    ev.ModelDeclared: _model_declared,
    ev.PolicyChanged: _policy_changed,
    ev.BudgetExceeded: _budget_exceeded,
    ev.VersionNumbered: _version_numbered,
    ev.ActiveVersionChanged: _active_version_changed,
}
