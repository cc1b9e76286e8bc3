"""Questions, setting up and looking after, by commands."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.shell import Local, Run


def test_a_new_home_has_no_models_connections_or_deployments(tenure: Run) -> None:
    for command in ("models", "connections", "deployments"):
        answer = tenure(command)
        assert (answer.code, answer.rows, answer.err) == (0, [], "")
        assert tenure(command, "--json").json == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["versions", "nobody"],
        ["show", "nobody@1"],
        ["history", "nobody"],
        ["metrics", "nobody@1"],
        ["activate", "nobody@1"],
        ["undeploy", "dep_0"],
        ["connections", "test", "nobody"],
        ["policy", "show", "nobody"],
        ["policy", "plan", "nobody"],
        ["chat", "nobody", "hello"],
    ],
)
def test_what_does_not_exist_is_exit_4(tenure: Run, arguments: list[str]) -> None:
    answer = tenure(*arguments)
    assert (answer.code, answer.out) == (4, "")
    assert answer.err.startswith("error: ")


@pytest.mark.parametrize("ref", ["Support/Bot", "support-bot@0", "support-bot@x", "@1"])
def test_a_name_that_cannot_be_is_exit_2(tenure: Run, ref: str) -> None:
    assert tenure("show", ref).code == 2


@pytest.mark.parametrize("as_of", ["yesterday", "2026-13-01", "1.5"])
def test_a_moment_that_is_none_is_exit_2(tenure: Run, as_of: str) -> None:
    assert tenure("models", "--as-of", as_of).code == 2


def test_a_declared_model_without_versions_is_an_empty_list(local: Local) -> None:
    answer = local.tenure("versions", "support-bot", "--json")
    assert (answer.code, answer.json) == (0, [])


def test_show_tells_every_field_of_a_version_and_of_a_model(local: Local) -> None:
    ref = local.trained()
    version = {row[0]: row[1] for row in local.tenure("show", ref).rows}
    assert (version["ref"], version["state"], version["base_model"]) == (ref, "trained", "tiny")
    assert local.tenure("show", "--json", "support-bot").json["versions"] == 1
    assert local.tenure("show", "support-bot").header == ["field", "value"]


def test_versions_can_be_narrowed_to_states(local: Local) -> None:
    local.trained()
    assert len(local.tenure("versions", "support-bot", "--state", "trained").rows) == 1
    assert local.tenure("versions", "support-bot", "--state", "failed", "--state", "active").rows == []


def test_the_history_tells_what_happened_in_order_and_on_whose_word(local: Local) -> None:
    ref = local.trained()
    rows = local.tenure("history", ref).records

    positions = [int(row["position"]) for row in rows]
    assert positions == sorted(positions)
    assert rows[0]["actor"] == "user:ana"
    assert rows[0]["stream"] == f"version:{ref}"
    before = local.tenure("history", ref, "--as-of", str(positions[0])).records
    assert [row["position"] for row in before] == [rows[0]["position"]]
    after = local.tenure("history", ref, "--after", str(positions[0]), "--json").json
    assert [one["position"] for one in after] == positions[1:]


def test_following_a_history_ends_with_ctrl_c(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections.abc import Iterator

    from registry.application.views import EventView
    from registry.embedded import Tenure

    def follow(tenure: Tenure, ref: str, *, after: int) -> Iterator[EventView]:
        yield from tenure.history(ref, after=after)
        raise KeyboardInterrupt

    local.trained()
    monkeypatch.setattr(Tenure, "follow", follow)
    answer = local.tenure("history", "support-bot", "--follow")
    assert answer.code == 130
    assert answer.rows == local.tenure("history", "support-bot").rows
    lines = local.tenure("history", "support-bot", "--follow", "--json").out.splitlines()
    assert next(json.loads(line)["stream"] for line in lines) == "model:support-bot"


@pytest.mark.usefixtures("terminal")
def test_following_on_a_terminal_is_a_line_per_event(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.application.views import EventView
    from registry.embedded import Tenure

    def follow(tenure: Tenure, ref: str, *, after: int) -> list[EventView]:
        return tenure.history(ref, after=after)

    monkeypatch.setattr(Tenure, "follow", follow)
    local.trained()
    answer = local.tenure("history", "support-bot", "--follow")
    assert answer.code == 0
    assert "model declared" in answer.out
    assert "\t" not in answer.out


def test_metrics_are_every_point_when_piped(local: Local) -> None:
    ref = local.trained()
    rows = local.tenure("metrics", ref).records
    assert {(row["step"], row["name"]) for row in rows} >= {("1", "train_loss"), ("3", "valid_loss")}
    assert len(local.tenure("metrics", ref, "--json").json) == len(rows)


@pytest.mark.usefixtures("terminal")
def test_metrics_are_a_chart_on_a_terminal(local: Local) -> None:
    local.fine_tune("--wait")
    out = local.tenure("metrics", "support-bot@1").out
    assert "training loss 2 → 0" in out
    assert "validation loss 3 → 1" in out
    assert any(0x2800 < ord(char) <= 0x28FF for char in out)


@pytest.mark.usefixtures("terminal")
def test_a_version_without_losses_has_no_chart(local: Local) -> None:
    local.behaviour.write_text("no-torch")
    local.fine_tune("--wait")
    assert "No losses" in local.tenure("metrics", "support-bot@1").out


def test_a_file_may_be_applied_again_and_a_plan_changes_nothing(local: Local) -> None:
    again = local.tenure("apply", str(local.declaration))
    assert again.code == 0
    assert {row["kind"] for row in again.records} == {"same"}
    local.declaration.write_text('[models.support-bot.policy]\nsuperseded = "keep"\n')
    planned = local.tenure("apply", str(local.declaration), "--plan")
    assert [row["kind"] for row in planned.records] == ["change"]
    assert local.tenure("policy", "show", "support-bot", "--json").json["superseded"] == "delete"
    local.tenure("apply", str(local.declaration))
    policy = {row[0]: row[1] for row in local.tenure("policy", "show", "support-bot").rows}
    assert policy["superseded"] == "keep"


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("[connections.c\n", "TOML"),
        ("[conections.c]\n", "conections"),
        ('[connections.c]\nprovider = "huggingface"\ncolour = "red"\n', "colour"),
    ],
)
def test_a_file_with_a_fault_is_refused_with_the_culprit(tenure: Run, tmp_path: Path, text: str, culprit: str) -> None:
    file = tmp_path / "tenure.toml"
    file.write_text(text)
    answer = tenure("apply", str(file))
    assert answer.code == 2
    assert culprit in answer.err
    assert answer.err.count(str(file)) == 1, "and the file, once"


def test_a_file_that_is_not_there_is_exit_2(tenure: Run) -> None:
    assert tenure("apply", "nowhere.toml").code == 2


def test_connections_are_listed_and_tried(local: Local) -> None:
    assert [row["name"] for row in local.tenure("connections").records] == ["local"]
    assert local.tenure("connections", "--json").json[0]["provider"] == "huggingface"
    tried = local.tenure("connections", "test", "local")
    assert tried.code == 0
    assert {row["passed"] for row in tried.records} == {"true"}
    assert local.tenure("connections", "--json", "test", "local").json[0]["passed"] is True


def test_a_connection_that_cannot_be_used_is_exit_5(local: Local) -> None:
    interpreter = local.behaviour.with_name("python")
    interpreter.write_text("#!/bin/sh\nexit 7\n")
    answer = local.tenure("connections", "test", "local")
    assert answer.code == 5
    assert "not usable" in answer.err


def test_reconcile_does_what_is_left_and_then_has_nothing_to_do(local: Local) -> None:
    local.fine_tune()
    planned = local.tenure("reconcile", "--plan")
    assert planned.code == 0
    for _ in range(500):
        if local.tenure("versions", "support-bot").records[0]["state"] == "trained":
            break
        assert local.tenure("reconcile").code == 0
    assert local.tenure("reconcile").rows == []
    assert local.tenure("policy", "plan", "support-bot").rows == []


def test_the_doctor_finds_a_home_well_and_a_broken_connection_not(local: Local) -> None:
    answer = local.tenure("doctor")
    assert answer.code == 0, answer.err
    assert answer.rows
    local.behaviour.with_name("python").write_text("#!/bin/sh\nexit 7\n")
    assert local.tenure("doctor").code == 1


def test_the_audit_tells_what_was_billed_in_every_format(local: Local) -> None:
    ref = local.active()
    piped = local.tenure("audit")
    assert (piped.code, [row["ref"] for row in piped.records]) == (0, [ref])
    view = local.tenure("audit", "--json").json
    assert set(view) >= {"from", "to", "currency", "total", "deployments", "training", "unknown", "foreign"}
    assert local.tenure("audit", "--format", "json").json["deployments"][0]["ref"] == ref
    rows = list(csv.DictReader(io.StringIO(local.tenure("audit", "--format", "csv").out)))
    assert {row["kind"] for row in rows} == {"deployment", "training"}
    assert all(row["ref"] == ref for row in rows)
    assert {row["known"] for row in rows} == {"true"}, "as JSON and FOCUS write it"
    grouped = local.tenure("audit", "--by", "model", "--from", "2020-01-01", "--to", "2100-01-01T00:00:00Z")
    assert grouped.code == 0
    assert "support-bot" in grouped.out


@pytest.mark.usefixtures("terminal")
def test_the_audit_is_a_summary_and_tables_on_a_terminal(local: Local) -> None:
    local.fine_tune("--wait")
    local.tenure("activate", "support-bot@1", "--wait")
    out = local.tenure("audit").out
    assert "Cost 0.00 USD, 1 billed now at 0.00 USD an hour." in out
    assert "Billed now" in out
    assert "Training" in out
    assert "Not billed any more" not in out


def test_focus_has_a_row_for_every_charge_and_fits_itself(local: Local, tmp_path: Path) -> None:
    ref = local.active()
    answer = local.tenure("audit", "--format", "focus")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert {row["x_Version"] for row in rows} == {ref}
    assert {row["ServiceCategory"] for row in rows} == {"AI and Machine Learning"}
    bill = tmp_path / "focus.csv"
    bill.write_text(answer.out)
    compared = local.tenure("audit", "--reconcile", str(bill))
    assert (compared.code, {row["status"] for row in compared.records}) == (0, {"fits"})
    bill.write_text(answer.out.replace("\n0,", "\n5,", 1))
    other = local.tenure("audit", "--reconcile", str(bill), "--json")
    assert (other.code, other.json["fits"]) == (1, False)


def test_the_audit_as_of_a_position_says_what_was_known_then(local: Local) -> None:
    local.active()
    assert local.tenure("audit", "--as-of", "1", "--json").json["deployments"] == []
    assert local.tenure("audit", "--as-of", "soon").code == 2


def test_an_audit_that_cannot_be_is_refused(tenure: Run) -> None:
    wrong = tenure("audit", "--from", "last tuesday")
    assert (wrong.code, "--from" in wrong.err) == (2, True)
    assert tenure("audit", "--reconcile", "bill.csv", "--by", "day").code == 2
    missing = tenure("audit", "--reconcile", "bill.csv")
    assert (missing.code, "bill.csv: there is no such file" in missing.err) == (2, True)


def test_the_log_is_verified_rebuilt_and_copied(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local.trained()
    exported, copied = tmp_path / "events.jsonl", tmp_path / "copy"
    assert local.tenure("log", "verify", "--json").json["events"] > 0
    assert local.tenure("log", "rebuild").code == 0
    told = local.tenure("log", "export", str(exported))
    assert told.code == 0
    assert local.tenure("log", "export").out == local.tenure("log", "export", "-").out == exported.read_text()
    assert local.tenure("log", "backup", str(copied)).code == 0
    monkeypatch.setenv("TENURE_HOME", str(tmp_path / "other"))
    assert local.tenure("log", "import", str(exported)).code == 0
    assert local.tenure("log", "export").out == exported.read_text()
    assert local.tenure("log", "import", str(exported)).code in {2, 3}


def test_an_export_does_not_write_over_a_file(local: Local, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    for command in ("export", "backup"):
        answer = local.tenure("log", command, str(there))
        assert answer.code == 2
    assert there.read_text() == "precious"
    assert local.tenure("log", "export", str(tmp_path / "no" / "file")).code == 2
    assert local.tenure("log", "import", str(tmp_path / "nothing")).code == 2


def test_a_home_that_cannot_be_made_is_told_without_a_traceback(
    tenure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a-file"
    file.write_text("")
    monkeypatch.setenv("TENURE_HOME", str(file / "home"))
    answer = tenure("models")
    assert answer.code in {2, 5}
    assert str(file) in answer.err
    assert "Traceback" not in answer.err


def test_a_list_without_a_row_has_its_header_when_piped(tenure: Run) -> None:
    assert tenure("tokens", "list").out.split("\t")[:2] == ["id", "actor"]
    assert tenure("tokens", "list", "--json").out == "[]\n"


def test_tokens_are_those_of_this_home_also_where_commands_go_elsewhere(
    tenure: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENURE_URL", "http://127.0.0.1:1")
    answer = tenure("tokens", "list", "--json")
    assert (answer.code, answer.out) == (0, "[]\n")
    assert (
        answer.err == f"note: these are the tokens of {home}; those of http://127.0.0.1:1 are made on its own machine\n"
    )
