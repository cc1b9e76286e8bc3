"""An account that misbehaves about deployments: refused, unknown, lost, broken; activations that cross."""

from __future__ import annotations

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from tests.cloud import unmarked
from tests.fakes import When, provider_error
from tests.stage import ANA, PASS_S, Stage

# Deployments


def test_a_refused_deployment_abandons_the_activation_and_the_active_version_stays(stage: Stage) -> None:
    first = stage.active()
    second = stage.trained()
    stage.cloud().fail("create", provider_error(RejectedError))
    stage.activate(second)
    stage.settle()
    assert (stage.state(first), stage.state(second), stage.active_ref()) == ("active", "trained", "bot@1")
    assert stage.version(second).error == "the provider says RejectedError"
    assert stage.states() == ["serving", "deleted"]
    assert stage.deployments()[1].billed_from is None, "it was never made"


def test_a_deployment_that_does_not_come_up_is_deleted_and_the_activation_abandoned(stage: Stage) -> None:
    first = stage.active()
    second = stage.trained()
    stage.cloud().deploy_failures.append("no capacity")
    stage.activate(second)
    stage.settle()
    assert (stage.active_ref(), stage.state(second), stage.version(second).error) == ("bot@1", "trained", "no capacity")
    assert (stage.state(first), stage.states()) == ("active", ["serving", "deleted"])
    assert stage.unbilled_seconds() == 0
    stage.activate(second)
    stage.settle()
    assert (stage.active_ref(), unmarked(stage.deployments()[-1].name)) == ("bot@2", "tenure-test12-bot-2-2")


def test_a_deployment_that_vanishes_while_it_comes_up_has_failed(stage: Stage) -> None:
    ref = stage.trained()
    stage.activate(ref)
    stage.run()
    (deployed,) = stage.cloud().deployments.values()
    stage.cloud().lose(deployed.name)
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == ("trained", "it disappeared while it was coming up")


def test_serving_is_what_has_answered_a_probe(stage: Stage) -> None:
    stage.cloud().answers = False
    ref = stage.trained()
    stage.activate(ref)
    for _ in range(5):
        stage.run()
        stage.clock.advance(seconds=PASS_S)
    assert (stage.state(ref), stage.states()) == ("deploying", ["provisioning"])
    stage.cloud().answers = True
    stage.settle()
    assert stage.state(ref) == "active"


