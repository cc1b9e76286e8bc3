"""CSV and Parquet: what is read, and that each fault is found at its row and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from registry.store.datasets import Columns, records
from tests.datasets.files import ROWS, checked, csv_file, faults, places, raw_file


def test_a_sound_file_has_no_faults_and_is_summed_up(tmp_path: Path) -> None:
    file = csv_file(
        tmp_path / "train.csv", [("Hi", "Hello!", "Be kind."), ("é", "ü", "")], ("prompt", "completion", "system")
    )
    report = checked(file)
    assert report.ok
    assert (report.train.rows, report.train.characters, report.train.with_system) == (2, 18, 1)
    assert (report.train.longest_row, report.train.tokens, report.train.tokens_estimated) == (1, 5, True)
    assert len(report.train.sha256) == 64
    assert report.train.size_bytes == file.stat().st_size


def test_a_missing_completion_in_row_4711_of_many_is_named(tmp_path: Path) -> None:
    rows = [(f"question {row}", "" if row == 4711 else f"answer {row}") for row in range(1, 60_001)]
    report = checked(csv_file(tmp_path / "train.csv", rows))
    assert [str(fault) for fault in report.faults] == [f"{tmp_path}/train.csv, row 4711, column completion: is missing"]


def test_rows_keep_their_order_and_their_numbers_in_a_large_file(tmp_path: Path) -> None:
    """More rows than DuckDB reads at once, by several threads."""
    rows = [(f"question\n{row}", " " if row % 9_999 == 0 else f"answer {row}") for row in range(1, 100_001)]
    assert faults(csv_file(tmp_path / "train.csv", rows)) == [
        (row, "completion", "empty-text") for row in range(9_999, 100_000, 9_999)
    ]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    file = csv_file(tmp_path / "train.csv", [("", "a"), ("b", ""), (" \t", "\u00a0"), ("", ""), ("c", "d")])
    assert faults(file) == [
        (1, "prompt", "missing-value"),
        (2, "completion", "missing-value"),
        (3, "prompt", "empty-text"),
        (3, "completion", "empty-text"),
        (4, "prompt", "missing-value"),
        (4, "completion", "missing-value"),
    ]


def test_more_faults_than_are_listed_are_counted(tmp_path: Path) -> None:
    report = checked(csv_file(tmp_path / "train.csv", [("", "")] * 500))
    assert (len(report.faults), report.faults_total) == (20, 1000)
    assert [fault.row for fault in report.faults][:4] == [1, 1, 2, 2]
    assert "980 more" in report.error().faults[-1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_are_counted_as_records_whatever_ends_a_line(tmp_path: Path, end: str) -> None:
    text = 'prompt,completion\n"two\nlines","x\n\ny"\n\na,b\n"c",\n'.replace("\n", end)
    assert faults(raw_file(tmp_path / "train.csv", text)) == [(3, "completion", "missing-value")]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfprompt,completion\na,b\nc,d\n",
        b"\n\nprompt,completion\na,b\nc,d\n",
        b"prompt,completion\r\na,b\nc,d\r\n",
        b"\xef\xbb\xbfprompt,completion\na,b\r\n\nc,d",
        b'completion,other,prompt\nb,"x,y",a\nd,z,c\n',
        b'"prompt","completion"\n"a" ,"b"\nc,d,,\n',
    ],
)
def test_a_mark_blank_lines_mixed_line_ends_and_other_columns_are_no_faults(tmp_path: Path, content: bytes) -> None:
    report = checked(raw_file(tmp_path / "train.csv", content))
    assert (report.faults, report.train.rows, report.train.characters) == ((), 2, 4)


@pytest.mark.parametrize("suffix", [".csv.gz", ".CSV.GZ"])
def test_a_compressed_file_is_read_and_its_own_bytes_are_digested(tmp_path: Path, suffix: str) -> None:
    plain = csv_file(tmp_path / "plain.csv", ROWS)
    packed = raw_file(tmp_path / f"train{suffix}", gzip.compress(plain.read_bytes()))
    report = checked(packed)
    assert report.ok
    assert report.train.rows == 2
    assert report.train.sha256 != checked(plain).train.sha256


def test_a_broken_row_of_a_compressed_file_is_named(tmp_path: Path) -> None:
    content = gzip.compress(b'prompt,completion\na,b\nc,"d"d\n')
    assert faults(raw_file(tmp_path / "train.csv.gz", content)) == [(2, "completion", "quote")]


@pytest.mark.parametrize("name", ["a b.csv", "[1]*?.csv", "it's.csv", "split=train.csv", 'q".csv', "ü.csv"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert checked(csv_file(tmp_path / name, ROWS)).ok


class TestBrokenCsv:
    def test_a_quote_that_is_never_closed_is_named_and_the_rest_still_read(self, tmp_path: Path) -> None:
        file = raw_file(tmp_path / "train.csv", 'prompt,completion\na,b\nc,"d\ne,\nf,g\n')
        assert faults(file) == [(2, "completion", "quote"), (3, "completion", "missing-value")]

    def test_text_after_a_closing_quote_is_named(self, tmp_path: Path) -> None:
        file = raw_file(tmp_path / "train.csv", 'prompt,completion\n"he said "hi" to me",b\nc,d\n,e\n')
        assert faults(file) == [(1, "prompt", "quote"), (3, "prompt", "missing-value")]

    def test_values_that_stand_quoted_side_by_side_are_not_joined_silently(self, tmp_path: Path) -> None:
        assert faults(raw_file(tmp_path / "train.csv", 'prompt,completion\n"a" "b",c\n')) == [(1, "prompt", "quote")]

    def test_a_quote_that_the_next_line_closes_wrongly_is_the_first_lines(self, tmp_path: Path) -> None:
        file = raw_file(tmp_path / "train.csv", 'prompt,completion\na,"b\nc,"d"\ne,f\n')
        assert faults(file) == [(1, "completion", "quote")]

    def test_a_broken_row_among_rows_with_line_breaks_has_the_right_number(self, tmp_path: Path) -> None:
        file = raw_file(tmp_path / "train.csv", 'prompt,completion\n"a\n\na","b\n""b"""\nc,d,e\n"f\nf",\n')
        assert faults(file) == [(2, None, "row-shape"), (3, "completion", "missing-value")]

    def test_rows_with_too_few_or_too_many_values_are_named(self, tmp_path: Path) -> None:
        report = checked(raw_file(tmp_path / "train.csv", "prompt,completion\na\nb,c\nd,e,f\n"))
        assert [fault.message for fault in report.faults] == [
            "has 1 value where the header has 2 names",
            "has 3 values where the header has 2 names",
        ]
        assert report.train.rows == 3

    def test_bytes_that_are_not_utf8_are_named_with_their_row_and_column(self, tmp_path: Path) -> None:
        file = raw_file(tmp_path / "train.csv", "prompt,completion\na,b\nc,é\n,d\n".encode("latin-1"))
        report = checked(file)
        assert places(report.faults) == [(2, "completion", "encoding"), (3, "prompt", "missing-value")]
        assert "0xE9" in report.faults[0].message

    def test_a_stray_nul_is_named(self, tmp_path: Path) -> None:
        text = "prompt,completion\n" + "a,b\n" * 20 + "c\0,d\n"
        assert faults(raw_file(tmp_path / "train.csv", text)) == [(21, "prompt", "binary")]

    def test_a_row_larger_than_any_context_is_named_and_the_rest_still_read(self, tmp_path: Path) -> None:
        text = f"prompt,completion\na,{'x' * 2_100_000}\n,b\nc,{'y' * 100_000}\n"
        assert faults(raw_file(tmp_path / "train.csv", text)) == [(1, None, "too-long"), (2, "prompt", "missing-value")]

    def test_an_open_quote_before_much_text_is_not_searched_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(records, "ROW_BYTES_MAX", 10_000)
        text = 'prompt,completion\n"open,a\n' + "b,c\n" * 20_000
        report = checked(raw_file(tmp_path / "train.csv", text))
        assert places(report.faults) == [(1, "prompt", "quote")]
        assert report.train.rows == 20_001

    def test_many_open_quotes_end_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every line opens a quote that none closes; what may be read twice is bounded, and then rows are skipped."""
        monkeypatch.setattr(records, "ROW_BYTES_MAX", 10_000)
        monkeypatch.setattr(records, "REREAD_CHARACTERS_MAX", 300_000)
        text = "prompt,completion\n" + 'a"b,"c\n' * 10_000
        report = checked(raw_file(tmp_path / "train.csv", text))
        assert 30 <= report.faults_total < 60
        assert {fault.kind for fault in report.faults} == {"quote"}


class TestColumns:
    def test_a_missing_column_is_named_with_those_that_are_there(self, tmp_path: Path) -> None:
        report = checked(csv_file(tmp_path / "train.csv", [("a", "b")], ("Prompt", "answer")))
        assert places(report.faults) == [(None, "prompt", "missing-column"), (None, "completion", "missing-column")]
        assert "there are: Prompt, answer" in report.faults[1].message
        assert "did you mean 'Prompt'?" in report.faults[0].message

    @pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
    def test_another_separator_than_commas_is_recognised(self, tmp_path: Path, separator: str, name: str) -> None:
        report = checked(raw_file(tmp_path / "train.csv", f"prompt{separator}completion\na{separator}b\n"))
        assert f"separated by {name}" in report.faults[0].message

    def test_columns_can_be_mapped(self, tmp_path: Path) -> None:
        file = csv_file(tmp_path / "train.csv", [("a", "b", "c"), ("d", "", "e")], ("q's", "system", 'the "a"'))
        columns = Columns(prompt="q's", completion='the "a"', system="system")
        report = checked(file, None, columns)
        assert report.ok
        assert report.train.with_system == 1

    def test_a_named_system_column_must_be_there(self, tmp_path: Path) -> None:
        file = csv_file(tmp_path / "train.csv", ROWS)
        assert faults(file, Columns(system="told")) == [(None, "told", "missing-column")]

    def test_one_system_text_stands_for_all_rows(self, tmp_path: Path) -> None:
        file = csv_file(tmp_path / "train.csv", [("a", "b", "")], ("prompt", "completion", "system"))
        assert checked(file, None, Columns(system_text="It's me.")).train.with_system == 1

    def test_a_column_that_is_there_twice_is_ambiguous(self, tmp_path: Path) -> None:
        file = csv_file(tmp_path / "train.csv", [("a", "b", "c")], ("prompt", "completion", "prompt"))
        assert faults(file) == [(None, "prompt", "row-shape")]

    @pytest.mark.parametrize("content", [b"pr\xe9,completion\na,b\n", b'"prompt,completion\na,b\n'])
    def test_a_header_that_cannot_be_read_is_named(self, tmp_path: Path, content: bytes) -> None:
        assert faults(raw_file(tmp_path / "train.csv", content)) == [(None, None, "row-shape")]


class TestParquet:
    @staticmethod
    def _file(tmp_path: Path, query: str) -> Path:
        path = tmp_path / "train.parquet"
        duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        return path

    def test_missing_and_empty_texts_are_found(self, tmp_path: Path) -> None:
        query = "FROM (VALUES ('a', 'b', 1), (NULL, '', 2), ('c', ' ', 3)) t(prompt, completion, n)"
        assert faults(self._file(tmp_path, query)) == [
            (2, "prompt", "missing-value"),
            (2, "completion", "empty-text"),
            (3, "completion", "empty-text"),
        ]

    def test_a_column_that_holds_numbers_is_named(self, tmp_path: Path) -> None:
        report = checked(self._file(tmp_path, "SELECT 'a' AS prompt, 1.5::DOUBLE AS completion"))
        assert [str(fault).partition(": ")[2] for fault in report.faults] == ["holds DOUBLE, not text"]

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        report = checked(self._file(tmp_path, "SELECT 'a' AS prompt, 'b' AS answer"))
        assert "there are: prompt, answer" in report.faults[0].message

    def test_a_cut_file_is_corrupt(self, tmp_path: Path) -> None:
        file = self._file(tmp_path, "SELECT 'a' AS prompt, range::VARCHAR AS completion FROM range(1000)")
        whole = file.read_bytes()
        assert faults(raw_file(file, whole[:-20])) == [(None, None, "corrupt")]
        assert faults(raw_file(file, b"PAR1" + bytes(1000) + whole[1004:])) == [(None, None, "corrupt")]
        assert faults(raw_file(file, b"\0" * 50)) == [(None, None, "corrupt")]

    def test_no_rows_are_named(self, tmp_path: Path) -> None:
        file = self._file(tmp_path, "SELECT 'a' AS prompt, 'b' AS completion WHERE false")
        assert faults(file) == [(None, None, "no-rows")]
