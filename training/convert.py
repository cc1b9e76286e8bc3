"""Turn a base model into a folder of safetensors: `python -m training.convert SOURCE OUT`.

SOURCE is a GGUF file, whose weights are dequantised to float32, or the id of a model on the Hugging Face Hub. A
program of its own, because only this package imports transformers. OUT must not exist; the caller renames it in place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:  # noqa: PLR2004 - SOURCE and OUT
        sys.stderr.write("usage: python -m training.convert SOURCE OUT\n")
        return 2
    source, out = arguments[0], Path(arguments[1])
    if source.endswith(".gguf"):
        from_gguf(Path(source), out)
    else:
        from_hub(source, out)
    return 0


def from_gguf(file: Path, out: Path) -> None:
    """Reads the file alone: tokenizer, chat template and configuration are in it. Takes 20 s and 1.2 GB for SmolLM2."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizers: Any = AutoTokenizer
    models: Any = AutoModelForCausalLM
    tokenizer = tokenizers.from_pretrained(file.parent, gguf_file=file.name)
    model = models.from_pretrained(file.parent, gguf_file=file.name)
    # Loaded from GGUF the model still counts as quantised, and transformers refuses to save such a one.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)


def from_hub(name: str, out: Path) -> None:
    import huggingface_hub

    hub: Any = huggingface_hub
    hub.snapshot_download(name, local_dir=out, allow_patterns=HUB_FILES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
