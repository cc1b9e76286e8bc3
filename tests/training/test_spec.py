from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.contract import RunSpec
from training.spec import validate_spec


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    train = tmp_path / "train.jsonl"
    train.touch()
    return RunSpec(name="a", base_model="b", train=str(train))


def faults(spec: RunSpec) -> list[str]:
    with pytest.raises(ValueError, match=r".") as caught:
        validate_spec(spec)
    return str(caught.value).splitlines()


def test_a_sound_spec_passes(spec: RunSpec) -> None:
    validate_spec(spec)


def test_wrong_types_are_all_named(spec: RunSpec) -> None:
    wrong: Any = {"name": "", "base_model": 3, "validation": 1, "hyperparameters": [], "downloads": "yes"}
    assert [line.split(":")[0] for line in faults(replace(spec, **wrong))] == [
        "name", "base_model", "validation", "hyperparameters", "downloads",
    ]  # fmt: skip


def test_wrong_values_and_missing_files_are_all_named(spec: RunSpec) -> None:
    wrong: Any = {"method": "magic", "device": "tpu", "train": "/nowhere", "hyperparameters": {"max_steps": 0, "x": 1}}
    assert faults(replace(spec, **wrong)) == [
        "method: 'magic' is none of lora, full",
        "device: 'tpu' is none of auto, cpu, cuda",
        "max_steps: 0 is below 1",
        "x: unknown hyperparameter",
        "train: /nowhere is not a file",
    ]


def test_early_stopping_needs_a_validation_set(spec: RunSpec) -> None:
    assert faults(replace(spec, hyperparameters={"early_stopping_patience": 2})) == [
        "early_stopping_patience: needs a validation set"
    ]


def test_custom_code_has_hyperparameters_of_its_own_and_must_exist(spec: RunSpec) -> None:
    assert faults(replace(spec, code="/nowhere.py", hyperparameters={"anything": "goes"})) == [
        "code: /nowhere.py is not a file"
    ]
    validate_spec(replace(spec, code=spec.train, hyperparameters={"anything": "goes"}))
