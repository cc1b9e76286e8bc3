"""Deploying, undeploying and attaching by hand; and what is refused."""

from __future__ import annotations

import threading

from providers.errors import UnavailableError
from registry.domain import errors
from registry.domain.errors import IdempotencyConflictError, NotFoundError, RefusedError
from tests.application.refusals import refused
from tests.fakes import provider_error
from tests.stage import ANA, BEN, BOT, Stage


def test_a_standby_serves_without_its_version_being_active_and_stays(stage: Stage) -> None:
    ref = stage.trained()
    commands = stage.registry.commands
    deployment = commands.deploy(ref, ANA)
    assert commands.deploy(ref, BEN) == deployment
    stage.settle()
    stage.let_pass(days=3)
    assert (stage.state(ref), stage.states(), stage.active_ref()) == ("trained", ["serving"], None)
    stage.activate(ref)
    stage.settle()
    assert (stage.state(ref), stage.cloud().count("create")) == ("active", 1)


def test_deploying_where_tuned_models_serve_as_they_are_is_refused(stage: Stage) -> None:
    ref = stage.trained(connection="alone")
    refused(stage, lambda: stage.registry.commands.deploy(ref, ANA), RefusedError, "nothing to deploy")
    refused(stage, lambda: stage.registry.commands.attach(ref, "x", ANA), RefusedError, "no deployments to attach")


def test_the_deployment_of_the_active_version_is_not_deleted_by_hand(stage: Stage) -> None:
    stage.active()
    (one,) = stage.deployments()
    refused(stage, lambda: stage.registry.commands.undeploy(one.id, ANA), RefusedError, "which is active")


def test_stopping_the_deployment_of_an_activation_abandons_it(stage: Stage) -> None:
    ref = stage.trained()
    stage.activate(ref)
    stage.run()
    (one,) = stage.deployments()
    stage.registry.commands.undeploy(one.name, ANA)
    stage.settle()
    assert (stage.state(ref), stage.states()) == ("trained", ["deleted"])


def test_a_deployment_is_undeployed_by_its_id_its_name_or_the_providers_id(stage: Stage) -> None:
    ref = stage.trained()
    commands = stage.registry.commands
    for attempt in range(3):
        deployment = commands.deploy(ref, ANA)
        stage.settle()
        view = stage.deployments()[-1]
        name = (view.id, view.name, view.provider_id)[attempt]
        assert commands.undeploy(str(name), ANA) == deployment
        assert commands.undeploy(str(name), ANA) == deployment
        stage.settle()
    assert stage.states() == ["deleted"] * 3


def test_a_deployment_that_exists_is_attached_by_the_providers_name_and_reused(stage: Stage) -> None:
    ref = stage.trained()
    commands = stage.registry.commands
    theirs = stage.cloud().stranger("theirs", "ft:tenure-test12-bot-1-1")
    deployment = commands.attach(ref, "theirs", ANA)
    for name in ("theirs", theirs.id, deployment):
        assert commands.attach(ref, name, BEN) == deployment
    (view,) = stage.deployments()
    assert (view.attached, view.state, view.billed_from) == (True, "serving", theirs.created_at)
    stage.activate(ref)
    stage.settle()
    assert (stage.state(ref), stage.cloud().count("create")) == ("active", 0)
    assert stage.unbilled_seconds() == 0


def test_an_artifact_that_is_shown_in_another_case_is_attached(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().stranger("theirs", "ft:Tenure-Test12-bot-1-1")
    stage.registry.commands.attach(ref, "theirs", ANA)
    assert stage.states() == ["serving"]


def test_attaching_from_many_threads_attaches_once(stage: Stage) -> None:
    ref = stage.trained()
    stage.cloud().stranger("theirs", "ft:tenure-test12-bot-1-1")
    barrier = threading.Barrier(6)
    given: list[str] = []

    def ask() -> None:
        barrier.wait()
        given.append(stage.registry.commands.attach(ref, "theirs", ANA))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 1
    assert len(stage.deployments()) == 1


def test_what_cannot_be_attached_is_refused(stage: Stage) -> None:
    ref = stage.trained()
    attach = stage.registry.commands.attach
    refused(stage, lambda: attach(ref, "nothing", ANA), NotFoundError, "has no deployment 'nothing'")
    stage.cloud().stranger("other", "ft:other")
    refused(stage, lambda: attach(ref, "other", ANA), RefusedError, "serves ft:other, not bot@1's")
    broken = stage.cloud().stranger("broken", "ft:tenure-test12-bot-1-1")
    stage.cloud().break_down(broken.name)
    refused(stage, lambda: attach(ref, "broken", ANA), RefusedError, "only one that serves can be attached")
    stage.cloud().fail("get", provider_error(UnavailableError))
    refused(stage, lambda: attach(ref, "other", ANA), errors.UnavailableError, "the provider says")


def test_what_another_version_holds_cannot_be_attached(stage: Stage) -> None:
    first = stage.trained()
    second = stage.registry.commands.import_version(BOT, "cloud", "ft:tenure-test12-bot-1-1", None, ANA)
    stage.cloud().stranger("theirs", "ft:tenure-test12-bot-1-1")
    deployment = stage.registry.commands.attach(first, "theirs", ANA)
    refused(
        stage,
        lambda: stage.registry.commands.attach(second, "theirs", ANA),
        RefusedError,
        f"theirs is {deployment} already, of bot@1",
    )
    refused(stage, lambda: stage.registry.commands.attach(second, deployment, ANA), RefusedError, "already")
    other = stage.registry.commands.import_version("other", "cloud", "ft:tenure-test12-bot-1-1", None, ANA)
    refused(
        stage,
        lambda: stage.registry.commands.attach(other, "theirs", ANA),
        RefusedError,
        "^theirs is of another model already$",
    )


def test_an_attach_with_the_same_key_for_another_deployment_is_a_conflict(stage: Stage) -> None:
    ref = stage.trained()
    for name in ("one", "two"):
        stage.cloud().stranger(name, "ft:tenure-test12-bot-1-1")
    stage.registry.commands.attach(ref, "one", ANA, "key")
    refused(stage, lambda: stage.registry.commands.attach(ref, "two", ANA, "key"), IdempotencyConflictError, "was used")


def test_an_activation_that_was_called_off_gets_no_deployment(stage: Stage) -> None:
    ref, other = stage.trained(), stage.trained()
    stage.activate(ref)
    activation = stage.registry.reading.version_state(ref)
    stage.activate(other)
    before = stage.log.head()
    assert stage.registry.commands.request_for_activation(activation, ANA) is None
    assert (stage.log.head(), stage.deployments()) == (before, [])
