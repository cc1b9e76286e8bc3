"""Every command: what it does, what it refuses, and that a refusal writes nothing."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pytest

from providers.errors import OutcomeUnknownError, UnauthorizedError
from registry.application.ports import DataSource
from registry.domain import errors
from registry.domain.errors import BadInputError, IdempotencyConflictError, NotFoundError, RefusedError, TenureError
from registry.domain.ids import VersionRef
from registry.domain.versions import Who
from tests.application.refusals import refused
from tests.fakes import provider_error
from tests.stage import ANA, BEN, BOT, Stage

NOBODY = VersionRef(BOT, 9)


# Fine-tuning


def test_a_fine_tune_records_what_was_asked_for_and_starts_nothing_yet(stage: Stage) -> None:
    code = stage.home / "train.py"
    code.write_text("print('training')\n")
    ref = stage.registry.commands.fine_tune(
        stage.wanted(
            data=DataSource(train=stage.train, validation=stage.train),
            hyperparameters={"epochs": 2},
            code=code,
            method="lora",
        ),
        Who(actor="user:ana", reason="refunds"),
    )
    view = stage.version(ref)
    assert (view.ref, view.state, view.attempt, view.created_by) == ("bot@1", "queued", 1, "user:ana")
    assert (view.provider, view.connection, view.base_model, view.method) == ("azure-openai", "cloud", "base", "lora")
    assert view.hyperparameters == {"epochs": 2}
    assert view.dataset is not None
    assert stage.history(str(ref))[0].reason == "refunds"
    assert stage.cloud().calls == []
    stage.settle()
    (job,) = stage.cloud().jobs.values()
    assert job.request.validation is not None
    assert job.request.code is not None
    assert job.request.code.read_text() == "print('training')\n"
    assert job.request.tags == {"tenure": "test12", "tenure-version": "bot@1"}


def test_the_same_code_is_kept_once(stage: Stage) -> None:
    code = stage.home / "train.py"
    code.write_text("pass\n")
    stage.fine_tune(code=code)
    stage.fine_tune(code=code)
    assert len([*(stage.home / "code").iterdir()]) == 1


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"model": "sup/port"}, BadInputError, "not a model name"),
        ({"connection": "clod"}, NotFoundError, "there is no connection 'clod'"),
        ({"base_model": "gpt-0"}, BadInputError, "no base model 'gpt-0'; there is: base"),
        ({"code": Path("/nowhere/train.py")}, BadInputError, "No such file"),
    ],
)
def test_a_fine_tune_that_cannot_work_is_refused_before_anything_is_sent(
    stage: Stage, changes: dict[str, object], kind: type[TenureError], match: str
) -> None:
    wanted = stage.wanted(**changes)  # pyright: ignore[reportArgumentType] - fields of FineTune
    refused(stage, lambda: stage.registry.commands.fine_tune(wanted, ANA), kind, match)
    assert stage.cloud().calls == []


def test_too_few_rows_for_the_provider_are_refused_and_enough_for_this_machine(stage: Stage) -> None:
    stage.train.write_text("{}\n" * 3)
    refused(stage, stage.fine_tune, BadInputError, "3 rows, at least 10 are needed")
    assert stage.fine_tune(connection="local") == VersionRef(BOT, 1)


def test_a_connection_may_be_there_for_serving_only(stage: Stage) -> None:
    stage.registry.declaring.declare_connection("serving", {"provider": "openai", "fine_tuning": False}, ANA)
    refused(stage, lambda: stage.fine_tune(connection="serving"), RefusedError, "does not allow fine-tuning")


def test_an_estimate_tells_what_it_would_cost_and_records_nothing(stage: Stage) -> None:
    head = stage.log.head()
    checked, estimate = stage.registry.commands.estimate(stage.wanted())
    assert (checked.train.rows, checked.warnings) == (20, ("short answers",))
    assert (estimate.tokens, str(estimate.cost), estimate.currency) == (200, "0.50", "USD")
    assert stage.log.head() == head


def test_an_estimate_without_a_price_says_how_it_becomes_known(stage: Stage) -> None:
    price = {"provider": "azure-openai", "unit": "1M-tokens", "price": "2.50", "currency": "USD", "source": "list"}
    stage.cloud().estimated = None
    _, unpriced = stage.registry.commands.estimate(stage.wanted())
    assert unpriced.cost is None
    assert "No price is known for training base at cloud: add a [[prices]] entry" in unpriced.notes[0]
    stage.registry.declaring.apply({"prices": [price]}, ANA, plan=False)
    _, priced = stage.registry.commands.estimate(stage.wanted())
    assert (priced.cost, priced.notes) == (Decimal("0.0005"), ())


def test_an_estimate_of_what_is_free_is_nothing_however_long_it_takes(stage: Stage) -> None:
    stage.cloud("local").estimated = None
    _, estimate = stage.registry.commands.estimate(stage.wanted(connection="local"))
    assert (estimate.duration_s, estimate.cost, estimate.currency) == (None, Decimal(0), "USD")


# Commands about what does not exist


def test_commands_about_a_version_that_does_not_exist_say_which_there_are(stage: Stage) -> None:
    stage.fine_tune()
    commands = stage.registry.commands
    for command in (commands.activate, commands.retire, commands.cancel, commands.retry, commands.approve):
        refused(stage, lambda command=command: command(NOBODY, ANA), NotFoundError, "there is no version bot@9")
    for command in (commands.delete, commands.deploy):
        refused(stage, lambda command=command: command(NOBODY, ANA), NotFoundError, "there is no version bot@9")
    refused(stage, lambda: commands.attach(NOBODY, "x", ANA), NotFoundError, "there is no version bot@9")
    refused(stage, lambda: commands.undeploy("dep_0", ANA), NotFoundError, "there is no deployment 'dep_0'")
    refused(stage, lambda: commands.activate(VersionRef("bto", 1), ANA), NotFoundError, "there is no model 'bto'")


def test_moves_that_are_illegal_write_nothing(stage: Stage) -> None:
    ref = stage.fine_tune()
    commands = stage.registry.commands
    for command in (commands.activate, commands.retire, commands.delete, commands.deploy):
        refused(stage, lambda command=command: command(ref, ANA), RefusedError, "queued")


# Activation


def test_a_policy_of_manual_deployment_refuses_to_deploy_by_itself(stage: Stage) -> None:
    stage.policy(deploy="manual")
    ref = stage.trained()
    refused(stage, lambda: stage.activate(ref), RefusedError, "deploy = manual")
    stage.registry.commands.deploy(ref, ANA)
    stage.activate(ref)
    stage.settle()
    assert stage.state(ref) == "active"


def test_a_policy_of_manual_deployment_means_nothing_where_nothing_is_deployed(stage: Stage) -> None:
    stage.policy(deploy="manual")
    assert stage.state(stage.active(connection="alone")) == "active"


def test_an_activation_that_costs_too_much_is_refused_at_once(stage: Stage) -> None:
    stage.policy(max_hourly_cost="3.00")
    stage.active()
    second = stage.trained()
    refused(stage, lambda: stage.activate(second), RefusedError, r"another 1.80 would exceed max_hourly_cost = 3.00")
    refused(stage, lambda: stage.registry.commands.deploy(second, ANA), RefusedError, "would exceed")


def test_approvals_are_of_two_people_and_not_of_the_one_who_asks(stage: Stage) -> None:
    stage.policy(approvals=2)
    ref = stage.trained()
    commands = stage.registry.commands
    commands.approve(ref, ANA)
    commands.approve(ref, BEN)
    refused(stage, lambda: stage.activate(ref), RefusedError, "needs 2 approvals and has 1")
    commands.approve(ref, Who(actor="user:cleo"))
    stage.activate(ref)
    stage.settle()
    assert (stage.state(ref), stage.version(ref).approvals) == ("active", ("user:ana", "user:ben", "user:cleo"))


def test_an_activation_at_a_connection_that_is_gone_is_refused(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.declaring.remove_connection("cloud", ANA)
    refused(stage, lambda: stage.activate(ref), RefusedError, "no longer declared")


def test_a_caller_may_insist_on_the_state_it_has_seen(stage: Stage) -> None:
    ref = stage.trained()
    seen = {"version:bot@1": stage.version(ref).stream_version}
    stage.registry.commands.approve(ref, BEN)
    refused(
        stage,
        lambda: stage.registry.commands.activate(ref, ANA, expected=seen),
        errors.ConflictError,
        "has changed: it is at 5, not 4",
    )
    stage.registry.commands.activate(ref, ANA, expected={"version:bot@1": 5})
    assert stage.state(ref) == "deploying"


def test_activations_from_many_threads_leave_one_active_version_and_clear_answers(stage: Stage) -> None:
    refs = [stage.trained(connection="alone") for _ in range(8)]
    refusals: list[BaseException] = []
    barrier = threading.Barrier(len(refs))

    def ask(ref: VersionRef) -> None:
        barrier.wait()
        try:
            stage.activate(ref)
            stage.run()
        except RefusedError as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=ask, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.settle()
    states = [stage.state(ref) for ref in refs]
    assert refusals == []
    assert states.count("active") == 1
    assert set(states) <= {"active", "retired", "trained"}
    assert stage.active_ref() == str(refs[states.index("active")])


def test_numbers_are_given_out_once_whoever_asks_at_the_same_time(stage: Stage) -> None:
    barrier = threading.Barrier(12)
    given: list[int] = []

    def ask() -> None:
        barrier.wait()
        given.append(stage.fine_tune().number)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 13))


# Idempotency keys


def test_the_same_key_and_body_give_the_same_answer_and_do_nothing_twice(stage: Stage) -> None:
    commands = stage.registry.commands
    first = commands.fine_tune(stage.wanted(), ANA, "key-1")
    head = stage.log.head()
    assert commands.fine_tune(stage.wanted(), ANA, "key-1") == first
    assert stage.log.head() == head
    assert commands.fine_tune(stage.wanted(), ANA, "key-2") == VersionRef(BOT, 2)


def test_the_same_key_with_another_body_or_command_is_a_conflict(stage: Stage) -> None:
    commands = stage.registry.commands
    ref = commands.fine_tune(stage.wanted(), ANA, "key-1")
    other = stage.wanted(hyperparameters={"epochs": 9})
    refused(stage, lambda: commands.fine_tune(other, ANA, "key-1"), IdempotencyConflictError, "'key-1' was used")
    refused(stage, lambda: commands.cancel(ref, ANA, "key-1"), IdempotencyConflictError, "'key-1' was used")


def test_a_key_is_kept_for_a_command_that_had_nothing_to_do(stage: Stage) -> None:
    ref = stage.active()
    commands = stage.registry.commands
    commands.activate(ref, ANA, "again")
    refused(stage, lambda: commands.retire(ref, ANA, "again"), IdempotencyConflictError, "'again' was used")


def test_a_refused_command_leaves_its_key_free(stage: Stage) -> None:
    ref = stage.fine_tune()
    commands = stage.registry.commands
    refused(stage, lambda: commands.activate(ref, ANA, "key"), RefusedError, "queued")
    stage.settle()
    commands.activate(ref, ANA, "key")
    assert stage.state(ref) == "deploying"


def test_the_same_key_from_many_threads_makes_one_version(stage: Stage) -> None:
    barrier = threading.Barrier(8)
    given: list[VersionRef] = []

    def ask() -> None:
        barrier.wait()
        given.append(stage.registry.commands.fine_tune(stage.wanted(), ANA, "key"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == [VersionRef(BOT, 1)] * 8
    assert stage.registry.reading.model(BOT).versions == 1


# Import, and training of one's own


def test_an_imported_version_is_trained_and_can_be_activated(stage: Stage) -> None:
    stage.trained("donor")
    ref = stage.registry.commands.import_version(BOT, "cloud", "ft:tenure-test12-donor-1-1", "gpt", ANA)
    view = stage.version(ref)
    assert (view.state, view.base_model, view.method) == ("trained", "gpt", "imported")
    stage.activate(ref)
    stage.settle()
    assert stage.state(ref) == "active"


def test_what_the_provider_does_not_have_cannot_be_imported(stage: Stage) -> None:
    commands = stage.registry.commands
    refused(
        stage, lambda: commands.import_version(BOT, "cloud", "ft:x", None, ANA), NotFoundError, "no artifact 'ft:x'"
    )
    stage.cloud().fail("get-artifact", provider_error(OutcomeUnknownError))
    refused(stage, lambda: commands.import_version(BOT, "cloud", "ft:x", None, ANA), errors.UnavailableError, "unknown")
    stage.cloud().fail("get-artifact", provider_error(UnauthorizedError))
    refused(stage, lambda: commands.import_version(BOT, "cloud", "ft:x", None, ANA), errors.UnavailableError, "says")


def test_somebody_trains_a_version_in_a_folder_of_ours(stage: Stage) -> None:
    commands = stage.registry.commands
    ref, folder = commands.own_training(BOT, "local", None, ANA)
    assert (stage.state(ref), folder.is_dir()) == ("training", True)
    (folder / "model.safetensors").write_bytes(b"weights")
    commands.own_training_ended(ref, folder, None, ANA)
    assert (stage.state(ref), stage.version(ref).artifact is not None) == ("trained", True)


def test_a_folder_without_a_model_or_with_a_pickle_fails_the_version(stage: Stage) -> None:
    commands = stage.registry.commands
    empty, folder = commands.own_training(BOT, "local", None, ANA)
    with pytest.raises(BadInputError, match="holds no model"):
        commands.own_training_ended(empty, folder, None, ANA)
    pickled, folder = commands.own_training(BOT, "local", None, ANA)
    (folder / "model.pkl").write_bytes(b"x")
    with pytest.raises(BadInputError, match="holds a pickle"):
        commands.own_training_ended(pickled, folder, None, ANA)
    assert (stage.state(empty), stage.state(pickled)) == ("failed", "failed")
    refused(stage, lambda: commands.retry(empty, ANA), RefusedError, "no job to try again")


def test_only_this_machine_has_folders(stage: Stage) -> None:
    refused(
        stage,
        lambda: stage.registry.commands.own_training(BOT, "cloud", None, ANA),
        BadInputError,
        "only a huggingface connection",
    )


def test_a_version_that_is_cancelled_while_somebody_trains_it_stays_cancelled(stage: Stage) -> None:
    commands = stage.registry.commands
    ref, folder = commands.own_training(BOT, "local", None, ANA)
    commands.cancel(ref, ANA)
    (folder / "model.safetensors").write_bytes(b"weights")
    commands.own_training_ended(ref, folder, None, ANA)
    assert stage.state(ref) == "cancelled"
