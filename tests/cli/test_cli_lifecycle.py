"""A version's life by commands alone: each runs on the home of the one before, as a shell's commands do."""

from __future__ import annotations

import pytest

from tests.cli.shell import Local


def test_fine_tune_with_wait_ends_trained_with_its_losses(local: Local) -> None:
    answer = local.fine_tune("--wait", "--set", "num_train_epochs=2", "--reason", "first try")

    assert answer.code == 0
    version = answer.records[0]
    assert (version["ref"], version["state"], version["created_by"]) == ("support-bot@1", "trained", "user:ana")
    assert (version["train_loss"], version["valid_loss"]) != ("", "")
    assert "support-bot@1: trained" in answer.err
    assert "train_loss" in answer.err


def test_fine_tune_without_wait_returns_while_the_training_runs_on(local: Local) -> None:
    local.behaviour.write_text("hang")
    answer = local.fine_tune()

    assert answer.code == 0
    assert answer.records[0]["state"] in {"queued", "training"}
    assert local.tenure("reconcile").code == 0
    assert local.tenure("versions", "support-bot").records[0]["state"] == "training"


def test_fine_tune_answers_in_json_with_the_shape_of_rest(local: Local) -> None:
    version = local.fine_tune("--json", "--wait").json

    assert (version["ref"], version["state"], version["dataset"]["train"]["rows"]) == ("support-bot@1", "trained", 12)


def test_a_training_that_fails_is_told_with_its_error_and_exit_1(local: Local) -> None:
    local.behaviour.write_text("fail")
    answer = local.fine_tune("--wait")

    assert answer.code == 1
    assert "the loss is not a number" in answer.err
    assert local.tenure("versions", "support-bot").records[0]["state"] == "failed"


def test_a_failed_version_can_be_tried_again(local: Local) -> None:
    local.behaviour.write_text("fail")
    local.fine_tune("--wait")
    local.behaviour.write_text("succeed")
    answer = local.tenure("retry", "support-bot@1", "--wait")

    assert (answer.code, answer.records[0]["state"]) == (0, "trained")


def test_a_training_can_be_cancelled(local: Local) -> None:
    local.behaviour.write_text("hang")
    local.fine_tune()
    answer = local.tenure("cancel", "support-bot@1", "--reason", "wrong data")

    assert (answer.code, answer.records[0]["state"]) == (0, "cancelled")


def test_the_estimate_starts_nothing(local: Local) -> None:
    answer = local.fine_tune("--estimate")

    assert answer.code == 0
    assert {row[0]: row[1] for row in answer.rows}["steps"] == "6"
    assert local.tenure("versions", "support-bot").rows == []
    assert local.fine_tune("--estimate", "--json").json["train"]["rows"] == 12


def test_the_same_idempotency_key_makes_one_version(local: Local) -> None:
    local.fine_tune("--wait", "--idempotency-key", "k1")
    again = local.fine_tune("--idempotency-key", "k1")

    assert (again.code, again.records[0]["ref"]) == (0, "support-bot@1")
    assert len(local.tenure("versions", "support-bot").rows) == 1


def test_activate_serves_and_a_successor_retires_it_and_its_deployment_is_deleted(local: Local) -> None:
    local.active()
    second = local.trained()
    answer = local.tenure("activate", second, "--wait", "--reason", "better on refunds")

    assert (answer.code, answer.records[0]["state"]) == (0, "active")
    states = {one["ref"]: one["state"] for one in local.tenure("versions", "support-bot").records}
    assert states == {"support-bot@1": "retired", "support-bot@2": "active"}
    deployments = {one["ref"]: one["state"] for one in local.tenure("deployments").records}
    assert deployments == {"support-bot@1": "deleted", "support-bot@2": "serving"}
    models = local.tenure("models").records
    assert [one["active"] for one in models] == ["support-bot@2"]


def test_activating_what_is_active_is_success(local: Local) -> None:
    ref = local.active()
    assert local.tenure("activate", ref, "--wait").code == 0


def test_activating_an_untrained_version_is_refused_with_what_is_legal(local: Local) -> None:
    local.behaviour.write_text("hang")
    local.fine_tune()
    local.tenure("reconcile")
    answer = local.tenure("activate", "support-bot@1")

    assert (answer.code, answer.out) == (3, "")
    assert "training" in answer.err
    assert "cancel" in answer.err


def test_a_standby_is_deployed_and_undeployed(local: Local) -> None:
    ref = local.trained()
    deployed = local.tenure("deploy", ref, "--wait")

    assert (deployed.code, deployed.records[0]["state"]) == (0, "serving")
    deployment = deployed.records[0]["id"]
    gone = local.tenure("undeploy", deployment, "--wait", "--json")
    assert (gone.code, gone.json["state"]) == (0, "deleted")
    assert local.tenure("deployments", "--billed").rows == []


def test_deploy_and_undeploy_without_wait_return_at_once_and_reconcile_goes_on(local: Local) -> None:
    ref = local.trained()
    deployed = local.tenure("deploy", ref)
    assert deployed.code == 0
    deployment = deployed.records[0]["id"]
    local.tenure("deploy", ref, "--wait")
    assert local.tenure("undeploy", deployment).code == 0


