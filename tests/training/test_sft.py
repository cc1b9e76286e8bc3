"""Real training of a tiny model in this process, through the program's own entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.training.conftest import Runs
from training.artifact import check_model_folder, verify_manifest
from training.contract import PROGRESS_FILE, read_manifest, read_progress, read_status
from training.sft import choose_device, newest_checkpoint
from training.weights import tensor_names

hf: Any = transformers
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft 0.21 asks


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model: Any = hf.AutoModelForCausalLM.from_pretrained(folder)
    return model.state_dict()


def changed(out: Path, base: Path) -> set[str]:
    before, after = weights(base), weights(out / "model")
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def final_losses(out: Path) -> dict[str, float]:
    status = read_status(out)
    assert status is not None
    assert status.state == "succeeded"
    return dict(status.metrics)


def test_a_lora_run_leaves_a_standalone_model_its_losses_and_a_manifest(runs: Runs, base_model: Path) -> None:
    assert runs.run() == 0

    model = runs.out / "model"
    manifest = read_manifest(runs.out)
    assert manifest is not None
    verify_manifest(model, manifest)
    check_model_folder(model)
    names = changed(runs.out, base_model)
    assert "model.layers.0.self_attn.q_proj.weight" in names
    assert "model.embed_tokens.weight" not in names
    assert tensor_names(model / "model.safetensors") == tensor_names(base_model / "model.safetensors")
    assert hf.AutoTokenizer.from_pretrained(model).chat_template is not None
    assert json.loads((model / "config.json").read_text())["use_cache"] is True

    points, _ = read_progress(runs.out)
    assert [point.step for point in points if "train_loss" in point.metrics] == [1, 2, 3, 4]
    assert [point.step for point in points if "valid_loss" in point.metrics] == [1, 2, 3, 4]
    status = read_status(runs.out)
    assert status is not None
    assert (status.state, status.step, status.steps_total, status.device) == ("succeeded", 4, 4, "cpu")
    assert status.trained_tokens is not None
    assert status.trained_tokens > 0
    assert status.metrics["valid_loss"] == points[-1].metrics["valid_loss"]
    assert not (runs.out / "cache").exists()


def test_a_run_that_has_succeeded_is_not_run_again(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    hyperparameters = {"max_steps": 1, "batch_size": 4}
    assert runs.run(hyperparameters=hyperparameters, validation=None) == 0
    written = (runs.out / PROGRESS_FILE).stat().st_mtime_ns
    assert runs.run(hyperparameters=hyperparameters, validation=None) == 0
    assert "has succeeded already" in capsys.readouterr().err
    assert (runs.out / PROGRESS_FILE).stat().st_mtime_ns == written


def test_a_full_run_changes_every_weight(runs: Runs, base_model: Path) -> None:
    assert runs.run(method="full", hyperparameters={"max_steps": 2, "batch_size": 4, "learning_rate": 0.1}) == 0
    assert changed(runs.out, base_model) >= {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.1.mlp.up_proj.weight",
    }


def test_the_validation_loss_does_not_depend_on_how_rows_are_batched(runs: Runs) -> None:
    losses: list[float] = []
    for number, extra in enumerate(({"per_device_eval_batch_size": 1}, {"padding_free": False}, {"packing": True})):
        runs.out = runs.folder / f"out-{number}"
        settings = {"max_steps": 1, "learning_rate": 1e-12, "max_length": 128, **extra}
        assert runs.run(hyperparameters=settings) == 0
        losses.append(final_losses(runs.out)["valid_loss"])
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_laying_rows_end_to_end_trains_as_padding_does(runs: Runs) -> None:
    losses: list[float] = []
    for choice in (True, False):
        runs.out = runs.folder / f"out-{choice}"
        assert runs.run(hyperparameters={"max_steps": 4, "learning_rate": 1e-2, "padding_free": choice}) == 0
        losses.append(final_losses(runs.out)["train_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_run_stops_early_and_keeps_the_best_model(runs: Runs) -> None:
    # A rate this high makes the second evaluation worse than the first.
    hyperparameters = {"max_steps": 12, "learning_rate": 0.9, "early_stopping_patience": 1, "eval_steps": 1}
    assert runs.run(method="full", hyperparameters={**hyperparameters, "lr_scheduler_type": "constant"}) == 0
    points, _ = read_progress(runs.out)
    valid = [point.metrics["valid_loss"] for point in points if "valid_loss" in point.metrics]
    assert 1 < len(valid) < 12
    assert valid[-1] > min(valid)
    assert final_losses(runs.out)["valid_loss"] == min(valid)


def test_epochs_and_evaluation_by_epoch(runs: Runs) -> None:
    assert runs.run(hyperparameters={"epochs": 2, "batch_size": 12, "eval_strategy": "epoch"}) == 0
    points, _ = read_progress(runs.out)
    assert [point.step for point in points if "valid_loss" in point.metrics] == [2, 4]


def test_a_loss_that_is_no_number_ends_the_run(runs: Runs, base_model: Path, tmp_path: Path) -> None:
    broken: Any = hf.AutoModelForCausalLM.from_pretrained(base_model)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    folder = tmp_path / "broken"
    broken.save_pretrained(folder)
    hf.AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)
    assert runs.run(base_model=str(folder)) == 1
    status = read_status(runs.out)
    assert status is not None
    assert (status.state, status.error) == (
        "failed",
        "train_loss became nan at step 1; a lower learning_rate usually helps",
    )
    assert read_manifest(runs.out) is None


def test_modules_that_the_model_does_not_have_are_named(runs: Runs) -> None:
    assert runs.run(hyperparameters={"max_steps": 1, "target_modules": "nonsense"}) == 1
    status = read_status(runs.out)
    assert status is not None
    assert status.error is not None
    assert "nonsense" in status.error


def test_cuda_where_there_is_none_is_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    assert runs.run(device="cuda") == 1
    status = read_status(runs.out)
    assert status is not None
    assert status.error == "the device cuda was asked for and torch finds no GPU here"


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(runs: Runs) -> None:
    assert runs.run(hyperparameters={"max_steps": 3, "save_steps": 1, "save_total_limit": 3}) == 0
    folder = runs.out / "checkpoints"
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.name == "checkpoint-3"

    state = folder / "checkpoint-3" / "trainer_state.json"
    state.write_text(state.read_text()[:-5])
    second = newest_checkpoint(folder)
    assert second is not None
    assert second.name == "checkpoint-2"
    assert not (folder / "checkpoint-3").exists()

    optimizer = folder / "checkpoint-2" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    third = newest_checkpoint(folder)
    assert third is not None
    assert third.name == "checkpoint-1"

    adapter = folder / "checkpoint-1" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1])
    assert newest_checkpoint(folder) is None
