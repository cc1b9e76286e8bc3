"""Policies and the sweep on the command line: side by side, plans, replays, one policy for every model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from providers.huggingface.folders import RECORD_FILE
from tests.cli.shell import Local


def theirs(home: Path, *, registry: str) -> None:
    """A deployment that failed to come up, in the account's own folder."""
    folder = home / "connections" / "local" / "deployments" / "theirs"
    folder.mkdir(parents=True)
    record: dict[str, object] = {
        "name": "theirs",
        "token": "theirs",
        "registry": registry,
        "artifact": "/models/theirs",
        "engine": "transformers",
        "argv": [],
        "served_model": "theirs",
        "port": 1,
        "created_at": 1_790_000_000.0,
        "tags": {},
    }
    (folder / RECORD_FILE).write_text(json.dumps(record))
    (folder / "failed.json").write_text(json.dumps({"error": "no memory"}))


def active(local: Local) -> None:
    assert local.fine_tune("--wait").code == 0
    assert local.tenure("activate", "support-bot@1", "--wait").code == 0


def test_deployments_stand_beside_what_the_provider_shows_and_strays_come_last(local: Local, home: Path) -> None:
    active(local)
    theirs(home, registry="somebody-else")
    ours, stray = local.tenure("deployments").records
    assert (ours["state"], ours["provider_status"], ours["difference"]) == ("serving", "serving", "")
    assert (stray["id"], stray["name"], stray["provider_status"]) == ("", "theirs", "failed")
    assert stray["difference"] == "foreign: not provably ours, never touched"
    found = cast("list[dict[str, Any]]", local.tenure("deployments", "--json").json)
    assert [one["state"] for one in found] == ["serving", None]
    assert [one["name"] for one in local.tenure("deployments", "--billed").records] == [ours["name"]]
    assert local.tenure("deployments", "--as-of", "1").rows == []


def test_a_plan_of_everything_tells_what_a_sweep_would_find_and_changes_nothing(local: Local, home: Path) -> None:
    theirs(home, registry="somebody-else")
    (planned,) = local.tenure("reconcile", "--plan").records
    assert (planned["action"], planned["detail"]) == ("compare with provider", "theirs is not ours (failed)")
    (again,) = local.tenure("reconcile", "--plan").records
    assert again == planned
    assert local.tenure("reconcile").records[0]["outcome"] == "done"
    assert local.tenure("reconcile", "--plan").records == []


def test_a_policy_for_every_model_is_applied_shown_and_overridden(local: Local, tmp_path: Path) -> None:
    everybody = tmp_path / "policy.toml"
    everybody.write_text('[policy]\nidle_delete = "7d"\nsuperseded_grace = "1h"\n')
    assert local.tenure("apply", str(everybody), "--plan").records[0]["detail"] == "idle_delete, superseded_grace"
    assert local.tenure("apply", str(everybody)).code == 0
    shown = local.tenure("policy", "show", "support-bot", "--json").json
    assert (shown["idle_delete"], shown["superseded_grace"]) == ("7d", "0s"), "what the model says comes first"
    everybody.write_text('[policy]\nidle = "7d"\n')
    refused = local.tenure("apply", str(everybody))
    assert (refused.code, "'idle' is not a policy key" in refused.err) == (2, True)


def test_a_policys_plan_names_the_policy_the_time_and_the_reason(local: Local, tmp_path: Path) -> None:
    patient = tmp_path / "patient.toml"
    patient.write_text('[models.support-bot.policy]\nsuperseded_grace = "1h"\n')
    local.tenure("apply", str(patient))
    active(local)
    assert local.fine_tune("--wait").code == 0
    assert local.tenure("activate", "support-bot@2", "--wait").code == 0
    (step,) = local.tenure("policy", "plan", "support-bot").records
    assert (step["outcome"], step["actor"]) == ("waiting", "policy:delete-superseded")
    assert step["due_at"] != ""
    assert step["why"].startswith("superseded = delete")


def test_rules_plans_losses_and_connections_are_told_as_of_a_position_too(local: Local, tmp_path: Path) -> None:
    active(local)
    before = str(local.tenure("history", "support-bot", "--json").json[-1]["position"])
    patient = tmp_path / "patient.toml"
    patient.write_text(
        '[connections.more]\nprovider = "openai"\n\n[models.support-bot.policy]\nsuperseded_grace = "1h"\n'
    )
    local.tenure("apply", str(patient))
    assert local.fine_tune("--wait").code == 0
    assert local.tenure("activate", "support-bot@2", "--wait").code == 0

    def told(*command: str) -> tuple[Any, Any]:
        now, then = (local.tenure(*command, *as_of, "--json").json for as_of in ((), ("--as-of", before)))
        return now, then

    now, then = told("policy", "show", "support-bot")
    assert (now["superseded_grace"], then["superseded_grace"]) == ("1h", "0s")
    now, then = told("policy", "plan", "support-bot")
    assert ([one["actor"] for one in now], then) == (["policy:delete-superseded"], [])
    now, then = told("connections")
    assert {one["name"] for one in now} - {one["name"] for one in then} == {"more"}
    now, then = told("metrics", "support-bot@1")
    assert now == then != []
    assert local.tenure("metrics", "support-bot@2", "--as-of", before).code == 4


def test_a_replay_shows_both_histories_and_the_difference_in_cost(local: Local, tmp_path: Path) -> None:
    active(local)
    other = tmp_path / "other.toml"
    other.write_text('deploy = "manual"\n')
    told = local.tenure("policy", "replay", "support-bot", "--policy", str(other)).records
    assert {(one["where"], one["what"]) for one in told} == {
        ("record", "activate"),
        ("record", "deploy"),
        ("replay", "refuse"),
    }
    same = local.tenure("policy", "replay", "support-bot", "--json").json
    assert {one["where"] for one in same["acts"]} == {"both"}
    assert (same["cost"], same["difference"], same["currency"]) == ("0.000000", "0.000000", "USD")


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_a_replay_ends_with_what_it_costs(local: Local) -> None:
    active(local)
    answer = local.tenure("policy", "replay", "support-bot")
    assert "Serving would have cost 0.00 USD; it has cost 0.00 USD" in answer.out
    assert "difference" in local.tenure("deployments").out


def test_a_policy_that_a_file_does_not_hold_is_refused(local: Local, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[models.other.policy]\ndeploy = "manual"\n')
    answer = local.tenure("policy", "replay", "support-bot", "--policy", str(other))
    assert (answer.code, "there is no policy for support-bot in it" in answer.err) == (2, True)
