"""An adapter that a training script leaves is merged into the base model, and the whole is what is served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors import torch as tensors_of

from tests.training.conftest import Runs
from training.contract import read_manifest, read_status

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
_st: Any = tensors_of
"""Its functions are typed in part only."""
COPY = """
import os, shutil
shutil.copytree({adapter!r}, os.environ["TENURE_OUTPUT"], dirs_exist_ok=True)
"""


@pytest.fixture
def adapter(tmp_path: Path, base_model: Path) -> Path:
    folder = tmp_path / "adapter"
    hf: Any = transformers
    pe: Any = peft
    model = pe.get_peft_model(
        hf.AutoModelForCausalLM.from_pretrained(base_model), pe.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4)
    )
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.1)
    model.save_pretrained(folder)
    return folder


def run(runs: Runs, adapter: Path) -> int:
    path = runs.folder / "train.py"
    path.write_text(COPY.format(adapter=str(adapter)))
    return runs.run(code=str(path))


def test_the_whole_model_is_what_base_and_adapter_are_together(runs: Runs, adapter: Path, base_model: Path) -> None:
    assert run(runs, adapter) == 0
    left = {path.name for path in (runs.out / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= left
    assert not left & {"adapter_config.json", "adapter_model.safetensors"}
    assert read_manifest(runs.out) is not None
    before, after = (_st.load_file(one / "model.safetensors") for one in (base_model, runs.out / "model"))
    lora = _st.load_file(adapter / "adapter_model.safetensors")
    down, up = (next(value for name, value in lora.items() if f"q_proj.lora_{half}" in name) for half in "AB")
    name = next(name for name in before if "layers.0.self_attn.q_proj" in name)
    torch.testing.assert_close(after[name].float(), before[name].float() + 2.0 * up @ down, rtol=1e-2, atol=1e-2)
    assert not torch.equal(after[name], before[name])
    assert {one.dtype for one in after.values()} == {one.dtype for one in before.values()}


@pytest.mark.parametrize("fault", ["another size", "parts missing", "cut short", "another kind"])
def test_one_that_does_not_fit_is_refused_in_words(fault: str, runs: Runs, adapter: Path) -> None:
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    tensors = _st.load_file(weights)
    match fault:
        case "another size":
            _st.save_file({name: torch.zeros(3, 3) for name in tensors}, weights)
        case "parts missing":
            _st.save_file(dict(list(tensors.items())[1:]), weights)
        case "cut short":
            weights.write_bytes(weights.read_bytes()[:-1])
        case _:
            config.write_text(json.dumps({**json.loads(config.read_text()), "peft_type": "NO_SUCH"}))
    assert run(runs, adapter) == 1
    status = read_status(runs.out)
    assert status is not None
    assert str(status.error).startswith(
        "the adapter that the training script left cannot be merged into the base model: "
    )
    assert not (runs.out / "model").exists()


def test_one_beside_a_whole_model_is_refused_as_nobody_can_tell_which_is_meant(
    runs: Runs, adapter: Path, base_model: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(base_model / name, adapter / name)
    assert run(runs, adapter) == 1
    status = read_status(runs.out)
    assert status is not None
    assert "adapter_config.json: is an adapter's" in str(status.error)
