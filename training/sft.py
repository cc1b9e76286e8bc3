"""Supervised fine-tuning with TRL: a base model and rows go in, a merged model in safetensors comes out.

The settings that differ from TRL's own defaults, and why: bf16 and gradient checkpointing are off on a CPU, where they
cost time or have no memory to save; NaN losses are not filtered from the log, so that they end the run; losses are
logged, evaluated and saved at shares of the run, so that ten steps and ten thousand both draw a chart.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
import transformers
from peft import LoraConfig
from transformers import TrainerCallback, TrainerState

from training.contract import CHECKPOINTS_FOLDER, RunSpec
from training.data import Tokens, padding_free_pays, tokenise
from training.hyperparameters import validate, with_defaults
from training.report import Reporter, RunFaultError, last_tokens
from training.trainer import TokenWeightedTrainer, sft_config
from training.weights import WeightsError, tensor_names

CACHE_FOLDER: Final = "cache"
_hf: Any = transformers
"""Its functions are typed in part only."""

_STATE_FILE: Final = "trainer_state.json"
_METRICS: Final = {"loss": "train_loss", "eval_loss": "valid_loss"}


def fine_tune(spec: RunSpec, *, base: Path, out: Path, result: Path, reporter: Reporter) -> Mapping[str, float]:
    """Train, and save the standalone model into `result` (from the first rank). Returns its train_loss and valid_loss.

    Goes on from the newest complete checkpoint in OUT. Raises RunFaultError, or whatever the libraries raise.
    """
    transformers.utils.logging.disable_progress_bar()
    settings = with_defaults(validate(spec.hyperparameters, spec.method), spec.method)
    device = choose_device(spec.device)
    checkpoint = newest_checkpoint(out / CHECKPOINTS_FOLDER)
    tokenizer: Any = _hf.AutoTokenizer.from_pretrained(base)
    length = cast("int", settings["max_length"])
    cache = out / CACHE_FOLDER
    train = tokenise(Path(spec.train), tokenizer, max_length=length, cache=cache)
    validation = (
        tokenise(Path(spec.validation), tokenizer, max_length=length, cache=cache)
        if spec.validation is not None
        else None
    )
    model = _load(base, spec.method, device)
    stored = {"dtype": model.config.dtype, "use_cache": model.config.use_cache}
    if settings.get("padding_free") is None:
        settings["padding_free"] = _padding_free(model, train, settings)
    callbacks: list[TrainerCallback] = [
        Progress(reporter, tokens_before=last_tokens(out, _step_of(checkpoint)), device=device)
    ]
    if "early_stopping_patience" in settings:
        callbacks.append(transformers.EarlyStoppingCallback(cast("int", settings["early_stopping_patience"])))
    trainer: Any = TokenWeightedTrainer(
        model=model,
        args=sft_config(settings, out=out / CHECKPOINTS_FOLDER, device=device, evaluate=validation is not None),
        train_dataset=train.dataset,
        eval_dataset=validation.dataset if validation is not None else None,
        processing_class=tokenizer,
        peft_config=_lora(settings) if spec.method == "lora" else None,
        callbacks=callbacks,
    )
    if checkpoint is not None and _ended(checkpoint):
        _restore(trainer, checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    if trainer.is_world_process_zero():
        _save(trainer, tokenizer, result, stored)
        shutil.rmtree(cache, ignore_errors=True)
    return final_losses(trainer.state)


def final_losses(state: TrainerState) -> dict[str, float]:
    """Of the model that is saved: its valid_loss is the best one where that model was kept, else the last."""
    figures: dict[str, float] = {}
    for logs in state.log_history:
        figures |= {_METRICS[key]: float(value) for key, value in logs.items() if key in _METRICS}
    if state.best_metric is not None:
        figures["valid_loss"] = state.best_metric
    return figures


def choose_device(wanted: str) -> str:
    """`auto` is CUDA where there is a GPU. Raises RunFaultError when CUDA was asked for and there is none."""
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise RunFaultError("the device cuda was asked for and torch finds no GPU here")
    return "cuda" if present and wanted != "cpu" else "cpu"


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps that was written to its end; those that were not are removed.

    transformers writes trainer_state.json last, but without fsync, so the larger files are looked at too.
    """
    found = sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True)
    for path in found:
        if _complete(path):
            return path
        shutil.rmtree(path)
    return None


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint is not None else 0


