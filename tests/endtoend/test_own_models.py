"""A model that somebody trained by hand, saved as transformers saves models, is served like any other."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import registry
from tests.tiny_model import make_tiny_model

WAIT_S = 200.0


@pytest.mark.slow
def test_a_model_that_was_saved_without_its_tokenizer_is_served(tmp_path: Path) -> None:
    transformers: Any = import_module("transformers")
    base = make_tiny_model(tmp_path / "models" / "tiny")
    local = {"provider": "huggingface", "models": str(base.parent), "python": sys.executable, "device": "cpu"}
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    with registry.open(tmp_path / "me@home", background=False) as tenure:
        tenure.apply({"connections": {"local": local}, "scheduler": {"poll": "50ms"}})
        with tenure.new_version("support-bot", connection="local") as version:
            model.save_pretrained(version.directory, safe_serialization=True)
        assert tenure.version(version.ref).state == "trained"
        assert (version.directory / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
        assert tenure.activate(version).wait(timeout_s=WAIT_S).state == "active"
        tenure.retire(version.ref)
        (serving,) = tenure.deployments()
        tenure.undeploy(serving.id)
        tenure.reconcile()
        assert tenure.deployment(serving.id).state == "deleted"
