"""What policies, and the one who asked, want when a training ends."""

from __future__ import annotations

from registry.domain.ids import VersionRef
from tests.stage import ANA, BEN, BOT, Stage


def test_an_activation_that_was_asked_for_with_the_fine_tune_follows_it(stage: Stage) -> None:
    ref = stage.fine_tune(activate=True, who=BEN)
    stage.settle()
    assert stage.active_ref() == str(ref)
    history = stage.history(str(ref))
    asked = next(event for event in history if event.type == "activation-requested")
    assert (asked.actor, asked.reason) == ("user:ben", "asked for with --activate")
    assert asked.position == next(event.position for event in history if event.type == "version-trained") + 1


def test_an_activation_that_is_refused_when_training_ends_is_abandoned_with_the_reason(stage: Stage) -> None:
    stage.policy(max_hourly_cost="1.00")
    ref = stage.fine_tune(activate=True)
    stage.settle()
    assert stage.state(ref) == "trained"
    assert "would exceed max_hourly_cost" in (stage.version(ref).error or "")
    stage.policy(approvals=1)
    ref = stage.fine_tune(activate=True)
    stage.settle()
    assert "needs 1 approval and" in (stage.version(ref).error or "")


def test_approvals_given_during_training_count(stage: Stage) -> None:
    stage.policy(approvals=1)
    ref = stage.fine_tune(activate=True)
    stage.registry.commands.approve(ref, BEN)
    stage.settle()
    assert stage.state(ref) == "active"


def test_the_policy_activates_what_has_been_trained(stage: Stage) -> None:
    stage.policy(activate="on-trained")
    ref = stage.fine_tune()
    stage.settle()
    asked = next(event for event in stage.history(str(ref)) if event.type == "activation-requested")
    assert (stage.state(ref), asked.actor) == ("active", "policy:activate-on-trained")


def test_the_policy_does_not_activate_what_nobody_approved(stage: Stage) -> None:
    stage.policy(activate="on-trained", approvals=1)
    ref = stage.fine_tune()
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == ("trained", None)


def test_the_policy_activates_only_what_is_better_on_the_validation_loss(stage: Stage) -> None:
    stage.policy(activate="if-better", superseded_grace="0s")
    results = stage.cloud().results
    results.extend(
        [
            ("succeeded", {"valid_loss": 0.9}),
            ("succeeded", {"valid_loss": 0.95}),
            ("succeeded", {"train_loss": 0.1}),
            ("succeeded", {"valid_loss": 0.8}),
        ]
    )
    states: list[list[str]] = []
    for _ in range(4):
        stage.fine_tune()
        stage.settle()
        states.append([stage.state(VersionRef(BOT, number + 1)) for number in range(len(states) + 1)])
    assert states[0] == ["active"]
    assert states[2] == ["active", "trained", "trained"]
    assert states[3] == ["retired", "trained", "trained", "active"]
    reason = next(event.reason for event in stage.history("bot@4") if event.type == "activation-requested")
    assert reason == "activate = if-better: validation loss 0.8, of the active version 0.9"


def test_nothing_is_better_than_an_active_version_whose_loss_nobody_knows(stage: Stage) -> None:
    stage.trained("donor")
    ref = stage.registry.commands.import_version(BOT, "cloud", "ft:tenure-test12-donor-1-1", None, ANA)
    stage.activate(ref)
    stage.settle()
    stage.policy(activate="if-better")
    stage.trained()
    assert stage.active_ref() == str(ref)


def test_a_later_training_that_activates_calls_off_an_earlier_activation_under_way(stage: Stage) -> None:
    first = stage.trained()
    second = stage.fine_tune(activate=True)
    stage.cloud().answers = False
    stage.activate(first)
    for _ in range(3):
        stage.run()
        stage.clock.advance(seconds=20)
    assert (stage.state(first), stage.state(second)) == ("trained", "deploying")
    stage.cloud().answers = True
    stage.settle()
    assert stage.active_ref() == str(second)


def test_the_policy_deploys_what_has_been_trained_as_a_standby(stage: Stage) -> None:
    stage.policy(deploy="on-trained")
    ref = stage.fine_tune()
    stage.settle()
    (view,) = stage.deployments()
    assert (stage.state(ref), view.state, view.requested_by) == ("trained", "serving", "policy:deploy-on-trained")


def test_the_policy_deploys_nothing_where_tuned_models_serve_as_they_are_or_cost_too_much(stage: Stage) -> None:
    stage.policy(deploy="on-trained", max_hourly_cost="1.00")
    assert stage.state(stage.trained()) == "trained"
    assert stage.state(stage.trained(connection="alone")) == "trained"
    assert stage.deployments() == []
