"""Rows in a provider's own form, as dpo and reinforcement need them: counted, kept, handed on unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.application.ports import DataSource
from registry.domain.errors import BadInputError
from registry.store.training_data import HomeTrainingData

ROW = '{"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []}'


def test_rows_are_kept_byte_by_byte(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text(f"{ROW}\n" * 10)
    checked = HomeTrainingData(tmp_path).prepare(DataSource(train=train, validation=train, as_is=True), rows_min=10)
    assert (checked.train.rows, checked.train.name) == (10, "train.jsonl")
    assert checked.train == checked.validation
    assert (tmp_path / str(checked.train.path)).read_bytes() == train.read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{ROW}\n" * 3, "3 rows; at least 10"),
        (f"{ROW}\nno json\n" + f"{ROW}\n" * 9, "train.jsonl, row 2: is not a JSON object"),
        (f"{ROW}\n" * 10 + "[1]\n", "row 11: is not a JSON object"),
    ],
)
def test_what_is_no_json_lines_of_objects_is_refused(tmp_path: Path, text: str, words: str) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text(text)
    with pytest.raises(BadInputError, match=words):
        HomeTrainingData(tmp_path).prepare(DataSource(train=train, as_is=True), rows_min=10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.jsonl"):
        HomeTrainingData(tmp_path).prepare(DataSource(train=tmp_path / "none.jsonl", as_is=True), rows_min=1)


def test_columns_of_other_names_are_refused_with_how_to_name_them(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("question,answer\n" + "a,b\n" * 12)
    with pytest.raises(
        BadInputError, match="column prompt: there is no such column; there are: question, answer"
    ) as bad:
        HomeTrainingData(tmp_path).prepare(DataSource(train=train), rows_min=1)
    assert bad.value.hint == "say which columns hold them: prompt_column, completion_column (--prompt-column C)"
