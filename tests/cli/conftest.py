from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from providers.huggingface.process import PID_FILE
from registry.cli import main
from tests.cli.shell import Answer, Local, Run
from tests.providers.huggingface.stand_in import make_model

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty TENURE_HOME, and no setting of whoever runs the tests. What still runs there at the end is ended."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TENURE_HOME", str(folder))
    monkeypatch.setenv("TENURE_ACTOR", "user:ana")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TENURE_LOG", raising=False)
    yield folder
    for file in folder.rglob(PID_FILE):
        with contextlib.suppress(psutil.Error, ValueError):
            psutil.Process(int(file.read_text())).kill()


@pytest.fixture
def tenure(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process, as a shell would with its output piped."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        out, err = (ANSI.sub("", text) for text in capsys.readouterr())
        return Answer(code=code, out=out, err=err)

    return run


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdout pass for a terminal without colours, 80 columns wide: what rich takes one for that says no more."""
    monkeypatch.setenv("TERM", "dumb")
    for size in ("COLUMNS", "LINES"):
        monkeypatch.delenv(size, raising=False)

    def isatty(stream: object) -> bool:
        return stream is sys.stdout

    monkeypatch.setattr(cast("type[object]", type(sys.stdout)), "isatty", isatty)


@pytest.fixture
def local(tenure: Run, tmp_path: Path) -> Local:
    """A declared connection `local` whose interpreter stands in for one with torch, a base model and training data."""
    interpreter = tmp_path / "python"
    behaviour = tmp_path / "behaviour"
    program = shlex.join([sys.executable, str(Path(__file__).parent / "interpreter.py"), str(behaviour)])
    interpreter.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    interpreter.chmod(0o755)
    make_model(tmp_path / "models" / "tiny")
    train = tmp_path / "train.csv"
    train.write_text("prompt,completion\n" + "".join(f"question {row},answer {row}\n" for row in range(12)))
    declaration = tmp_path / "tenure.toml"
    declaration.write_text(
        f'[connections.local]\nprovider = "huggingface"\nmodels = "{tmp_path / "models"}"\n'
        f'python = "{interpreter}"\ndevice = "cpu"\n\n[models.support-bot.policy]\nsuperseded_grace = "0s"\n'
    )
    answer = tenure("apply", str(declaration))
    assert answer.code == 0, answer.err
    return Local(tenure=tenure, train=train, declaration=declaration, behaviour=behaviour)
