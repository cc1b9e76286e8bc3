"""SIGKILL in the middle of a real fine-tune and a real activation: nothing is done twice, nothing is lost."""

from __future__ import annotations

from itertools import count

import pytest

from tests.endtoend.conftest import Shell

KILLS_MIN = 8
PAUSES_S = (0.7, 1.1, 0.9, 1.6, 2.3, 1.3, 1.9, 2.9)
"""How long the registry lives before each kill: from before it has read its log to deep within training."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_registry_goes_on_where_it_stood_and_nothing_is_trained_or_deployed_twice(shell: Shell) -> None:
    shell.run("apply", str(shell.home / "tenure.toml"))
    train, validation = str(shell.home / "train.jsonl"), str(shell.home / "validation.jsonl")
    shell.run(
        *("fine-tune", "bot", "--connection", "local", "--base-model", "tiny", "--train", train),
        *("--validation", validation, "--set", "max_steps=120", "--activate"),
    )
    kills = 0
    for attempt in count():
        state = shell.json("show", "bot@1")["state"]
        if state == "active" and kills >= KILLS_MIN:
            break
        assert attempt < 120, f"bot@1 is still {state}"
        assert state != "failed", shell.json("show", "bot@1")["error"]
        # Whoever follows a history runs the scheduler beside it, for as long as they live.
        kills += shell.killed("history", "bot", "--follow", after_s=PAUSES_S[attempt % len(PAUSES_S)])

    assert kills >= KILLS_MIN, kills
    shell.run("log", "verify")
    types = [event["type"] for event in shell.json("history", "bot")]
    assert types.count("training-submitted") == 1
    assert types.count("training-started") == 1
    assert types.count("version-trained") == 1
    assert types.count("version-activated") == 1
    assert types.count("deployment-requested") == 1
    assert len([one for one in shell.json("deployments") if one["state"] == "serving"]) == 1
    assert shell.run("chat", "bot", "How many is 3 and 3?", "--max-tokens", "4") is not None

    shell.run("retire", "bot@1")
    shell.run("reconcile")
    assert [one["state"] for one in shell.json("deployments")] == ["deleted"]
    assert shell.processes() == []
