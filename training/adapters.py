"""A LoRA adapter that a training script left, merged into its base model: an artifact stands alone.

See docs/decisions/0003-lora-is-merged.md. Imports torch and peft, so it is imported only where there is an adapter.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from training.artifact import ADAPTER, ADAPTER_CONFIG
from training.custom import SAID_MAX
from training.report import RunFaultError
from training.weights import WeightsError, tensor_names

_hf: Any = transformers
_peft: Any = peft
"""Their functions are typed in part only."""
_MISFITS = (ValueError, RuntimeError, LookupError, TypeError, AttributeError)
"""What peft raises for an adapter that is none of this model's."""


def merge_adapter(folder: Path, base: Path) -> None:
    """Put the whole model in the adapter's place. Raises RunFaultError for one that does not fit the base model."""
    stored = _hf.AutoConfig.from_pretrained(base).dtype or torch.float32
    model: Any = _hf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    try:
        tensor_names(folder / ADAPTER)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            model = _peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (*_MISFITS, OSError, WeightsError, UserWarning) as exc:
        why = " ".join(str(exc).split())[:SAID_MAX]
        raise RunFaultError(
            f"the adapter that the training script left cannot be merged into the base model: {why}"
        ) from exc
    for name in (ADAPTER, ADAPTER_CONFIG):
        (folder / name).unlink()
    model.to(stored).save_pretrained(folder)
