"""What is asked of whole files and of two sets together: their kind, size, rows, repetitions and tokens."""

from __future__ import annotations

import builtins
import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from registry.domain.errors import BadInputError, UnavailableError
from registry.store.datasets import Columns, DataFault, check, tokens
from tests.datasets.files import ROWS, checked, csv_file, faults, json_file, raw_file, turn


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("train.csv", b"", "empty-file"),
        ("train.csv", b"\n\n", "empty-file"),
        ("train.jsonl", b"\xef\xbb\xbf \n", "empty-file"),
        ("train.parquet", b"", "empty-file"),
        ("train.csv", b"prompt,completion", "no-rows"),
        ("train.csv", b"prompt,completion\n\n\n", "no-rows"),
        ("train.csv", bytes(range(256)) * 40, "binary"),
        ("train.csv", b"PK\x03\x04 and so on", "binary"),
        ("train.csv", "prompt,completion\na,b\n".encode("utf-16"), "binary"),
        ("train.csv", "prompt,completion\na,b\n".encode("utf-16-le"), "binary"),
        ("train.jsonl", gzip.compress(b"{}", mtime=0), "binary"),
        ("train.csv.gz", gzip.compress(b"prompt,completion\n" * 50, mtime=0)[:-12], "corrupt"),
        ("train.csv.gz", b"prompt,completion\n", "corrupt"),
        ("train.xlsx", b"x", "format"),
        ("train", b"x", "format"),
        ("train.gz", b"x", "format"),
        ("train.parquet.gz", b"x", "format"),
    ],
)
def test_a_file_that_is_no_data_is_one_fault(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    assert faults(raw_file(tmp_path / name, content)) == [(None, None, kind)]


def test_missing_files_and_folders_are_faults_of_both_sets(tmp_path: Path) -> None:
    report = checked(tmp_path / "none.csv", tmp_path)
    assert [fault.message for fault in report.faults] == ["there is no such file", "is a folder, not a file"]
    assert (report.train.rows, report.train.sha256) == (0, "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    assert faults(tmp_path / "train.csv") == [(None, None, "file")]


def test_a_file_that_cannot_be_opened_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = csv_file(tmp_path / "train.csv", ROWS)

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert [fault.message for fault in checked(file).faults] == ["cannot be read: Permission denied"]


def test_too_few_rows_are_named_with_what_is_needed(tmp_path: Path) -> None:
    report = check(csv_file(tmp_path / "train.csv", ROWS), None, Columns(), rows_min=10)
    assert [str(fault) for fault in report.faults] == [f"{tmp_path}/train.csv: has 2 rows; at least 10 are needed"]


def test_a_small_validation_set_is_no_fault(tmp_path: Path) -> None:
    train, validation = csv_file(tmp_path / "t.csv", ROWS), csv_file(tmp_path / "v.csv", [("x", "y")])
    assert check(train, validation, Columns(), rows_min=2).ok


def test_too_large_a_file_is_named_by_its_uncompressed_size(tmp_path: Path) -> None:
    packed = raw_file(tmp_path / "train.csv.gz", gzip.compress(b"prompt,completion\n" + b"a,b\n" * 1000))
    report = check(packed, None, Columns(), size_bytes_max=4000)
    assert [fault.message for fault in report.faults] == ["holds 4,018 bytes; at most 4,000 are taken"]
    assert check(packed, None, Columns(), size_bytes_max=4018).ok


def test_rows_that_repeat_earlier_ones_are_warnings(tmp_path: Path) -> None:
    report = checked(csv_file(tmp_path / "train.csv", [*ROWS, ROWS[0], ("Hi", "Hello?"), ROWS[0]]))
    assert report.ok
    assert report.train.duplicates == 2
    assert [(fault.row, fault.message) for fault in report.warnings] == [(3, "repeats row 1"), (5, "repeats row 1")]
    assert report.warnings_total == 2


def test_rows_at_fault_are_not_compared(tmp_path: Path) -> None:
    report = checked(csv_file(tmp_path / "t.csv", [("", "a"), ("", "b")]), csv_file(tmp_path / "v.csv", [("", "a")]))
    assert {fault.kind for fault in report.faults} == {"missing-value"}
    assert report.warnings_total == 0


def test_rows_that_stand_in_both_sets_are_faults_whatever_the_format(tmp_path: Path) -> None:
    train = csv_file(tmp_path / "train.csv", [("a", "b", ""), ("c", "d", "e")], ("prompt", "completion", "system"))
    chats = [
        {"messages": [turn("user", "a"), turn("assistant", "x")]},
        {"messages": [turn("system", "e"), turn("user", "c"), turn("assistant", "d")]},
        {"messages": [turn("user", "c"), turn("assistant", "d")]},
        {"prompt": "a", "completion": "b"},
    ]
    report = checked(train, json_file(tmp_path / "validation.jsonl", chats))
    assert [(fault.row, fault.kind, fault.message) for fault in report.faults] == [
        (2, "overlap", "stands in the training set too (train.csv, row 2)"),
        (4, "overlap", "stands in the training set too (train.csv, row 1)"),
    ]


def test_the_same_file_as_both_sets_overlaps(tmp_path: Path) -> None:
    file = csv_file(tmp_path / "train.csv", ROWS)
    assert [fault.kind for fault in checked(file, file).faults] == ["overlap", "overlap"]


def test_a_system_text_for_all_goes_before_chats_that_have_none(tmp_path: Path) -> None:
    turns = [turn("user", "a"), turn("assistant", "b")]
    file = json_file(tmp_path / "t.jsonl", [{"messages": turns}, {"messages": [turn("system", "own"), *turns]}])
    report = checked(file, None, Columns(system_text="for all"))
    assert report.train.with_system == 2
    assert report.train.characters == 2 + 2 + len("for all") + len("own")


def test_faults_of_the_training_set_come_first_and_a_files_own_before_its_rows(tmp_path: Path) -> None:
    train = csv_file(tmp_path / "z.csv", [("a", ""), ("b", "c")])
    validation = csv_file(tmp_path / "a.csv", [("", "x")])
    report = check(train, validation, Columns(), rows_min=3)
    assert [(Path(fault.file).name, fault.row) for fault in report.faults] == [
        ("z.csv", None),
        ("z.csv", 1),
        ("a.csv", 1),
    ]


def test_a_refusal_names_every_fault(tmp_path: Path) -> None:
    refusal = checked(csv_file(tmp_path / "train.csv", [("", "")])).error()
    assert isinstance(refusal, BadInputError)
    assert "2 faults" in refusal.message
    assert len(refusal.faults) == 2


def test_no_text_of_a_row_is_quoted_in_a_fault(tmp_path: Path) -> None:
    secret = "canary-7f3a"
    broken = f'prompt,completion\n{secret},"{secret}" {secret}\n{secret}\n{secret},\n'
    lines = f'{{"prompt": "{secret}", "completion": \n{{"prompt": "{secret}", "completion": ["{secret}"]}}\n'
    for file in (raw_file(tmp_path / "a.csv", broken), raw_file(tmp_path / "b.jsonl", lines)):
        report = checked(file)
        assert report.faults_total >= 2
        assert not any(secret in str(fault) for fault in report.faults)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    train, validation = csv_file(tmp_path / "t.csv", ROWS), csv_file(tmp_path / "v.csv", [("x", "y")])
    check(train, validation, Columns(), progress=told.append)
    assert told[0] == "reading t.csv"
    assert told[-1] == "comparing v.csv with t.csv"


def test_nothing_is_left_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    checked(csv_file(tmp_path / "train.csv", ROWS))
    checked(raw_file(tmp_path / "broken.csv", 'prompt,completion\na,"b\n'))
    assert list(scratch.iterdir()) == []


def test_too_little_memory_is_said_plainly(tmp_path: Path) -> None:
    rows = [("x" * 900_000, "y" * 900_000)] * 20
    with pytest.raises(UnavailableError, match="more memory"):
        check(csv_file(tmp_path / "train.csv", rows), None, Columns(), memory_limit="5MB")


@pytest.mark.parametrize(
    "names",
    [
        {"prompt": "a", "completion": "a"},
        {"prompt": "a", "completion": "A"},
        {"prompt": "messages"},
        {"system": "prompt"},
        {"system": "s", "system_text": "t"},
    ],
)
def test_columns_that_cannot_all_be_meant_are_refused(names: dict[str, str]) -> None:
    with pytest.raises(BadInputError):
        Columns(**names)


def test_a_fault_reads_as_a_sentence_about_a_place() -> None:
    fault = DataFault(file="train.csv", row=4711, column="completion", kind="missing-value", message="is missing")
    assert str(fault) == "train.csv, row 4711, column completion: is missing"


class TestTokens:
    @staticmethod
    def _words(texts: Sequence[str]) -> int:
        return sum(len(text.split()) for text in texts)

    def test_a_counter_counts_every_text_of_a_small_set(self, tmp_path: Path) -> None:
        rows = [(f"one two {row}", "three", "four five") for row in range(1200)]
        file = csv_file(tmp_path / "train.csv", rows, ("prompt", "completion", "system"))
        summary = check(file, None, Columns(), count_tokens=self._words).train
        assert (summary.tokens, summary.tokens_estimated) == (6 * 1200, False)

    def test_a_large_set_is_sampled_and_marked_as_estimated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens, "COUNTED_BYTES_MAX", 20_000)
        counted: list[str] = []

        def counter(texts: Sequence[str]) -> int:
            counted.extend(texts)
            return self._words(texts)

        file = csv_file(tmp_path / "train.csv", [(f"word {row:06}", "and an answer") for row in range(20_000)])
        summary = check(file, None, Columns(), count_tokens=counter).train
        assert summary.tokens_estimated
        assert summary.tokens == pytest.approx(5 * 20_000, rel=0.03)
        assert 10_000 < sum(map(len, counted)) < 21_000

    def test_a_sample_that_happens_to_be_empty_falls_back_to_the_estimate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens, "COUNTED_BYTES_MAX", 1)
        file = csv_file(tmp_path / "train.csv", [("a" * 500_000, "b" * 500_000)])
        assert check(file, None, Columns(), count_tokens=self._words).train.tokens == 250_000

    def test_a_tokenizer_file_counts(self, tmp_path: Path) -> None:
        tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # pyright: ignore[reportCallIssue]
        tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        file = csv_file(tmp_path / "train.csv", [("one two", "three")])
        summary = check(file, None, Columns(), tokenizer=tmp_path / "tokenizer.json").train
        assert (summary.tokens, summary.tokens_estimated) == (3, False)

    def test_a_file_that_is_no_tokenizer_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="tokenizer"):
            check(tmp_path / "t.csv", None, Columns(), tokenizer=raw_file(tmp_path / "tokenizer.json", "{}"))

    def test_without_the_library_it_is_said_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = builtins.__import__

        def absent(name: str, *rest: object) -> object:
            if name == "tokenizers":
                raise ImportError(name)
            return real(name, *rest)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(builtins, "__import__", absent)
        with pytest.raises(BadInputError) as refused:
            check(tmp_path / "t.csv", None, Columns(), tokenizer=tmp_path / "tokenizer.json")
        assert refused.value.hint == "Install tenure[local]."