def _complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / _STATE_FILE).read_text("utf-8"))
        weights = list(checkpoint.glob("*.safetensors"))
        for path in weights:
            tensor_names(path)
    except (OSError, ValueError, WeightsError):
        return False
    return bool(weights) and all(zipfile.is_zipfile(checkpoint / name) for name in ("optimizer.pt", "scheduler.pt"))


def _ended(checkpoint: Path) -> bool:
    state = TrainerState.load_from_json(str(checkpoint / _STATE_FILE))
    return state.global_step >= state.max_steps


def _restore(trainer: Any, checkpoint: Path) -> None:  # noqa: ANN401 - TRL is untyped
    """Only the saving was left to do. (transformers, asked to resume here, would train one step more.)"""
    state = TrainerState.load_from_json(str(checkpoint / _STATE_FILE))
    best = state.best_model_checkpoint
    source = checkpoint if best is None else checkpoint.parent / Path(best).name
    trainer._load_from_checkpoint(str(source))  # noqa: SLF001 - the only way that knows LoRA, shards and wrappers
    trainer.state = state


def _load(base: Path, method: str, device: str) -> Any:  # noqa: ANN401 - a transformers model
    # A frozen base may be bfloat16; weights that are trained stay float32, for AdamW's small steps vanish in bfloat16.
    frozen_in_bf16 = method == "lora" and device == "cuda" and torch.cuda.is_bf16_supported()
    stored = _hf.AutoConfig.from_pretrained(base).dtype
    model: Any = _hf.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16 if frozen_in_bf16 else torch.float32, use_safetensors=True
    )
    model.config.dtype = stored or torch.float32
    return model


def _padding_free(model: Any, train: Tokens, settings: Mapping[str, object]) -> bool:  # noqa: ANN401 - a transformers model
    if settings["packing"]:
        return True
    return padding_free_pays(
        train.lengths,
        batch=cast("int", settings["per_device_train_batch_size"]),
        parameters=model.num_parameters(),
        width=model.config.hidden_size,
        layers=model.config.num_hidden_layers,
    )


def _lora(settings: Mapping[str, object]) -> LoraConfig:
    names = ("r", "lora_alpha", "lora_dropout", "target_modules")
    return LoraConfig(task_type="CAUSAL_LM", **cast("dict[str, Any]", {name: settings[name] for name in names}))


def _save(trainer: Any, tokenizer: Any, result: Path, stored: Mapping[str, Any]) -> None:  # noqa: ANN401 - TRL is untyped
    """LoRA is merged into the weights, so that the folder stands alone; the weights get the base model's own dtype.

    The trainer turns the model's cache off, and a model that is saved so generates each token from the start.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(stored["dtype"])
    model.config.use_cache = stored["use_cache"]
    model.save_pretrained(result)
    tokenizer.save_pretrained(result)


class Progress(TrainerCallback):
    """Hands what the trainer logs to the reporter, under the names that a registry uses: train_loss and valid_loss."""

    def __init__(self, reporter: Reporter, *, tokens_before: int, device: str) -> None:
        self._reporter = reporter
        self._tokens_before = tokens_before
        self._device = device

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401 - transformers' signature
        self._reporter.running(step=state.global_step, steps_total=state.max_steps)
        if state.global_step >= state.max_steps and args.eval_strategy == "steps":
            control.should_evaluate = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401, ARG002 - see above
        self._reporter.running(step=state.global_step, steps_total=state.max_steps, device=self._device)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: object) -> None:  # noqa: ANN401, ARG002 - see above
        if logs is None or "train_runtime" in logs:
            return
        metrics = {name: value for key, value in logs.items() if (name := _metric_name(key)) is not None}
        for name in ("train_loss", "valid_loss"):
            if not math.isfinite(metrics.get(name, 0.0)):
                raise RunFaultError(
                    f"{name} became {metrics[name]} at step {state.global_step}; a lower learning_rate usually helps"
                )
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        if "num_tokens" in metrics:
            metrics["num_tokens"] += self._tokens_before
            self._reporter.running(
                step=state.global_step, steps_total=state.max_steps, trained_tokens=int(metrics["num_tokens"])
            )
        self._reporter.point(state.global_step, logs.get("epoch"), metrics)


def _metric_name(key: str) -> str | None:
    """None: the point has it elsewhere, or it measures this machine."""
    if key in {"epoch", "total_flos", "eval_num_tokens"} or key.endswith(("_runtime", "_per_second")):
        return None
    if key in _METRICS:
        return _METRICS[key]
    return f"valid_{key.removeprefix('eval_')}" if key.startswith("eval_") else key