def test_the_pointer_moves_only_when_the_deployment_answers_at_that_moment(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    stage.cloud().answers = False
    stage.activate(ref)
    stage.run()
    assert stage.state(ref) == "deploying"
    stage.cloud().answers = True
    stage.settle()
    assert (stage.state(ref), stage.cloud().count("create")) == ("active", 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_with_an_unknown_outcome_is_looked_up_adopted_and_never_made_twice(stage: Stage, when: When) -> None:
    ref = stage.trained()
    stage.cloud().idempotent = False
    stage.cloud().fail("create", provider_error(OutcomeUnknownError), when=when)
    stage.activate(ref)
    stage.settle()
    assert (stage.state(ref), len(stage.cloud().bills)) == ("active", 1)
    assert stage.types(str(ref)).count("deployment-outcome-unknown") == 1
    assert stage.unbilled_seconds() == 0


def test_one_whose_outcome_stays_unknown_is_shown_as_billed(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(OutcomeUnknownError), when="after")
    stage.cloud().fail("get", provider_error(UnavailableError), times=100)
    stage.activate(ref)
    stage.run()
    stage.clock.advance(hours=1)
    (view,) = stage.deployments()
    assert (view.state, view.billed) == ("requested", True)
    (entry,) = stage.registry.auditing.audit().deployments
    assert [span.known for span in entry.intervals] == [False]
    assert stage.unbilled_seconds() == 0


def test_a_provider_that_does_not_tell_when_it_made_a_deployment_bills_from_the_intent(stage: Stage) -> None:
    ref = stage.trained()
    stage.activate(ref)
    stage.cloud().fail("create", provider_error(OutcomeUnknownError), when="after")
    stage.run()
    for deployed in stage.cloud().deployments.values():
        deployed.shown_created_at = False
    stage.settle()
    assert stage.unbilled_seconds() == 0


def test_a_lost_deployment_of_the_active_version_is_made_again(stage: Stage) -> None:
    ref = stage.active()
    (deployed,) = stage.cloud().deployments.values()
    stage.cloud().lose(deployed.name)
    for _ in range(3):
        stage.let_pass(minutes=10)
    assert (stage.state(ref), stage.states()) == ("active", ["lost", "serving"])
    types = stage.types(str(ref))
    assert types[types.index("deployment-lost") + 1] == "serving-lost"
    assert stage.active_ref() == "bot@1"
    assert stage.unbilled_seconds() == 0


def test_one_read_that_misses_it_is_not_absence(stage: Stage) -> None:
    stage.active()
    (deployed,) = [*stage.cloud().deployments.values()]
    stage.cloud().deployments.pop(deployed.id)
    stage.run()
    stage.cloud().deployments[deployed.id] = deployed
    stage.run()
    stage.run()
    stage.run()
    assert stage.states() == ["serving"]


def test_a_failed_list_or_read_is_never_absence(stage: Stage) -> None:
    stage.active()
    stage.cloud().fail("get", provider_error(UnavailableError), times=10)
    for _ in range(5):
        stage.let_pass(minutes=10)
    assert stage.states() == ["serving"]


def test_a_deployment_that_breaks_down_and_is_still_there_is_replaced_and_deleted(stage: Stage) -> None:
    ref = stage.active()
    (deployed,) = stage.cloud().deployments.values()
    stage.cloud().break_down(deployed.name)
    stage.run()
    stage.settle()
    assert (stage.state(ref), stage.states()) == ("active", ["deleted", "serving"])
    assert [bill.to is None for bill in stage.cloud().bills] == [False, True]
    assert stage.unbilled_seconds() == 0


def test_a_lost_standby_is_lost_and_its_version_untouched(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    (deployed,) = stage.cloud().deployments.values()
    stage.cloud().lose(deployed.name)
    for _ in range(3):
        stage.run()
    assert (stage.state(ref), stage.states()) == ("trained", ["lost"])


# Activations that cross


def test_a_later_activation_wins_and_the_deployment_of_the_first_is_not_even_finished(stage: Stage) -> None:
    first, second = stage.trained(), stage.trained()
    stage.activate(first)
    stage.run()
    stage.activate(second)
    stage.settle()
    assert (stage.active_ref(), stage.state(first)) == ("bot@2", "trained")
    assert stage.states() == ["deleted", "serving"]


def test_activating_the_active_version_again_calls_off_its_successor(stage: Stage) -> None:
    first = stage.active()
    second = stage.trained()
    stage.activate(second)
    stage.run()
    stage.activate(first)
    stage.settle()
    assert (stage.active_ref(), stage.state(second), stage.states()) == ("bot@1", "trained", ["serving", "deleted"])


def test_the_active_version_may_lose_its_deployment_while_its_successor_comes_up(stage: Stage) -> None:
    first = stage.active()
    second = stage.trained()
    (deployed,) = stage.cloud().deployments.values()
    stage.cloud().break_down(deployed.name)
    stage.activate(second)
    stage.settle()
    stage.let_pass(minutes=11)
    assert stage.active_ref() == "bot@2"
    assert stage.state(first) in {"trained", "retired"}
    assert [one.ref for one in stage.deployments() if one.billed] == ["bot@2"]


def test_a_budget_that_is_used_up_meanwhile_abandons_the_activation(stage: Stage) -> None:
    first = stage.trained()
    stage.activate(first)
    stage.policy(max_hourly_cost="1.00")
    stage.settle()
    assert stage.state(first) == "trained"
    assert "would exceed max_hourly_cost = 1.00" in (stage.version(first).error or "")


# Connections and bugs


def test_a_credential_that_is_refused_is_told_once_until_it_works_again(stage: Stage) -> None:
    stage.cloud().fail("submit", provider_error(UnauthorizedError))
    stage.cloud().fail("find", provider_error(UnauthorizedError), times=30)
    ref = stage.fine_tune()
    for _ in range(3):
        stage.run()
    connection = next(one for one in stage.registry.reading.connections() if one.name == "cloud")
    assert (stage.state(ref), connection.error) == ("queued", "the provider says UnauthorizedError")
    stage.cloud().faults.clear()
    stage.settle()
    types = [event.type for event in stage.log.read(stream="connection:cloud")]
    assert types == ["connection-declared", "connection-failed", "connection-recovered"]
    assert stage.state(ref) == "trained"


def test_a_credential_that_is_refused_for_a_deployment_does_not_end_the_activation(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().fail("create", provider_error(UnauthorizedError))
    stage.activate(ref)
    stage.settle()
    assert stage.state(ref) == "active"


def test_a_bug_in_one_adapter_does_not_keep_the_others_from_their_work(stage: Stage) -> None:
    stage.cloud("alone").fail("submit", KeyError("bug"), times=1)
    stage.cloud("alone").fail("find", KeyError("bug"), times=20)
    other = stage.fine_tune("other", "alone")
    mine = stage.fine_tune()
    told = stage.registry.reconciler.run()
    assert ("failed", "KeyError: 'bug'") in {(one.outcome, one.detail) for one in told}
    stage.run()
    assert (stage.state(other), stage.state(mine)) == ("queued", "trained")
