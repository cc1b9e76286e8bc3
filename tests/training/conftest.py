"""One tiny base model for all runs of the session, and runs of the program in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import make_tiny_model, write_rows
from training.contract import RunSpec, write_json
from training.program import main


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    """The program sets this variable; a test gives it back."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


class Runs:
    """Specs and runs below one folder."""

    def __init__(self, folder: Path, base_model: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.spec = RunSpec(
            name="a-run",
            base_model=str(base_model),
            train=str(write_rows(folder / "train.jsonl", 24)),
            validation=str(write_rows(folder / "validation.jsonl", 6)),
            hyperparameters={"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2},
            device="cpu",
        )

    def write(self, **changes: Any) -> Path:
        path = self.folder / "spec.json"
        write_json(path, dataclasses.replace(self.spec, **changes))
        return path

    def run(self, **changes: Any) -> int:
        return main([str(self.write(**changes)), str(self.out)])


@pytest.fixture
def runs(tmp_path: Path, base_model: Path) -> Runs:
    return Runs(tmp_path, base_model)