def test_the_deployment_of_the_active_version_is_not_taken_away_by_hand(local: Local) -> None:
    local.active()
    deployment = local.tenure("deployments").records[0]["id"]
    answer = local.tenure("undeploy", deployment)

    assert answer.code == 3
    assert "retire" in answer.err


def test_retire_takes_the_active_version_out_of_service(local: Local) -> None:
    ref = local.active()
    answer = local.tenure("retire", ref)

    assert (answer.code, answer.records[0]["state"]) == (0, "retired")
    assert local.tenure("models").records[0]["active"] == ""


def test_delete_removes_the_artifact_and_keeps_the_history(local: Local) -> None:
    ref = local.trained()
    answer = local.tenure("delete", ref)

    assert (answer.code, answer.records[0]["state"]) == (0, "deleted")
    assert local.tenure("history", ref).rows


def test_approve_is_recorded(local: Local) -> None:
    ref = local.trained()
    local.tenure("approve", ref)
    assert local.tenure("show", ref, "--json").json["approvals"] == ["user:ana"]


def test_what_exists_can_be_listed_and_imported(local: Local) -> None:
    local.trained()
    listed = local.tenure("import", "--list", "--connection", "local")
    assert listed.code == 0
    artifact = listed.records[0]["id"]
    answer = local.tenure("import", "other", "--connection", "local", "--artifact", artifact, "--json")

    assert (answer.code, answer.json["ref"], answer.json["state"]) == (0, "other@1", "trained")


@pytest.mark.parametrize("arguments", [["support-bot"], ["--artifact", "x"]])
def test_an_import_that_lacks_something_says_what(local: Local, arguments: list[str]) -> None:
    answer = local.tenure("import", "--connection", "local", *arguments)
    assert answer.code == 2
    assert "is missing" in answer.err


def test_attaching_what_is_there_already_is_success(local: Local) -> None:
    ref = local.active()
    deployment = local.tenure("deployments").records[0]["id"]
    answer = local.tenure("attach", ref, "--deployment", deployment)

    assert (answer.code, answer.records[0]["id"]) == (0, deployment)


def test_chat_prints_the_answer_and_nothing_else(local: Local) -> None:
    local.active()
    answer = local.tenure(
        "chat", "support-bot", "hello", "--system", "be kind", "--temperature", "0", "--max-tokens", "5"
    )

    assert (answer.code, answer.out) == (0, "onetwo\n")


def test_chat_in_json_has_the_shape_of_the_gateway(local: Local) -> None:
    local.active()
    answer = local.tenure("chat", "support-bot", "--json", "hello")
    assert answer.code == 0
    said = {"index": 0, "message": {"role": "assistant", "content": "onetwo"}}
    assert answer.json == {"object": "chat.completion", "model": "support-bot", "choices": [said]}


def test_chat_reads_what_is_piped_in(local: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    import io
    import sys

    local.active()
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    assert local.tenure("chat", "support-bot").out == "onetwo\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("  \n"))
    answer = local.tenure("chat", "support-bot")
    assert (answer.code, answer.out) == (2, "")


def test_chat_on_a_terminal_is_a_conversation_until_end_of_input(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    local.active()
    monkeypatch.setattr(sys, "stdin", Keyboard("hello\n\nmore\n"))
    answer = local.tenure("chat", "support-bot", "--system", "be kind")

    assert (answer.code, answer.out) == (0, "onetwo\nonetwo\n")
    assert answer.err.count("> ") == 4

    answer = local.tenure("chat", "support-bot", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "--json answers one message" in answer.err


def test_talking_to_what_nothing_serves_is_refused(local: Local) -> None:
    local.trained()
    assert local.tenure("chat", "support-bot", "hello").code == 3
    assert local.tenure("chat", "support-bot@1", "hello").code == 3


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_told_where_a_version_stands_and_what_comes_next(local: Local) -> None:
    answer = local.fine_tune("--wait")
    assert answer.out.splitlines()[0] == "support-bot@1 is trained."
    assert "tenure activate support-bot@1" in answer.out
    deployed = local.tenure("deploy", "support-bot@1", "--wait")
    assert deployed.out.endswith(" of support-bot@1 is serving.\n")


def test_ctrl_c_says_what_goes_on(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.embedded import Tenure

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tenure, "wait", interrupted)
    local.behaviour.write_text("hang")
    answer = local.fine_tune("--wait")

    assert answer.code == 130
    assert "goes on by itself" in answer.err
    assert [one["ref"] for one in local.tenure("versions", "support-bot").records] == ["support-bot@1"]


def test_rows_that_repeat_are_noted_and_taken(local: Local) -> None:
    local.train.write_text("prompt,completion\nq,a\nq2,a2\nq,a\n")
    answer = local.fine_tune("--json")
    assert (answer.code, answer.json["dataset"]["train"]["rows"]) == (0, 3)
    assert "train.csv, row 3: repeats row 1\n" in answer.err
