from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_shell import Answer, Run

from registry.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TENURE_HOME, and no setting of whoever runs the tests."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TENURE_HOME", str(folder))
    monkeypatch.setenv("TENURE_ACTOR", "user:ana")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TENURE_DEBUG", raising=False)
    return folder


@pytest.fixture
def tenure(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process, as a shell would with its output piped."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Answer(code=code, out=out, err=err)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdout pass for a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
