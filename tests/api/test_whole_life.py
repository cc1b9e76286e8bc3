"""The commands, against a server that trains: what a user does in a day, with `tenure serve` in another terminal."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.cli import main
from tests.api.test_server import home, serving
from tests.cli import interpreter
from tests.providers.huggingface.stand_in import make_model

__all__ = ["home"]


def declare(folder: Path) -> Path:
    """A connection whose interpreter stands in for one with torch."""
    python = folder / "python"
    program = shlex.join([sys.executable, str(Path(interpreter.__file__)), str(folder / "behaviour")])
    python.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    python.chmod(0o755)
    make_model(folder / "models" / "tiny")
    document = folder / "tenure.toml"
    document.write_text(
        f'[connections.local]\nprovider = "huggingface"\nmodels = "{folder / "models"}"\npython = "{python}"\n'
        'device = "cpu"\n\n[models.support-bot.policy]\nsuperseded_grace = "0s"\n\n[scheduler]\npoll = "100ms"\n'
    )
    return document


def test_the_commands_do_over_http_what_they_do_without_a_server(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = declare(tmp_path)
    train = tmp_path / "train.csv"
    train.write_text("prompt,completion\n" + "".join(f"question {row},answer {row}\n" for row in range(12)))

    def run(*arguments: str) -> Any:
        capfd.readouterr()
        code = main([*arguments, "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        return json.loads(out)

    with serving() as served:
        assert [one["kind"] for one in run("apply", str(document))] == ["add", "add", "change"]
        wanted = ("--connection", "local", "--base-model", "tiny", "--train", str(train))
        assert run("fine-tune", "support-bot", *wanted, "--estimate")["train"]["rows"] == 12
        first = run("fine-tune", "support-bot", *wanted, "--wait", "--timeout", "60")
        assert (first["ref"], first["state"]) == ("support-bot@1", "trained")
        assert run("metrics", "support-bot@1")
        assert run("show", "support-bot@1")["dataset"]["train"]["rows"] == 12
        assert run("history", "support-bot@1")[-1]["type"] == "version-trained"
        second = run("fine-tune", "support-bot", *wanted, "--reason", "again")
        assert second["ref"] == "support-bot@2"
        assert [one["ref"] for one in run("versions", "support-bot")] == ["support-bot@2", "support-bot@1"]
        (training, *_) = run("audit")["training"]
        assert training["version"] == "support-bot@1"
        assert run("log", "verify")["events"] > 5
        exported = tmp_path / "events.jsonl"
        assert main(["log", "export", str(exported)]) == 0
        assert main(["cancel", "support-bot@1"]) == 3
        assert "is trained: it cannot cancel" in capfd.readouterr().err
        bad = tmp_path / "bad.csv"
        bad.write_text("prompt,completion\nquestion,\n")
        assert main(["fine-tune", "support-bot", *wanted[:4], "--train", str(bad)]) == 2
        assert "bad.csv, row 1, column completion: is missing" in capfd.readouterr().err
        served.stop()
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    assert {"hash", "actor", "data"} <= set(lines[0])
    assert run("log", "verify")["events"] >= len(lines), "the home is as the server left it"
    assert home.is_dir()
    monkeypatch.setenv("TENURE_HOME", str(tmp_path / "copy"))
    assert run("log", "import", str(exported))["events"] == len(lines), "an export over HTTP is an export"
