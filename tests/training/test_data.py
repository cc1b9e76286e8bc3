from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.tiny_model import write_rows
from training.data import IGNORED, padding_free_pays, tokenise
from training.report import RunFaultError


@pytest.fixture
def tokenizer(base_model: Path) -> Any:
    hf: Any = transformers
    return hf.AutoTokenizer.from_pretrained(base_model)


def test_only_the_completion_is_learned(tmp_path: Path, tokenizer: Any) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    tokens = tokenise(rows, tokenizer, max_length=256, cache=tmp_path / "cache")
    assert len(tokens.dataset) == 4
    rows_of_ids: Any = tokens.dataset
    for row, length in zip(rows_of_ids, tokens.lengths, strict=True):
        ids, labels = row["input_ids"], row["labels"]
        learned = [token for token in labels if token != IGNORED]
        assert tokenizer.decode(learned).startswith("it has shipped")
        assert tokenizer.decode(learned).endswith("<|im_end|>\n")
        assert ids[-len(learned) :] == learned
        assert tokenizer.decode(ids[: -len(learned)]).endswith("<|im_start|>assistant\n")
        assert len(ids) == len(labels) == length


def test_the_tokens_are_those_that_trl_would_make(tmp_path: Path, tokenizer: Any, base_model: Path) -> None:
    import datasets
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    hf: Any = datasets

    rows = write_rows(tmp_path / "rows.jsonl", 8)
    ours = tokenise(rows, tokenizer, max_length=40, cache=tmp_path / "cache").dataset
    config = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, max_length=40
    )
    raw = hf.Dataset.from_json(str(rows), cache_dir=str(tmp_path / "hf"))
    trainer: Any = SFTTrainer(str(base_model), args=config, train_dataset=raw, processing_class=tokenizer)
    theirs = trainer.train_dataset
    assert ours["input_ids"][:] == theirs["input_ids"][:]
    assert ours["labels"][:] == theirs["labels"][:]


def test_rows_are_cut_and_those_without_a_completion_left_are_left_out(tmp_path: Path, tokenizer: Any) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    rows.write_text(rows.read_text() + "\n", "utf-8")
    whole = tokenise(rows, tokenizer, max_length=256, cache=tmp_path / "whole")
    shortest, longest = min(whole.lengths), max(whole.lengths)
    cut = tokenise(rows, tokenizer, max_length=shortest, cache=tmp_path / "cut")
    assert longest > shortest
    assert max(cut.lengths) == shortest
    assert 0 < len(cut.dataset) < 4


def test_a_set_that_no_row_of_fits_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    with pytest.raises(RunFaultError, match=r"no row of rows\.jsonl has a completion within max_length=8 tokens"):
        tokenise(rows, tokenizer, max_length=8, cache=tmp_path / "cache")


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(RunFaultError, match="no chat template"):
        tokenise(write_rows(tmp_path / "rows.jsonl", 4), tokenizer, max_length=256, cache=tmp_path / "cache")


def test_rows_of_different_length_are_laid_end_to_end_and_long_equal_ones_padded() -> None:
    smollm2 = {"parameters": 135_000_000, "width": 576, "layers": 30}
    assert padding_free_pays([16, 500, 40, 300, 20, 90, 16, 200] * 4, batch=8, **smollm2)
    assert not padding_free_pays([1024] * 32, batch=8, **smollm2)
    assert not padding_free_pays([100] * 8, batch=1, **smollm2)
