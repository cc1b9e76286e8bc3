"""What a deployment may do, and what it is refused; what it costs, and what would cost too much."""

from __future__ import annotations

from decimal import Decimal

from registry.domain import deploying
from registry.domain import events as ev
from registry.domain.states import DeploymentState
from tests.cloud import unmarked
from tests.domain.histories import (
    ACTIVE,
    DEPLOYING,
    STANDBY,
    START,
    TRAINED,
    accepted,
    attached,
    broken,
    delete_accepted,
    given,
    imported,
    lost,
    queued,
    requested,
    seen_gone,
    serving,
    undeploy,
    unsure,
)


def test_a_deployment_is_asked_for_accepted_and_serves() -> None:
    history = given(*TRAINED)
    past = history.when(requested()).gives(ev.DeploymentRequested)
    deployment = past.deployment()
    assert (deployment.state, unmarked(deployment.name), deployment.attempt) == (
        "requested",
        "tenure-test12-bot-1-1",
        1,
    )
    assert (deployment.hourly, deployment.price_source) == (Decimal("1.80"), "test price list")
    history.when(requested()).changes_nothing()
    history.when(accepted()).gives(ev.DeploymentAccepted)
    assert (deployment.state, deployment.billed_from) == ("provisioning", past.events[-2].recorded_at)
    history.when(accepted()).changes_nothing()
    history.when(serving()).gives(ev.DeploymentServing)
    assert (deployment.state, deployment.endpoint) == ("serving", "http://127.0.0.1:1")
    history.when(serving()).changes_nothing()


def test_what_is_not_trained_cannot_be_deployed_or_attached() -> None:
    given(queued()).when(requested()).refuses(match="nothing to deploy", state="queued")
    given(queued()).when(attached()).refuses(match="nothing can be attached", state="queued")


def test_a_new_attempt_has_a_new_name() -> None:
    past = given(*STANDBY, undeploy(), requested()).past
    assert unmarked(past.deployment().name) == "tenure-test12-bot-1-2"
    assert past.deployment().id != past.deployments()[0].id


def test_the_name_of_an_orphan_is_not_taken_again() -> None:
    taken = given(*TRAINED, requested()).past.deployment().name
    again = given(*TRAINED, requested(taken={taken})).past.deployment()
    assert (unmarked(again.name), again.attempt) == ("tenure-test12-bot-1-2", 2)


def test_a_deployment_that_serves_is_preferred_to_one_that_comes_up() -> None:
    coming = DeploymentState(id="a", state="provisioning")
    serves = DeploymentState(id="b", state="serving")
    assert deploying.usable([coming, serves]) is serves
    assert deploying.usable([coming]) is coming
    assert deploying.usable([DeploymentState(id="c", state="failed")]) is None


def test_serving_before_it_was_accepted_is_refused() -> None:
    given(*TRAINED, requested()).when(serving()).refuses(state="requested", legal={"accept", "fail", "delete"})


def test_an_unknown_outcome_is_recorded_once_and_counts_as_billed_from_the_call() -> None:
    history = given(*TRAINED, requested())
    past = history.when(unsure()).gives(ev.DeploymentOutcomeUnknown)
    assert past.deployment().maybe_billed_from == past.events[-2].recorded_at
    history.when(unsure()).changes_nothing()
    history.when(accepted()).gives(ev.DeploymentAccepted)
    assert not past.deployment().outcome_unknown


def test_an_accept_that_comes_after_the_delete_is_recorded_and_stays_deleting() -> None:
    past = given(*TRAINED, requested(), undeploy()).when(accepted()).gives(ev.DeploymentAccepted)
    assert (past.deployment().state, past.deployment().provider_id) == ("deleting", "srv-1")


def test_a_refused_create_fails_and_was_never_billed() -> None:
    history = given(*TRAINED, requested())
    past = history.when(broken(exists=False)).gives(ev.DeploymentFailed)
    assert (past.deployment().state, past.deployment().maybe_billed_from) == ("failed", None)
    history.when(broken()).changes_nothing()


def test_one_that_fails_and_may_exist_may_be_billed() -> None:
    past = given(*TRAINED, requested(), unsure()).when(broken()).gives(ev.DeploymentFailed)
    assert past.deployment().maybe_billed_from is not None
    past = given(*TRAINED, requested()).when(broken()).gives(ev.DeploymentFailed)
    assert past.deployment().maybe_billed_from == past.now


def test_one_that_serves_does_not_fail_but_is_lost() -> None:
    history = given(*STANDBY)
    history.when(broken()).refuses(state="serving", legal={"lose", "delete"})
    past = history.when(lost()).gives(ev.DeploymentLost)
    assert (past.deployment().state, past.deployment().billed_to) == ("lost", past.now)
    assert "last seen 2026-11-01" in (past.deployment().error or "")
    history.when(lost()).changes_nothing()


def test_one_that_stopped_serving_and_is_still_there_is_deleted() -> None:
    past = given(*STANDBY).when(lost(exists=True)).gives(ev.DeploymentLost, ev.DeploymentDeletionRequested)
    assert (past.deployment().state, past.deployment().billed_to) == ("deleting", None)


def test_only_one_that_serves_can_be_lost() -> None:
    given(*TRAINED, requested()).when(lost()).refuses(state="requested")


def test_deleting_is_asked_for_accepted_and_seen() -> None:
    history = given(*STANDBY)
    history.when(delete_accepted()).changes_nothing()
    history.when(seen_gone()).refuses(state="serving")
    past = history.when(undeploy()).gives(ev.DeploymentDeletionRequested)
    assert past.deployment().state == "deleting"
    history.when(undeploy()).changes_nothing()
    history.when(delete_accepted()).gives(ev.DeploymentDeletionAccepted)
    history.when(delete_accepted()).changes_nothing()
    history.when(seen_gone()).gives(ev.DeploymentDeleted)
    assert (past.deployment().state, past.deployment().billed_to) == ("deleted", past.events[-2].recorded_at)
    history.when(seen_gone()).changes_nothing()
    history.when(undeploy()).changes_nothing()


def test_the_last_deployment_of_the_active_version_is_in_use() -> None:
    given(*ACTIVE).when(undeploy()).refuses(match="which is active", state="serving")


def test_one_of_two_deployments_of_the_active_version_may_go() -> None:
    given(*ACTIVE, attached()).when(undeploy()).gives(ev.DeploymentDeletionRequested)


def test_the_deployment_of_an_activation_under_way_may_be_stopped() -> None:
    given(*DEPLOYING).when(undeploy()).gives(ev.DeploymentDeletionRequested)


def test_what_exists_is_attached_as_serving_and_billed_since_it_was_made() -> None:
    history = given(imported())
    past = history.when(attached()).gives(ev.DeploymentAttached)
    deployment = past.deployment()
    assert (deployment.state, deployment.attached, deployment.billed_from) == ("serving", True, START)
    history.when(attached()).changes_nothing()
    history.when(attached(provider_id="SRV-9")).changes_nothing()


def test_one_that_was_lost_and_is_there_after_all_is_attached_as_a_new_one() -> None:
    past = given(imported(), attached(), lost()).when(attached()).gives(ev.DeploymentAttached)
    assert [one.state for one in past.deployments()] == ["lost", "serving"]
