"""What a command that waits says while nothing moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from providers.rehearsal import Pace, Rehearsal, faults
from tests.cli.shell import Run

AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0)


def test_a_connection_that_does_not_answer_is_noted_once_while_one_waits(
    tenure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rehearsal(pace=AT_ONCE) as clouds:
        for name, value in clouds.environment().items():
            monkeypatch.setenv(name, value)
        table = clouds.connections()["rehearsal-openai"]
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        document = "\n".join(['[scheduler]\npoll = "20ms"', "[connections.cloud]", *lines])
        (tmp_path / "tenure.toml").write_text(document, "utf-8")
        (tmp_path / "train.csv").write_text("prompt,completion\n" + "".join(f"a {n},b\n" for n in range(12)), "utf-8")
        assert tenure("apply", str(tmp_path / "tenure.toml")).code == 0
        clouds.faults.inject("openai.create_job", faults.unauthorized(), times=None)
        wanted = ("--connection", "cloud", "--base-model", "gpt-4.1-mini-2025-04-14")
        data = ("--train", str(tmp_path / "train.csv"))
        answer = tenure("fine-tune", "bot", *wanted, *data, "--wait", "--timeout", "6")
        assert answer.code != 0
        noted = "note: cloud does not answer, and is asked again until it does: Incorrect API key provided (rehearsal)."
        assert answer.err.count(noted) == 1, answer.err
