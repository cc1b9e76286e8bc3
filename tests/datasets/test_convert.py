"""Converting: one shape from every format, whole or not at all."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.domain.errors import BadInputError, UnavailableError
from registry.store.datasets import Columns, check, convert
from registry.store.datasets.engine import Engine, UnreadableError
from registry.store.datasets.explain import BLANKS
from registry.store.datasets.files import look
from registry.store.datasets.model import DataFault
from registry.store.datasets.records import csv_records
from registry.store.datasets.sources import forgiving_source, strict_source
from tests.datasets.files import ROWS, converted, csv_file, json_file, raw_file, turn

SUPPORT_TICKETS = Path(__file__).parents[2] / "examples" / "support-tickets"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip(BLANKS))
)


def test_prompt_completion_and_system_become_messages(tmp_path: Path) -> None:
    rows = [("Hi", "Hello!", "Be kind."), ('"é",\n', "\u2028 b\\", "")]
    convert(csv_file(tmp_path / "t.csv", rows, ("prompt", "completion", "system")), Columns(), tmp_path / "out.jsonl")
    assert converted(tmp_path / "out.jsonl") == [
        ([turn("system", "Be kind."), turn("user", "Hi")], [turn("assistant", "Hello!")]),
        ([turn("user", '"é",\n')], [turn("assistant", "\u2028 b\\")]),
    ]


def test_of_a_longer_chat_the_last_message_is_the_completion(tmp_path: Path) -> None:
    turns = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    extra = [{**one, "weight": 1} for one in turns]
    convert(json_file(tmp_path / "t.jsonl", [{"messages": extra}]), Columns(system_text="s"), tmp_path / "out.jsonl")
    assert converted(tmp_path / "out.jsonl") == [([turn("system", "s"), *turns[:3]], turns[3:])]


def test_rows_keep_their_order_in_a_large_file(tmp_path: Path) -> None:
    convert(csv_file(tmp_path / "t.csv", [(str(row), "x") for row in range(70_000)]), Columns(), tmp_path / "out.jsonl")
    assert [prompt[0]["content"] for prompt, _ in converted(tmp_path / "out.jsonl")] == [str(n) for n in range(70_000)]


def test_wrong_data_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = csv_file(tmp_path / "t.csv", [("a", "b"), ("c", "")])
    old = raw_file(tmp_path / "out.jsonl", "old")
    with pytest.raises(BadInputError) as refused:
        convert(file, Columns(), old)
    assert refused.value.faults == (f"{file}, row 2, column completion: is missing",)
    assert old.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.jsonl", "t.csv"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        convert(tmp_path / "none.csv", Columns(), tmp_path / "out.jsonl")


def test_a_destination_without_space_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Engine.run

    def full(self: Engine, sql: str) -> None:
        if sql.startswith("COPY"):
            raise UnreadableError("No space left on device")
        run(self, sql)

    monkeypatch.setattr(Engine, "run", full)
    with pytest.raises(UnavailableError, match="No space left"):
        convert(csv_file(tmp_path / "t.csv", ROWS), Columns(), tmp_path / "out.jsonl")
    assert [one.name for one in tmp_path.iterdir()] == ["t.csv"]


def test_the_shipped_support_tickets_are_sound_and_short(tmp_path: Path) -> None:
    train, validation = SUPPORT_TICKETS / "train.csv", SUPPORT_TICKETS / "validation.csv"
    report = check(train, validation, Columns(), rows_min=10)
    assert report.ok
    assert report.warnings == ()
    assert (report.train.rows, report.train.longest_tokens or 999) <= (320, 110)
    assert 0 < report.train.with_system < report.train.rows / 2
    convert(train, Columns(), tmp_path / "out.jsonl")
    assert all(answer[0]["content"].startswith("Category: ") for _, answer in converted(tmp_path / "out.jsonl"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), st.sampled_from(["csv", "jsonl", "parquet"]))
def test_texts_come_through_unchanged(rows: list[tuple[str, str]], format: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / f"t.{format}", Path(folder) / "out.jsonl"
        if format == "csv":
            csv_file(source, rows)
        elif format == "jsonl":
            json_file(source, [{"prompt": prompt, "completion": completion} for prompt, completion in rows])
        else:
            values = ", ".join("(?, ?)" for _ in rows)
            query = f"COPY (FROM (VALUES {values}) t(prompt, completion)) TO '{source}' (FORMAT parquet)"
            duckdb.connect().execute(query, [text for row in rows for text in row])
        convert(source, Columns(), target)
        assert converted(target) == [([turn("user", p)], [turn("assistant", c)]) for p, c in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30), st.data())
def test_planted_faults_are_found_at_their_rows(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    planted = data.draw(st.dictionaries(st.integers(1, len(rows)), st.sampled_from(["", " ", "\u3000\n"]), max_size=5))
    texts = [(prompt, planted.get(row, completion)) for row, (prompt, completion) in enumerate(rows, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        report = check(csv_file(Path(folder) / "t.csv", texts), None, Columns())
    assert [fault.row for fault in report.faults] == sorted(planted)


CSV_PIECES = st.sampled_from(
    [*'abé ,"\n', "\r\n", '""', '"x"', '"p\nq"', "x,y\n", '"e",f\n', "\ufeff", string.printable]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(CSV_PIECES, max_size=14))
def test_the_strict_reader_never_reads_what_the_forgiving_one_finds_broken(pieces: list[str]) -> None:
    """DuckDB either refuses a file or reads exactly what this reader reads; and a strict copy is read as it is."""
    with tempfile.TemporaryDirectory() as folder, Engine(memory_limit="256MB", scratch=Path(folder)) as engine:
        seen = look(raw_file(Path(folder) / "t.csv", "prompt,completion\n" + "".join(pieces)))
        records = [record for record in csv_records(seen, width=2) if record.row > 0]
        sound = [tuple(value or None for value in record.values) for record in records if record.kind is None]
        broken: list[DataFault] = []
        copy = forgiving_source(engine, seen, Columns(), broken.append, slot="copy")
        assert [row[1:] for row in engine.stream(copy.sql)] == sound
        assert len(broken) == len(records) - len(sound)
        try:
            strict = [row[1:] for row in engine.stream(strict_source(engine, seen, Columns(), slot="s").sql)]
        except UnreadableError:
            return
        if seen.clean:
            assert strict == sound
            assert not broken
