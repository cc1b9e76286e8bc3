"""Opening a local connection: its settings, its base models, and what `tenure connections test` says of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from providers.errors import RejectedError
from providers.huggingface import environment
from providers.huggingface.base_models import find_base_model
from providers.huggingface.folders import last_words, make_folder
from providers.huggingface.settings import Settings, settings_of
from providers.optional import Completing
from providers.ports import Connection
from tests.providers.huggingface.local_harness import LocalHarness
from tests.providers.huggingface.stand_in import make_model
from training.log import tail


def settings(folder: Path, **given: object) -> Settings:
    return settings_of(Connection(name="local", provider="huggingface", settings=given, registry="r1", folder=folder))


def test_a_connection_needs_no_setting(tmp_path: Path) -> None:
    assert settings(tmp_path) == Settings(models=tmp_path / "models", python=Path(sys.executable))


def test_paths_may_begin_with_a_tilde_and_an_interpreter_may_be_a_command(tmp_path: Path) -> None:
    found = settings(tmp_path, models="~/models", python="sh", downloads=True, device="cuda", engine="vllm")
    assert found.models == Path.home() / "models"
    assert str(found.python) == shutil.which("sh")
    assert (found.downloads, found.device, found.engine) == (True, "cuda", "vllm")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("models", "relative"),
        ("models", 3),
        ("models", "~no-such-user/models"),
        ("python", "no-such-command"),
        ("python", "bin/python"),
        ("downloads", "yes"),
        ("device", "tpu"),
        ("engine", "ollama"),
        ("fine_tuning", 1),
        ("colour", "blue"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(RejectedError, match=f"local: .*{key}"):
        settings(tmp_path, **{key: value})


def test_every_fault_of_the_settings_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match=r"colour.*device.*engine"):
        settings(tmp_path, colour="blue", device="tpu", engine="ollama")


def test_base_models_are_folders_by_name(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "tiny")
    make_model(tmp_path / "models" / "org" / "small")
    make_model(tmp_path / "models" / "models--acme--cached--1" / "snapshots" / "0a1b")
    (tmp_path / "models" / "models--acme--empty" / "snapshots").mkdir(parents=True)
    (tmp_path / "models" / ".hidden").mkdir()
    (tmp_path / "models" / "notes.txt").touch()
    found = settings(tmp_path)
    assert find_base_model(found, "tiny") == str(tmp_path / "models" / "tiny")
    assert find_base_model(found, "org/small") == str(tmp_path / "models" / "org" / "small")
    assert find_base_model(found, "acme/cached/1").endswith("snapshots/0a1b")


def test_a_missing_base_model_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match="does not exist; downloads are off"):
        find_base_model(settings(tmp_path), "gone")
    (tmp_path / "models").mkdir()
    with pytest.raises(RejectedError, match="it is empty"):
        find_base_model(settings(tmp_path), "gone")
    make_model(tmp_path / "models" / "tiny")
    with pytest.raises(RejectedError, match="there are: tiny"):
        find_base_model(settings(tmp_path), "gone")


@pytest.mark.parametrize("name", ["..", "../models/tiny", "/", ""])
def test_a_path_is_no_name_of_a_base_model(tmp_path: Path, name: str) -> None:
    make_model(tmp_path / "models" / "tiny")
    with pytest.raises(RejectedError, match="no base model"):
        find_base_model(settings(tmp_path, downloads=True), name)


def test_a_base_model_that_is_not_there_is_left_to_the_hub_where_downloads_are_allowed(tmp_path: Path) -> None:
    assert find_base_model(settings(tmp_path, downloads=True), "org/large") == "org/large"
    with pytest.raises(RejectedError, match=r"does not exist$"):
        find_base_model(settings(tmp_path, downloads=True), "no-organisation")


def test_a_base_model_that_is_no_causal_language_model_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "bert")
    (tmp_path / "models" / "bert" / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(RejectedError, match="BertModel is not a causal language model"):
        find_base_model(settings(tmp_path), "bert")


def test_a_connection_that_cannot_work_says_what_to_do(harness: LocalHarness) -> None:
    connection = harness.connect(models="/no/such/models", python="/no/such/python", device="cuda", engine="vllm")
    checks = {one.name: one for one in connection.check()}
    assert not any(checks[name].passed for name in ("base models", "code environment", "device", "engine"))
    assert all(one.remedy for one in checks.values() if not one.passed)
    assert "/no/such/python" in checks["code environment"].detail
    assert harness.connect(models="/no/such/models", downloads=True).check()[0].passed


def test_a_disk_that_is_full_is_seen_before_a_training_run_finds_out(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.huggingface.provider.FREE_BYTES_MIN", 10**18)
    disk = harness.connect().check()[-1]
    assert (disk.name, disk.passed) == ("disk", False)
    assert disk.remedy


@pytest.mark.parametrize(
    ("script", "error"),
    [("echo no torch >&2; exit 3", "exit code 3: no torch"), ("echo {", "Expecting"), ("echo '{\"x\": 1}'", "x")],
)
def test_an_interpreter_that_answers_nonsense_is_reported_and_raises_nothing(
    harness: LocalHarness, script: str, error: str
) -> None:
    harness.interpreter.write_text(f"#!/bin/sh\n{script}\n")
    found = environment.inspect(harness.connect().settings, harness.connection.folder)
    assert found.torch is None
    assert error in str(found.error)


def test_our_training_package_follows_an_upgrade(harness: LocalHarness) -> None:
    given = harness.connect().settings
    stale = harness.connection.folder / "code" / "training"
    stale.parent.mkdir(parents=True)
    stale.symlink_to(harness.folder)
    code = Path(environment.child_environment(given, harness.connection.folder)["PYTHONPATH"])
    assert [one.name for one in code.iterdir()] == ["training"]
    assert (code / "training" / "contract.py").is_file()
    assert environment.child_environment(given, harness.connection.folder)["PYTHONPATH"] == str(code)


def test_our_training_package_is_found_in_a_copy_of_a_home_that_did_not_keep_links(harness: LocalHarness) -> None:
    given, copied = harness.connect().settings, harness.connection.folder / "code" / "training"
    (copied / "below").mkdir(parents=True)
    code = Path(environment.child_environment(given, harness.connection.folder)["PYTHONPATH"])
    assert (code / "training").is_symlink()
    assert (code / "training" / "contract.py").is_file()


def test_a_folder_is_made_whole_and_only_once(tmp_path: Path) -> None:
    made = make_folder(tmp_path, "job-1", {"record.json": {"n": 1}})
    assert make_folder(tmp_path, "job-1", {"record.json": {"n": 2}}) == made
    assert json.loads((made / "record.json").read_text()) == {"n": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["job-1"]


def test_the_tail_of_a_log_shows_a_progress_bar_as_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert tail(log, lines=3) == []
    assert last_words(log) == "it printed nothing"
    log.write_bytes(b"x" * 100_000 + b"\nLoading\n 1%\r 50%\r100%\r\n\nValueError: bad\nbye \xff\n")
    assert tail(log, lines=4) == ["Loading", "100%", "ValueError: bad", "bye \N{REPLACEMENT CHARACTER}"]
    assert last_words(log) == "ValueError: bad"
    log.write_text("only this\n")
    assert last_words(log) == "only this"


# Models that were saved by hand


def shaped(folder: Path, vocab_size: int, *, tokenizer: str | None = None) -> Path:
    make_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": vocab_size}))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    return folder


@pytest.mark.parametrize(
    ("base_model", "vocab_size", "tokenizer"),
    [
        (None, 100, "small's"),
        ("small", 100, "small's"),
        ("wide", 100, "wide's"),
        ("unknown", 100, None),
        (None, 999, None),
        (None, 500, None),
    ],
    ids=["its shape is one's", "named", "another is named", "named and not here", "nobody's shape", "the shape of two"],
)
def test_a_model_that_was_saved_alone_gets_the_tokenizer_of_its_base_model(
    harness: LocalHarness, tmp_path: Path, base_model: str | None, vocab_size: int, tokenizer: str | None
) -> None:
    models = harness.folder / "models"
    shaped(models / "small", 100, tokenizer="small's")
    shaped(models / "wide", 500, tokenizer="wide's")
    shaped(models / "also-wide", 500, tokenizer="also wide's")
    saved = shaped(tmp_path / "saved", vocab_size)
    artifacts = harness.connect().artifacts
    assert isinstance(artifacts, Completing)
    artifacts.complete(str(saved), base_model)
    file = saved / "tokenizer.json"
    assert (file.read_text() if file.exists() else None) == tokenizer


def test_a_tokenizer_that_was_saved_stays_and_a_folder_without_a_model_is_left_alone(
    harness: LocalHarness, tmp_path: Path
) -> None:
    shaped(harness.folder / "models" / "small", 100, tokenizer="small's")
    artifacts = harness.connect().artifacts
    assert isinstance(artifacts, Completing)
    saved = shaped(tmp_path / "saved", 100, tokenizer="its own")
    artifacts.complete(str(saved), None)
    assert (saved / "tokenizer.json").read_text() == "its own"
    artifacts.complete(str(tmp_path / "nothing"), "small")
    assert not (tmp_path / "nothing").exists()


def test_a_model_from_elsewhere_whose_weights_are_no_numbers_is_refused(harness: LocalHarness) -> None:
    model = harness.model()
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x7f")
    with pytest.raises(RejectedError, match="the tensor w holds NaN or infinity"):
        harness.connect().artifacts.get(str(model))
