"""What should be done next, for every place where something can stand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry.domain.plan import Action, Step, World, plan, unused_since
from registry.domain.policy import Policy
from tests.domain.histories import (
    ACTIVE,
    DEPLOYING,
    MODEL,
    STANDBY,
    TRAINED,
    Past,
    abandon,
    accepted,
    activate,
    attached,
    broken,
    cancel,
    delete,
    delete_accepted,
    failed,
    given,
    gone,
    imported,
    job_over,
    lost,
    own,
    queued,
    repointed,
    requested,
    retire,
    seen_gone,
    serving,
    started,
    submitted,
    switch,
    undeploy,
    unsure,
)
from tests.domain.histories import (
    Step as Event,
)


def steps(past: Past, *, alone: bool = False, **policy: object) -> list[Step]:
    world = World(
        versions=tuple(past.versions),
        deployments=tuple(one for version in past.versions for one in past.deployments(version.version)),
        policies={MODEL: Policy.of(policy)} if policy else {},
        serves_alone=frozenset({"cloud"}) if alone else frozenset(),
    )
    return plan(world)


def actions(*history: Event, alone: bool = False, **policy: object) -> list[tuple[str, Action]]:
    return [
        (step.subject.partition("@")[2] or "dep", step.action)
        for step in steps(given(*history).past, alone=alone, **policy)
    ]


REQUEST = (requested(purpose="activation"),)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((queued(),), [("1", Action.SUBMIT)]),
        ((queued(), submitted()), [("1", Action.FIND_JOB)]),
        ((queued(), submitted(), started()), [("1", Action.POLL_JOB)]),
        ((own(),), [("1", Action.CHECK_OWNER)]),
        (TRAINED, []),
        ((queued(), submitted(), failed()), []),
        ((queued(), cancel()), []),
        ((queued(), submitted(), cancel()), [("1", Action.STOP_JOB)]),
        ((queued(), submitted(), started(), cancel()), [("1", Action.STOP_JOB)]),
        ((queued(), submitted(), started(), cancel(), job_over()), []),
        ((*TRAINED, requested()), [("dep", Action.CREATE)]),
        ((*TRAINED, requested(), unsure()), [("dep", Action.FIND_DEPLOYMENT)]),
        ((*TRAINED, requested(), accepted()), [("dep", Action.POLL_DEPLOYMENT)]),
        ((*TRAINED, requested(), broken()), [("dep", Action.REQUEST_DELETION)]),
        ((*STANDBY,), [("dep", Action.WATCH)]),
        ((*STANDBY, lost()), []),
        ((*STANDBY, undeploy()), [("dep", Action.DELETE)]),
        ((*STANDBY, undeploy(), delete_accepted()), [("dep", Action.VERIFY_DELETED)]),
        ((*STANDBY, undeploy(), delete_accepted(), seen_gone()), []),
        ((*TRAINED, activate()), [("1", Action.REQUEST_DEPLOYMENT)]),
        (DEPLOYING, [("dep", Action.CREATE)]),
        ((*DEPLOYING, accepted()), [("dep", Action.POLL_DEPLOYMENT)]),
        ((*DEPLOYING, accepted(), serving()), [("dep", Action.WATCH), ("dep", Action.SWITCH)]),
        ((*DEPLOYING, broken()), [("dep", Action.REQUEST_DELETION), ("dep", Action.ABANDON)]),
        ((*DEPLOYING, accepted(), serving(), repointed()), [("dep", Action.WATCH), ("dep", Action.ABANDON)]),
        ((*STANDBY, repointed(), activate()), [("dep", Action.WATCH), ("1", Action.REQUEST_DEPLOYMENT)]),
        ((*DEPLOYING, undeploy()), [("dep", Action.DELETE), ("dep", Action.ABANDON)]),
        (ACTIVE, [("dep", Action.WATCH)]),
        ((*ACTIVE, lost()), [("1", Action.REQUEST_DEPLOYMENT)]),
        ((*ACTIVE, lost(exists=True)), [("dep", Action.DELETE), ("1", Action.REQUEST_DEPLOYMENT)]),
        ((*STANDBY, activate()), [("dep", Action.WATCH), ("dep", Action.SWITCH)]),
        ((*TRAINED, delete()), [("1", Action.DELETE_ARTIFACT)]),
        ((*TRAINED, delete(), gone()), []),
        ((*STANDBY, delete()), [("dep", Action.WATCH), ("dep", Action.REQUEST_DELETION)]),
        ((*STANDBY, delete(), undeploy()), [("dep", Action.DELETE)]),
        ((*TRAINED, requested(), broken(), delete()), [("dep", Action.REQUEST_DELETION)]),
        ((*STANDBY, lost(), delete()), [("1", Action.DELETE_ARTIFACT)]),
    ],
)
def test_each_place_has_its_next_steps(history: tuple[Event, ...], expected: list[tuple[str, Action]]) -> None:
    assert actions(*history) == expected


def test_a_job_that_may_still_run_is_stopped_before_the_artifact_goes() -> None:
    cancelled = (queued(), submitted(), started(), cancel(), delete())
    assert actions(*cancelled) == [("1", Action.STOP_JOB)]
    assert actions(*cancelled, job_over()) == [("1", Action.DELETE_ARTIFACT)]


def test_where_tuned_models_serve_as_they_are_an_activation_switches_at_once() -> None:
    assert actions(*TRAINED, activate(), alone=True) == [("1", Action.SWITCH)]


def test_a_failed_attempt_of_an_earlier_activation_does_not_end_the_next() -> None:
    again = (*DEPLOYING, broken(), abandon(), activate())
    assert actions(*again) == [("dep", Action.REQUEST_DELETION), ("1", Action.REQUEST_DEPLOYMENT)]


def test_a_standby_that_fails_does_not_end_an_activation_which_makes_its_own() -> None:
    history = (*TRAINED, requested(), activate(), broken())
    assert actions(*history) == [("dep", Action.REQUEST_DELETION), ("1", Action.REQUEST_DEPLOYMENT)]


def test_an_abandoned_activation_says_why() -> None:
    abandoned = steps(given(*DEPLOYING, broken()).past)[-1]
    assert abandoned.why == "no capacity"
    undeployed = steps(given(*DEPLOYING, undeploy()).past)[-1]
    assert undeployed.why.endswith("was deleted")
    taken = steps(given(*DEPLOYING, accepted(), serving(), repointed()).past)[-1]
    assert taken.why.endswith("was made to serve ft:somebody-elses")


def test_a_deployment_that_comes_up_for_an_abandoned_activation_is_not_waited_for() -> None:
    abandoned = (*DEPLOYING, imported(), activate(2))
    assert ("dep", Action.REQUEST_DELETION) in actions(*abandoned)
    assert ("dep", Action.REQUEST_DELETION) in actions(*DEPLOYING, accepted(), imported(), activate(2))
    assert ("dep", Action.CREATE) in actions(*TRAINED, requested(), imported(), activate(2)), "a standby is wanted"


SUPERSEDED = (*ACTIVE, imported(), requested(2), accepted(2), serving(2), activate(2), switch(2))


def test_a_superseded_deployment_goes_after_its_grace_on_the_policys_word() -> None:
    past = given(*SUPERSEDED).past
    (step,) = [one for one in steps(past) if one.action == Action.REQUEST_DELETION]
    assert (step.deployment, step.actor) == (past.deployments(1)[0], "policy:delete-superseded")
    assert step.due_at == (past.version(1).retired_at or past.now) + timedelta(minutes=10)
    assert step.why == "superseded = delete, after 600 s of grace"


def test_with_superseded_keep_it_stays() -> None:
    assert actions(*SUPERSEDED, superseded="keep") == [("dep", Action.WATCH), ("dep", Action.WATCH)]


def test_a_standby_that_was_asked_for_by_hand_is_not_superseded() -> None:
    past = given(*STANDBY).past
    assert unused_since(past.deployment(), past.version()) is None
    past = given(*TRAINED, activate(), requested(purpose="activation"), accepted(), serving(), switch(), retire()).past
    assert unused_since(past.deployment(), past.version()) == past.version().retired_at
    past = given(*ACTIVE, retire(), attached()).past
    assert unused_since(past.deployment(), past.version()) is None
    assert unused_since(past.deployment(), None) is None


def test_a_rollback_target_that_is_activated_again_is_wanted_again() -> None:
    past = given(*ACTIVE, retire(), activate()).past
    assert unused_since(past.deployment(), past.version()) is None


def test_the_deployment_of_a_deleted_version_is_nobodys_rollback_target() -> None:
    past = given(*STANDBY, delete(), gone()).past
    assert unused_since(past.deployment(), past.version()) is None
