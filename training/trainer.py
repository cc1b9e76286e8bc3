"""TRL's trainer with a validation loss that can be compared, and its configuration from our settings.

transformers averages the losses of the evaluation's batches, so that the figure depends on the batch size and on which
rows share a batch. A registry compares versions by it, so here it is the mean over all completion tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.data import IGNORED

_PASSED_ON: Final = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "packing",
    "train_sampling_strategy",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "lr_scheduler_type",
    "seed",
)


def sft_config(settings: Mapping[str, object], *, out: Path, device: str, evaluate: bool) -> SFTConfig:
    """`settings`: complete, with padding_free decided. `evaluate`: whether there is a validation set."""
    on_gpu = device == "cuda"
    padding_free = bool(settings["padding_free"])
    options: dict[str, Any] = {name: settings[name] for name in _PASSED_ON if name in settings}
    options |= {
        "bf16": settings.get("bf16", on_gpu and torch.cuda.is_bf16_supported()),
        # transformers 5 renames it; TRL 1.16 documents the old name, and both mean the same.
        "activation_checkpointing": settings.get("gradient_checkpointing", on_gpu),
        "padding_free": padding_free,
        # The rows are cut already; TRL refuses padding_free with a length it would not enforce.
        "max_length": None if padding_free and not settings["packing"] else settings["max_length"],
        "eval_packing": False,
        "eval_strategy": settings["eval_strategy"] if evaluate else "no",
        "eval_steps": settings["eval_steps"],
    }
    if "early_stopping_patience" in settings:
        options |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
            "save_strategy": options["eval_strategy"],
            "save_steps": options["eval_steps"],
            "restore_callback_states_from_checkpoint": True,
        }
    return SFTConfig(
        output_dir=str(out),
        use_cpu=not on_gpu,
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        **options,
    )


class TokenWeightedTrainer(SFTTrainer):
    """An SFTTrainer whose eval_loss is the mean over all completion tokens of the validation set."""

    _loss_sum = 0.0
    _loss_tokens = 0.0

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401 - transformers' signature
        inputs: Any,  # noqa: ANN401 - see above
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Any:  # noqa: ANN401 - see above
        # The first token of a row is never predicted; its label is ignored where rows are laid end to end, too.
        tokens = (inputs["labels"][:, 1:] != IGNORED).sum()
        base: Any = super()
        result: Any = base.prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        pair = torch.stack([result[0].float() * tokens.to(result[0].device), tokens.to(result[0].device).float()])
        accelerator: Any = self.accelerator
        summed: torch.Tensor = accelerator.reduce(pair)
        self._loss_sum += summed[0].item()
        self._loss_tokens += summed[1].item()
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "eval_loss" in logs and self._loss_tokens:
            logs["eval_loss"] = self._loss_sum / self._loss_tokens
            self._loss_sum = self._loss_tokens = 0.0
        super().log(logs, start_time)
