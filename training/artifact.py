"""What a model folder must be before anybody loads it: safetensors and JSON, whole, and nothing that runs.

A fine-tuned model is data from outside, so it is checked after training, before each deployment and on import, without
torch and without reading the weights. A pickle runs code when it is loaded (https://docs.python.org/3/library/pickle.html),
`auto_map` makes transformers import code from the folder, and a link can show files that are not the model's.
The weights' format: https://huggingface.co/docs/safetensors (`training.weights` reads it).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, cast

from training.contract import Manifest, manifest_of
from training.weights import WeightsError, check_numbers, tensor_names

PICKLE_SUFFIXES: Final = frozenset(
    {".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
)
PICKLE_MAGICS: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""Pickle protocols 2 to 5, and the zip archive that torch.save wraps one in."""

JSON_BYTES_MAX: Final = 256 * 1024 * 1024
CAUSAL_NAMES: Final = frozenset({"GPT2LMHeadModel", "OpenAIGPTLMHeadModel"})
"""Causal language models that are older than the name ForCausalLM."""

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FILES_ONLY: Final = frozenset({".json", ".safetensors"})
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER: Final = "adapter_model.safetensors"
_TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)

_SHAPE: Final = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "bos_token_id", "eos_token_id")


class ArtifactError(Exception):
    """A model folder is not what it must be. The message names the file and the fault."""


def check_model_folder(folder: Path) -> None:
    """Raises ArtifactError at the first fault. Reads headers and JSON only, so a large model takes milliseconds.

    An adapter is refused: what it would answer is up to a base model elsewhere, and `transformers serve` loads none
    (docs/decisions/0003).
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is not a folder")
    for path in _entries(folder):
        _check_entry(folder, path)
    _check_no_code(folder)
    if (folder / ADAPTER_CONFIG).exists():
        raise ArtifactError(
            f"{ADAPTER_CONFIG}: is an adapter's, and only whole models are served; merge it into its base model "
            "(peft: model.merge_and_unload()) and save that"
        )
    check_architecture(folder)
    check_weights(folder)
    for path in sorted(folder.rglob("*.safetensors")):
        _check_tensors(folder, str(path.relative_to(folder)))


def is_adapter(folder: Path) -> bool:
    """Whether it holds an adapter and no model beside it."""
    alone = not (folder / "config.json").exists()
    return alone and (folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER).is_file()


def check_trained(folder: Path) -> None:
    """As `check_model_folder`, and that the weights are numbers. Reads all of them."""
    check_model_folder(folder)
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            check_numbers(path)
        except WeightsError as exc:
            raise ArtifactError(f"{path.relative_to(folder)}: {exc}") from exc


def check_base_model(folder: Path) -> None:
    """A folder to start from: a causal language model in safetensors that needs no code of its own.

    Laxer than `check_model_folder`: the Hub's cache is made of links, and pickles may lie beside the safetensors (they
    are not loaded).
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is not a folder")
    _check_no_code(folder)
    check_architecture(folder)
    check_weights(folder)


def check_architecture(folder: Path) -> None:
    """Raises ArtifactError unless config.json says that this is a causal language model."""
    architectures = _json(folder, "config.json").get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise ArtifactError(
            "config.json: names no architecture, so it cannot be told whether this is a causal language model"
        )
    for name in cast("list[object]", architectures):
        if not isinstance(name, str) or not (name.endswith("ForCausalLM") or name in CAUSAL_NAMES):
            raise ArtifactError(f"config.json: {name} is not a causal language model")


