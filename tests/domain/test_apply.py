"""Folding never refuses; what has no effect on a state only moves its stream on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from registry.domain import events as ev
from registry.domain.apply import fold
from registry.domain.states import ConnectionState, ModelState, RegistryState
from tests.domain.histories import (
    ANA,
    CLOUD,
    DEPLOYING,
    TRAINED,
    Past,
    accepted,
    activate,
    given,
    of_deployment,
    of_version,
    queued,
    requested,
    says,
    started,
    submitted,
)


def past_of(stream: str, *payloads: ev.DomainEvent) -> Past:
    return given(*(says(stream, payload) for payload in payloads)).past


def test_a_connection_is_declared_changed_fails_recovers_and_goes() -> None:
    stream = "connection:cloud"
    declared = ev.ConnectionDeclared(connection="cloud", provider="openai", settings={"a": 1})
    failed = ev.ConnectionFailed(connection="cloud", error="expired")
    past = past_of(stream, declared, failed)
    state = past.states[stream]
    assert isinstance(state, ConnectionState)
    assert (state.provider, state.settings, state.error) == ("openai", {"a": 1}, "expired")
    declared_at = state.declared_at
    past.append([ANA.says(stream, ev.ConnectionRecovered(connection="cloud"))])
    assert state.error is None
    past.append([CLOUD.says(stream, failed)])
    past.append([ANA.says(stream, ev.ConnectionChanged(connection="cloud", provider="openai", settings={}))])
    assert (state.error, state.settings, state.declared_at) == (None, {}, declared_at)
    past.append([ANA.says(stream, ev.ConnectionRemoved(connection="cloud"))])
    assert state.removed
    past.append([ANA.says(stream, declared)])
    assert not state.removed


def test_the_registry_keeps_its_name_settings_and_prices() -> None:
    stream = "registry:tenure"
    past = past_of(
        stream,
        ev.RegistryCreated(registry="abc234"),
        ev.SchedulerConfigured(settings={"poll": "1s"}),
        ev.PricesChanged(prices=({"price": "1"},)),
    )
    state = past.states[stream]
    assert isinstance(state, RegistryState)
    assert (state.registry, state.scheduler, state.prices) == ("abc234", {"poll": "1s"}, ({"price": "1"},))


def test_a_models_policy_is_what_was_written_last() -> None:
    past = past_of(
        "model:bot", ev.ModelDeclared(model="bot"), ev.PolicyChanged(model="bot", policy={"superseded": "keep"})
    )
    assert past.known.policy == {"superseded": "keep"}


def test_an_event_of_a_type_that_is_not_known_is_folded_to_nothing() -> None:
    past = past_of("model:bot", ev.ModelDeclared(model="bot"))
    unknown = ev.UnknownEvent(type="model-praised", schema_version=1, data={"by": "ana"})
    strange = replace(past.events[0], payload=unknown, stream_version=2)
    state = fold("model:bot", [past.events[0], strange])
    assert isinstance(state, ModelState)
    assert (state.created_by, state.stream_version) == ("user:ana", 2)


def test_what_is_under_way_at_a_job_is_remembered() -> None:
    unknown = ev.TrainingOutcomeUnknown(attempt=1, error="time-out")
    past = given(queued(), submitted(), of_version(unknown)).past
    assert past.version().outcome_unknown
    past.append(started()(past))
    assert not past.version().outcome_unknown
    duplicate = ev.DuplicateJobFound(job=ev.JobRef(id="job-2", name="n", status="running"))
    past.append(of_version(duplicate)(past))
    past.append(of_version(ev.JobStatusChanged(status="validating_files"))(past))
    assert (past.version().duplicate_jobs, past.version().job_status) == (("job-2",), "validating_files")


def test_hearing_twice_of_an_approval_counts_once() -> None:
    approved = ev.VersionApproved(model="bot", version=1)
    past = given(*TRAINED, of_version(approved), of_version(approved)).past
    assert past.version().approvals == ("provider:cloud",)


def test_a_job_that_stopped_without_an_artifact_leaves_none() -> None:
    past = given(queued(), of_version(ev.JobStopped(status="cancelled"))).past
    assert (past.version().job_final, past.version().artifact_id) == (True, None)


def test_a_loss_nobody_dated_does_not_invent_a_date() -> None:
    past = given(*TRAINED, requested(), accepted(), of_deployment(ev.DeploymentServing())).past
    past.append(of_deployment(ev.DeploymentLost(last_seen_at=None))(past))
    assert past.deployment().error == "gone at the provider; nobody here deleted it"


def test_a_failure_after_the_accept_is_billed_from_the_accept() -> None:
    past = given(*TRAINED, requested(), accepted(), of_deployment(ev.DeploymentFailed(error="x", exists=True))).past
    assert past.deployment().maybe_billed_from is None
    assert past.deployment().billed_from == past.now - timedelta(seconds=2)


def test_each_intent_becomes_the_cause_of_what_follows() -> None:
    past = given(*DEPLOYING).past
    asked = next(event for event in past.events if isinstance(event.payload, ev.ActivationRequested))
    intent = next(event for event in past.events if isinstance(event.payload, ev.DeploymentRequested))
    assert (past.version().cause_id, past.version().correlation_id) == (asked.id, asked.correlation_id)
    assert (past.deployment().cause_id, past.deployment().activation_id) == (intent.id, asked.id)
    standby = given(*TRAINED, requested(), activate()).past
    assert standby.deployment().activation_id is None
