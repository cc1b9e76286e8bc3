"""What a version may do, and what it is refused; each refusal beside its success."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry.domain import deploying, versions
from registry.domain import events as ev
from registry.domain.errors import BadInputError
from registry.domain.versions import Who, legal
from tests.cloud import unmarked
from tests.domain.histories import (
    ACTIVE,
    ANA,
    BEN,
    CLOUD,
    DEPLOYING,
    STANDBY,
    START,
    TRAINED,
    Step,
    abandon,
    accepted,
    activate,
    approve,
    attached,
    cancel,
    delete,
    failed,
    given,
    gone,
    imported,
    job_over,
    lost,
    own,
    queued,
    requested,
    retire,
    retry,
    serving,
    started,
    submitted,
    switch,
)

# How it begins


def test_the_first_version_declares_its_model_and_later_ones_count_on() -> None:
    past = given().when(queued()).gives(ev.ModelDeclared, ev.VersionNumbered, ev.FineTuneRequested)
    past.append(queued()(past))
    assert [type(event.payload) for event in past.events[3:]] == [ev.VersionNumbered, ev.FineTuneRequested]
    assert past.known.last_version == 2
    assert (past.known.created_by, past.version(2).state) == ("user:ana", "queued")


def test_numbers_of_deleted_versions_are_not_used_again() -> None:
    past = given(*TRAINED, delete(), gone(), queued()).past
    assert past.version(2).state == "queued"


def test_an_imported_version_is_trained_and_one_that_somebody_trains_is_training() -> None:
    past = given(imported(), own()).past
    assert (past.version(1).state, past.version(1).artifact_id) == ("trained", "ft:other")
    assert (past.version(2).state, past.version(2).directory) == ("training", "own/bot-2")


def test_a_model_name_with_a_slash_is_refused() -> None:
    with pytest.raises(BadInputError, match="not a model name"):
        versions.number(None, "support/bot", ANA)


# Training


def test_a_job_is_submitted_started_and_finished() -> None:
    past = given(queued(), submitted(), started()).when(job_over()).gives(ev.VersionTrained)
    version = past.version()
    assert (version.state, version.artifact_id, version.job_final) == ("trained", "ft:1", True)
    assert version.trained_at == version.changed_at == past.now
    assert unmarked(version.job_token or "") == version.job_name == "tenure-test12-bot-1-1"


@pytest.mark.parametrize(
    ("told_s", "recorded_s"),
    [(9, 9), (-86_400, 4), (86_400, 60)],
    ids=["within", "before it was asked for", "after it was seen"],
)
def test_a_job_ended_when_its_provider_says_within_what_is_possible(told_s: int, recorded_s: int) -> None:
    told, seen = (START + timedelta(seconds=count) for count in (told_s, 60))
    past = given(queued(), submitted(), started(), job_over(finished_at=told, seen_at=seen)).past
    assert past.version().submitted_at == START + timedelta(seconds=4)
    trained = past.events[-1].payload
    assert isinstance(trained, ev.VersionTrained)
    assert trained.finished_at == START + timedelta(seconds=recorded_s)


def test_no_version_was_trained_after_that_was_recorded() -> None:
    told = START + timedelta(days=1)
    late = given(queued(), submitted(), started(), job_over(finished_at=told, seen_at=told)).past
    assert late.version().trained_at == late.now


def test_hearing_of_the_same_job_twice_changes_nothing() -> None:
    given(queued(), submitted(), started()).when(started()).changes_nothing()


def test_a_version_whose_job_somebody_cancelled_at_the_provider_is_cancelled() -> None:
    cancelled = given(queued(), submitted(), started()).when(job_over(outcome="cancelled"))
    past = cancelled.gives(ev.VersionCancelled, ev.JobStopped)
    version = past.version()
    assert (version.state, version.job_status, version.job_final) == ("cancelled", "cancelled", True)
    assert past.events[-1].actor == CLOUD.actor


def test_a_job_that_succeeded_without_an_artifact_has_failed() -> None:
    past = given(queued(), submitted(), started()).when(job_over(artifact=None)).gives(ev.VersionFailed)
    assert past.version().error == "the job ended as succeeded"


def test_a_failed_job_fails_its_version_with_the_providers_words() -> None:
    over = job_over(outcome="failed", error="bad data", status="Failed")
    past = given(queued(), submitted(), started()).when(over).gives(ev.VersionFailed)
    assert (past.version().error, past.version().job_status) == ("bad data", "Failed")


def test_a_refused_job_fails_its_version_once() -> None:
    history = given(queued(), submitted())
    history.when(failed()).gives(ev.VersionFailed)
    history.when(failed()).changes_nothing()


def test_a_trained_version_cannot_fail() -> None:
    given(*TRAINED).when(failed()).refuses(state="trained", legal={"activate", "delete"})


def test_final_is_final_a_late_word_about_the_job_changes_nothing() -> None:
    given(*TRAINED).when(job_over(outcome="failed")).changes_nothing()


@pytest.mark.parametrize("step", [activate(), retire(), retry(), delete()])
def test_a_version_in_training_can_only_end(step: Step) -> None:
    given(queued(), submitted(), started()).when(step).refuses(
        state="training", legal={"finish", "fail", "cancel"}, match=r"legal from training: cancel\)"
    )


# Cancelling and trying again


def test_a_version_without_a_job_is_cancelled_at_once() -> None:
    past = given(queued()).when(cancel()).gives(ev.VersionCancelled)
    assert past.version().job_final


def test_a_cancelled_version_learns_how_its_job_ended_and_keeps_what_it_made() -> None:
    history = given(queued(), submitted(), started())
    past = history.when(cancel()).gives(ev.VersionCancelled)
    assert not past.version().job_final
    history.when(cancel()).changes_nothing()
    history.when(retry()).refuses(match="has not been seen to stop yet", state="cancelled")
    history.when(job_over()).gives(ev.JobStopped)
    assert (past.version().state, past.version().artifact_id, past.version().job_final) == ("cancelled", "ft:1", True)
    history.when(job_over()).changes_nothing()


def test_a_job_that_appears_after_the_cancel_is_recorded_so_that_it_can_be_stopped() -> None:
    past = given(queued(), submitted(), cancel()).when(started()).gives(ev.TrainingStarted)
    assert (past.version().state, past.version().job_id, past.version().job_final) == ("cancelled", "job-1", False)


def test_trying_again_is_another_attempt_under_another_name() -> None:
    history = given(queued(), submitted(), started(), approve(), job_over(outcome="failed"))
    past = history.when(retry()).gives(ev.VersionRetried)
    version = past.version()
    assert (version.state, version.attempt, version.job_id, version.error) == ("queued", 2, None, None)
    assert version.approvals == (), "an approval was for what is not there any more"
    history.when(retry()).changes_nothing()
    past.append(submitted()(past))
    assert unmarked(version.job_name or "") == "tenure-test12-bot-1-2"


def test_what_no_provider_trained_cannot_be_tried_again() -> None:
    given(own(), failed()).when(retry()).refuses(match="no job to try again")


def test_a_trained_version_cannot_be_cancelled_or_tried_again() -> None:
    given(*TRAINED).when(cancel()).refuses(state="trained", legal={"activate", "delete"})
    given(*TRAINED).when(retry()).refuses(state="trained")


# Activation


def test_activation_is_an_intent_until_the_deployment_serves() -> None:
    history = given(*STANDBY)
    past = history.when(activate()).gives(ev.ActivationRequested)
    assert (past.version().state, past.known.active) == ("deploying", None)
    history.when(activate()).changes_nothing()
    history.when(switch()).gives(ev.VersionActivated, ev.ActiveVersionChanged)
    assert (past.version().state, past.known.active) == ("active", 1)
    history.when(activate()).changes_nothing()
    history.when(switch()).changes_nothing()


def test_activating_what_is_not_trained_is_refused() -> None:
    given(queued()).when(activate()).refuses(state="queued", legal={"start", "fail", "cancel"})


def test_serving_what_nobody_activated_is_refused() -> None:
    given(*STANDBY).when(switch()).refuses(state="trained")


def test_the_switch_retires_first_and_activates_then_in_one_append() -> None:
    second = (imported("ft:2"), requested(2), accepted(2), serving(2), activate(2))
    past = (
        given(*ACTIVE, *second).when(switch(2)).gives(ev.VersionRetired, ev.VersionActivated, ev.ActiveVersionChanged)
    )
    assert [one.state for one in past.versions] == ["retired", "active"]
    assert past.known.active == 2
    activated = past.events[-2].payload
    assert isinstance(activated, ev.VersionActivated)
    assert (activated.replaced, activated.deployment) == (1, past.deployment(2).id)


def test_a_version_that_serves_without_a_deployment_says_so() -> None:
    past = given(*TRAINED, activate()).when(switch(deployed=False)).gives(ev.VersionActivated, ev.ActiveVersionChanged)
    activated = past.events[-2].payload
    assert isinstance(activated, ev.VersionActivated)
    assert activated.deployment is None


def test_a_later_activation_abandons_the_one_under_way() -> None:
    history = given(*DEPLOYING, imported("ft:2"))
    past = history.when(activate(2)).gives(ev.ActivationAbandoned, ev.ActivationRequested)
    assert past.version(1).state == "trained"
    assert past.version(1).error == "superseded by the activation of bot@2"


def test_activating_the_active_version_again_abandons_what_was_to_replace_it() -> None:
    history = given(*ACTIVE, imported("ft:2"), activate(2))
    past = history.when(activate(1)).gives(ev.ActivationAbandoned)
    assert (past.version(1).state, past.version(2).state, past.known.active) == ("active", "trained", 1)


def test_a_failed_activation_leaves_the_active_version_alone() -> None:
    past = given(*ACTIVE, imported("ft:2"), activate(2)).when(abandon(2)).gives(ev.ActivationAbandoned)
    assert (past.version(1).state, past.known.active) == ("active", 1)
    assert (past.version(2).state, past.version(2).error) == ("trained", "it did not come up")


def test_what_is_not_being_activated_cannot_be_abandoned() -> None:
    given(*ACTIVE).when(abandon()).refuses(state="active", legal={"retire", "lose"})


# Losing the deployment


def test_the_active_version_that_lost_its_deployment_stays_the_active_one_while_it_is_deployed_again() -> None:
    past = given(*ACTIVE).when(lost()).gives(ev.DeploymentLost, ev.ServingLost)
    assert (past.version().state, past.version().reactivating, past.known.active) == ("deploying", True, 1)
    history = given(*ACTIVE, lost(), requested(purpose="activation"), accepted(), serving())
    history.when(activate()).changes_nothing()
    past = history.when(switch()).gives(ev.VersionActivated)
    assert (past.version().state, past.version().reactivating) == ("active", False)


def test_a_redeployment_that_fails_leaves_no_active_version() -> None:
    past = given(*ACTIVE, lost()).when(abandon()).gives(ev.ActivationAbandoned, ev.ActiveVersionChanged)
    assert (past.version().state, past.known.active) == ("trained", None)


def test_a_successor_does_not_wait_for_a_lost_deployment_and_the_lost_one_does_not_come_back() -> None:
    second = (imported("ft:2"), requested(2), accepted(2), serving(2))
    history = given(*ACTIVE, *second, lost())
    past = history.when(activate(2)).gives(ev.ActivationRequested)
    assert past.known.active == 1
    history.when(switch(2)).gives(ev.ActivationAbandoned, ev.VersionActivated, ev.ActiveVersionChanged)
    assert (past.version(1).state, past.version(2).state, past.known.active) == ("trained", "active", 2)


def test_a_version_that_is_not_active_loses_nothing() -> None:
    past = given(*STANDBY).when(lost()).gives(ev.DeploymentLost)
    assert past.version().state == "trained"
    assert versions.lose(past.version(), past.deployment(), ANA) == []


# Approvals


def test_two_people_must_approve_and_the_one_who_asks_does_not_count() -> None:
    history = given(*TRAINED, approve(who=ANA), approve(who=BEN))
    history.when(activate(approvals=2)).refuses(match="needs 2 approvals and has 1", state="trained")
    history.when(approve(who=Who(actor="user:cleo"))).gives(ev.VersionApproved)
    history.when(activate(approvals=2)).gives(ev.ActivationRequested)


def test_an_approval_counts_once() -> None:
    history = given(*TRAINED, approve())
    history.when(approve()).changes_nothing()


def test_who_asked_for_the_activation_cannot_approve_it() -> None:
    history = given(queued(activate=True), submitted(), started())
    history.when(approve(who=ANA)).refuses(match="who asks cannot approve")
    history.when(approve(who=BEN)).gives(ev.VersionApproved)
    given(*TRAINED).when(approve(who=ANA, activate="on-trained")).refuses(match="who asks cannot approve")
    given(*TRAINED).when(approve(who=ANA)).gives(ev.VersionApproved)


def test_behind_a_policy_that_activates_stands_whoever_asked_for_the_version() -> None:
    history = given(*TRAINED, approve(who=ANA), approve(who=BEN))
    policy = Who(actor="policy:activate-on-trained")
    history.when(activate(who=policy, approvals=2)).refuses(match="needs 2 approvals and has 1")
    history.when(activate(who=policy, approvals=1)).gives(ev.ActivationRequested)


def test_what_is_deleted_cannot_be_approved() -> None:
    given(*TRAINED, delete()).when(approve()).refuses(match="nothing to approve")
    given(*TRAINED, delete(), gone()).when(approve()).refuses(match="nothing to approve", state="deleted")


# The end


def test_an_active_version_is_retired_by_hand_and_no_version_is_active_then() -> None:
    history = given(*ACTIVE)
    past = history.when(retire()).gives(ev.VersionRetired, ev.ActiveVersionChanged)
    assert (past.version().state, past.known.active) == ("retired", None)
    history.when(retire()).changes_nothing()
    history.when(activate()).gives(ev.ActivationRequested)


def test_only_the_active_version_can_be_retired() -> None:
    given(*TRAINED).when(retire()).refuses(state="trained", legal={"activate", "delete"})


def test_deleting_is_an_intent_first_and_bars_everything_else() -> None:
    history = given(*TRAINED)
    past = history.when(delete()).gives(ev.DeletionRequested)
    assert (past.version().state, past.version().deletion_requested) == ("trained", True)
    assert legal(past.version()) == ()
    history.when(delete()).changes_nothing()
    history.when(activate()).refuses(match="is being deleted; it cannot activate")
    history.when(requested()).refuses(match="nothing to deploy")
    history.when(attached()).refuses(match="nothing can be attached")
    history.when(gone()).gives(ev.VersionDeleted)
    assert (past.version().state, past.version().deletion_requested) == ("deleted", False)
    history.when(gone()).changes_nothing()
    history.when(delete()).changes_nothing()


def test_the_active_version_cannot_be_deleted() -> None:
    given(*ACTIVE).when(delete()).refuses(state="active", legal={"retire", "lose"})


def test_what_can_be_asked_of_a_version_is_told_by_its_state() -> None:
    assert legal(given(queued()).past.version()) == ("cancel",)
    assert legal(given(*TRAINED).past.version()) == ("activate", "delete")
    assert legal(given(*ACTIVE).past.version()) == ("retire",)
    assert legal(given(*TRAINED, delete(), gone()).past.version()) == ()


def test_who_asked_and_why_goes_into_every_event() -> None:
    past = given(*ACTIVE).past
    events = versions.retire(past.known, past.version(), Who(actor="user:ana", reason="toxic"))
    assert {(event.actor, event.reason) for event in events} == {("user:ana", "toxic")}
    assert deploying.usable(past.deployments()) is past.deployment()
