"""Model folders that must be refused, each beside the whole one that is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from training import weights
from training.artifact import (
    ArtifactError,
    add_tokenizer,
    check_base_model,
    check_model_folder,
    check_trained,
    verify_manifest,
)
from training.contract import Digest, Manifest, ManifestFile, manifest_of

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def tensor(begin: int, end: int, *, dtype: str = "F32", shape: list[Any] | None = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def safetensors(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def model_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    header = {"__metadata__": {"format": "pt"}, "a": tensor(0, 8), "b": tensor(8, 16)}
    (folder / "model.safetensors").write_bytes(safetensors(header, bytes(16)))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def sharded(folder: Path, weight_map: dict[str, object] | None = None) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors({"c": tensor(0, 4)}, bytes(4)))
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    full = {**names, "c": "model-00002-of-00002.safetensors"} if weight_map is None else weight_map
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": full}))


def refused(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        check_model_folder(folder)
    return str(caught.value)


def test_a_whole_folder_is_accepted(folder: Path) -> None:
    check_model_folder(folder)
    check_base_model(folder)


def test_what_transformers_wrote_is_accepted(base_model: Path) -> None:
    check_model_folder(base_model)


def test_sharded_weights_that_are_all_there_are_accepted(folder: Path) -> None:
    sharded(folder)
    check_model_folder(folder)


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_refused_with_what_to_do(folder: Path, *, alone: bool) -> None:
    if alone:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert refused(folder).startswith(
        "adapter_config.json: is an adapter's, and only whole models are served; merge it"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_with_nothing_in_it_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert refused(folder) == f"{name}: is empty"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refused(folder) == f"{name}: is a folder, and should be a file"


NOT_A_NUMBER, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (dtype, value)
        for dtype in ("float64", "float32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")
        for value in (NOT_A_NUMBER, -NOT_A_NUMBER, INFINITE, -INFINITE)
        if not (dtype == "float8_e4m3fn" and math.isinf(value))  # which it has not
    ],
)
def test_weights_that_are_no_numbers_are_found_in_every_type(folder: Path, dtype: str, value: float) -> None:
    torch: Any = import_module("torch")
    save: Any = import_module("safetensors.torch").save_file
    kind = getattr(torch, dtype)
    most = torch.finfo(kind).max
    good = {"a": torch.tensor([0.0, 1.0, most, -most], dtype=torch.float64).to(kind), "count": torch.full((3,), -1)}
    save(good, folder / "model.safetensors")
    check_trained(folder)

    save(good | {"b": torch.tensor([1.0, value], dtype=torch.float64).to(kind)}, folder / "model.safetensors")
    check_model_folder(folder)
    with pytest.raises(ArtifactError, match=r"model.safetensors: the tensor b holds NaN or infinity"):
        check_trained(folder)


def test_weights_are_looked_through_to_their_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_CHUNK_BYTES", 8)
    data = struct.pack("<7f", *[1.0] * 6, INFINITE)
    (folder / "model.safetensors").write_bytes(safetensors({"a": tensor(0, 28)}, data))
    with pytest.raises(ArtifactError, match="the tensor a holds NaN or infinity"):
        check_trained(folder)


def test_a_file_whose_name_is_no_text_is_refused_by_its_bytes(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/x\xff.json")).write_text("{}")
    with pytest.raises(ArtifactError, match=r"b'x\\xff.json': is a name that is not UTF-8"):
        check_trained(folder)


def test_an_older_causal_model_is_accepted(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    check_model_folder(folder)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refused(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="is not a folder"):
        check_base_model(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pt", "x.pth", "x.pkl", "x.ckpt", "sub/training_args.BIN"])
def test_a_file_named_as_a_pickle_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"harmless")
    assert refused(folder).startswith(f"{name}: may hold a pickle")


@pytest.mark.parametrize("content", [pickle.dumps({}, protocol=number) for number in (2, 3, 4, 5)] + [b"PK\x03\x04zip"])
def test_a_pickle_under_another_name_is_refused(folder: Path, content: bytes) -> None:
    (folder / "notes.txt").write_bytes(content)
    assert refused(folder).startswith("notes.txt: may hold a pickle")


def test_pickles_beside_a_base_models_safetensors_are_let_be(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    check_base_model(folder)


def test_links_that_leave_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder / "README.md").symlink_to("config.json")
    check_model_folder(folder)
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    assert refused(folder) == "notes.txt: leads outside the folder"


def test_a_linked_folder_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").symlink_to(tmp_path)
    assert refused(folder) == "sub: leads outside the folder"


def test_a_link_to_nothing_is_refused(folder: Path) -> None:
    (folder / "gone").symlink_to("nowhere")
    assert refused(folder) == "gone: is a link to nothing"


def test_what_is_no_regular_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refused(folder) == "pipe: is not a regular file"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "adapter_config.json"])
@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_a_folder_that_needs_its_own_code_is_refused(folder: Path, name: str, key: str) -> None:
    (folder / name).write_text(json.dumps({**LLAMA, key: {"AutoModel": "modeling.Mine"}}))
    assert refused(folder).startswith(f"{name}: has {key}")


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({}, "names no architecture"),
        ({"architectures": "LlamaForCausalLM"}, "names no architecture"),
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM is not a causal language model"),
        ({"architectures": [3]}, "3 is not a causal language model"),
        ([], "is not a JSON object"),
    ],
)
def test_what_is_not_a_causal_language_model_is_refused(folder: Path, config: object, fault: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    assert refused(folder).startswith("config.json: ")
    assert fault in refused(folder)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b'{"a":' * 100_000])
def test_a_config_that_is_not_json_is_refused(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    assert refused(folder).startswith("config.json: is not JSON")


def test_a_config_of_absurd_size_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.artifact.JSON_BYTES_MAX", 10)
    assert refused(folder) == "config.json: is larger than 10 bytes"


def test_a_missing_config_or_missing_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refused(folder) == "model.safetensors: is missing"
    (folder / "config.json").unlink()
    assert refused(folder) == "config.json: is missing"


@pytest.mark.parametrize("length", [*range(1, 8), 20, 150, -1])
def test_a_truncated_file_is_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert refused(folder).startswith("model.safetensors: is truncated")


def test_a_header_over_the_formats_cap_is_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 100_000_001) + b"{}")
    assert "more than the 100000000 that the format allows" in refused(folder)


@pytest.mark.parametrize(
    ("header", "data", "fault"),
    [
        (b"{nonsense", b"", "header is not JSON"),
        (b"[1]", b"", "header is not a JSON object"),
        (b'{"a": 1, "a": 2}', b"", "a name stands twice"),
        (b"\xff\xff", b"", "header is not JSON"),
        ({}, b"", "holds no tensor"),
        ({"a": 1}, b"", "the tensor a has no valid dtype"),
        ({"a": tensor(0, 4, dtype="F99")}, bytes(4), "the tensor a has no valid dtype"),
        ({"a": tensor(0, 4, shape=[-1])}, bytes(4), "the tensor a has no valid dtype"),
        ({"a": tensor(0, 4, shape=[True])}, bytes(4), "the tensor a has no valid dtype"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, bytes(4), "the tensor a has no valid dtype"),
        ({"a": tensor(0, 4, shape=[2])}, bytes(4), "which its dtype and shape contradict"),
        ({"a": tensor(4, 0, shape=[1])}, bytes(4), "which its dtype and shape contradict"),
        ({"a": tensor(4, 8)}, bytes(8), "starts at byte 4 of the data where 0 is due"),
        ({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12), "starts at byte 4 of the data where 8 is due"),
        ({"a": tensor(0, 4)}, bytes(5), "1 bytes that belong to no tensor"),
        ({"a": tensor(0, 8)}, bytes(4), "is truncated"),
    ],
)
def test_a_header_that_lies_is_refused(folder: Path, header: object, data: bytes, fault: str) -> None:
    (folder / "model.safetensors").write_bytes(safetensors(header, data))
    assert refused(folder).startswith("model.safetensors: ")
    assert fault in refused(folder)


def test_a_second_weights_file_is_checked_too(folder: Path) -> None:
    (folder / "extra.safetensors").write_bytes(b"short")
    assert refused(folder).startswith("extra.safetensors: is truncated")


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "..", "", 3, "a\\b"])
def test_an_index_that_leads_outside_the_folder_is_refused(folder: Path, file: object) -> None:
    sharded(folder, {"a": file})
    assert "which is not a file of this folder" in refused(folder)


def test_a_missing_shard_a_missing_tensor_and_an_empty_index_are_refused(folder: Path) -> None:
    sharded(folder, {"a": "model-00003-of-00003.safetensors"})
    assert refused(folder) == "model-00003-of-00003.safetensors: is missing"
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"z": "model-00001-of-00002.safetensors"}})
    )
    assert "lacks the tensor z" in refused(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    assert refused(folder) == "model.safetensors.index.json: has no weight_map"


def test_a_folder_is_as_its_manifest_says(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "notes.txt").write_text("x")
    verify_manifest(folder, manifest_of(folder))


def test_any_difference_from_the_manifest_is_named(folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(folder)

    def fault() -> str:
        with pytest.raises(ArtifactError) as caught:
            verify_manifest(folder, manifest)
        return str(caught.value)

    (folder / "new.txt").write_text("x")
    assert fault() == "new.txt: is in the folder and not in the manifest"
    (folder / "new.txt").unlink()
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"\x01")
    assert fault().startswith("model.safetensors: has changed")
    (folder / "model.safetensors").unlink()
    assert fault() == "model.safetensors: is in the manifest and not in the folder"
    (tmp_path / "away").write_bytes(weights)
    (folder / "model.safetensors").symlink_to(tmp_path / "away")
    assert fault() == "model.safetensors: leads outside the folder"


def test_a_manifest_that_lies_about_itself_is_refused(folder: Path) -> None:
    manifest = manifest_of(folder)
    with pytest.raises(ArtifactError, match="its digest is not that of its files"):
        verify_manifest(folder, dataclasses.replace(manifest, digest=Digest("sha256:00")))
    outside = ManifestFile(path="../x", size_bytes=1, sha256="00")
    with pytest.raises(ArtifactError, match="outside the folder"):
        verify_manifest(folder, Manifest(files=(outside,), digest=manifest.digest))


def test_a_model_without_a_tokenizer_gets_the_base_models(folder: Path, base_model: Path, tmp_path: Path) -> None:
    assert add_tokenizer(folder, base_model)
    assert (folder / "tokenizer.json").read_bytes() == (base_model / "tokenizer.json").read_bytes()
    assert (folder / "chat_template.jinja").is_file()
    assert not add_tokenizer(folder, base_model)
    assert not add_tokenizer(model_folder(tmp_path / "other"), tmp_path / "nothing")