def check_weights(folder: Path) -> None:
    """Raises ArtifactError unless the weights, in one file or sharded by an index, are all there and whole."""
    if not (folder / _INDEX).exists():
        _check_tensors(folder, _SINGLE)
        return
    weight_map = _json(folder, _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArtifactError(f"{_INDEX}: has no weight_map")
    shards: dict[str, set[str]] = {}
    for tensor, file in cast("dict[str, object]", weight_map).items():
        if not isinstance(file, str) or "/" in file or "\\" in file or file in {"", ".", ".."}:
            raise ArtifactError(f"{_INDEX}: {tensor} is in {file!r}, which is not a file of this folder")
        shards.setdefault(file, set()).add(tensor)
    for file, tensors in sorted(shards.items()):
        missing = sorted(tensors - _check_tensors(folder, file))
        if missing:
            raise ArtifactError(f"{file}: lacks the tensor {missing[0]} that {_INDEX} says it has")


def verify_manifest(folder: Path, manifest: Manifest) -> None:
    """Raises ArtifactError unless the folder holds exactly what its manifest says, byte for byte. Reads all of it."""
    expected = {one.path: one for one in manifest.files}
    for path in expected:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ArtifactError(f"{path}: the manifest names a path outside the folder")
    for path in _entries(folder):
        _check_inside(folder, path)
    actual = manifest_of(folder)
    present = {one.path: one for one in actual.files}
    for path in sorted(expected.keys() | present.keys()):
        if path not in present:
            raise ArtifactError(f"{path}: is in the manifest and not in the folder")
        if path not in expected:
            raise ArtifactError(f"{path}: is in the folder and not in the manifest")
        if present[path] != expected[path]:
            raise ArtifactError(f"{path}: has changed since the manifest was written (SHA-256 differs)")
    if actual.digest != manifest.digest:
        raise ArtifactError("manifest.json: its digest is not that of its files")


def add_tokenizer(folder: Path, base_model: Path) -> bool:
    """Copy the base model's tokenizer into a model folder that has none, so that it can be served. True when it did."""
    if any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        return False
    found = [base_model / name for name in _TOKENIZER_FILES if (base_model / name).is_file()]
    for path in found:
        shutil.copyfile(path, folder / path.name)
    return bool(found)


def shape_of(folder: Path) -> Sequence[object]:
    """What a model and its base model have in common, by their config.json; empty where that does not say."""
    try:
        config = _json(folder, "config.json")
    except ArtifactError:
        return ()
    return [config.get(key) for key in _SHAPE] if "vocab_size" in config else ()


def _entries(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in sorted((*folders, *files)))


def _check_inside(folder: Path, path: Path) -> None:
    name = path.relative_to(folder)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{name}: leads outside the folder")
    if not path.exists():
        raise ArtifactError(f"{name}: is a link to nothing")


def _check_entry(folder: Path, path: Path) -> None:
    name = path.relative_to(folder)
    try:
        str(name).encode()
    except UnicodeEncodeError:
        raise ArtifactError(f"{os.fsencode(name)!r}: is a name that is not UTF-8; give it another") from None
    _check_inside(folder, path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        if path.suffix in _FILES_ONLY:
            raise ArtifactError(f"{name}: is a folder, and should be a file")
        return
    if path.suffix in _FILES_ONLY and path.stat().st_size == 0:
        raise ArtifactError(f"{name}: is empty")
    if not stat.S_ISREG(mode):
        raise ArtifactError(f"{name}: is not a regular file")
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix.lower() in PICKLE_SUFFIXES or start.startswith(PICKLE_MAGICS):
        raise ArtifactError(
            f"{name}: may hold a pickle, which runs code when it is loaded; save weights as safetensors"
        )


def _check_no_code(folder: Path) -> None:
    for path in sorted(folder.glob("*config.json")):
        config = _json(folder, path.name)
        for key in ("auto_map", "trust_remote_code", "custom_pipelines"):
            if config.get(key):
                raise ArtifactError(
                    f"{path.name}: has {key}, so it needs code from the folder (trust_remote_code), which is never run"
                )


def _check_tensors(folder: Path, name: str) -> set[str]:
    try:
        return tensor_names(folder / name)
    except FileNotFoundError:
        raise ArtifactError(f"{name}: is missing") from None
    except WeightsError as exc:
        raise ArtifactError(f"{name}: {exc}") from exc


def _json(folder: Path, name: str) -> Mapping[str, object]:
    path = folder / name
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise ArtifactError(f"{name}: is larger than {JSON_BYTES_MAX} bytes")
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{name}: is missing") from None
    except (ValueError, RecursionError) as exc:
        raise ArtifactError(f"{name}: is not JSON ({exc})") from exc
    if not isinstance(raw, dict):
        raise ArtifactError(f"{name}: is not a JSON object")
    return cast("dict[str, object]", raw)
