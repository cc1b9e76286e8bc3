"""JSON Lines: prompts and completions, whole chats, and what is wrong with each line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from registry.store.datasets import Columns
from tests.datasets.files import checked, faults, json_file, places, raw_file, turn

SOUND = {"prompt": "Hi", "completion": "Hello!"}
CHAT = {"messages": [turn("user", "Hi"), turn("assistant", "Hello!")]}


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "train.json", "train.JSONL"])
def test_lines_of_either_kind_are_read(tmp_path: Path, name: str) -> None:
    rows = [
        SOUND,
        {**SOUND, "completion": "Hey.", "system": "Be kind.", "id": 3},
        {**SOUND, "prompt": "Yo", "system": None},
    ]
    chat = {"messages": [turn("system", "Brief."), turn("user", "a"), turn("assistant", "b"), *CHAT["messages"]]}
    report = checked(json_file(tmp_path / name, [*rows, chat]))
    assert (report.faults, report.train.rows, report.train.with_system) == ((), 4, 2)


def test_a_line_is_a_row_also_after_blank_lines(tmp_path: Path) -> None:
    file = raw_file(tmp_path / "train.jsonl", f'\n{json.dumps(SOUND)}\n \n{{"prompt": "a"}}\n{json.dumps(CHAT)}\n')
    report = checked(file)
    assert places(report.faults) == [(4, "completion", "missing-value")]
    assert report.train.rows == 3


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_a_mark_and_other_line_ends_are_no_faults(tmp_path: Path, end: str, mark: str) -> None:
    lines = end.join(json.dumps({**SOUND, "prompt": f"é {row}"}, ensure_ascii=False) for row in range(3))
    assert checked(raw_file(tmp_path / "train.jsonl", mark + lines + "\n")).ok


@pytest.mark.parametrize(
    ("line", "column", "kind", "words"),
    [
        ('{"prompt": "a", "completion": ', None, "json", "expecting value at character 31"),
        ('{"prompt": "a", "completion": "\\ud800"}', None, "json", "not valid JSON"),
        ('["a", "b"]', None, "json", "is a list"),
        ('"a"', None, "json", "is a text"),
        ("null", None, "json", "is null"),
        ("true", None, "json", "true or false"),
        ("[" * 100_000, None, "json", "not valid JSON"),
        ('{"prompt": ' + "1" * 5_000 + "}", None, "json", "too long"),
        ('{"prompt": "a", "completion": null}', "completion", "missing-value", "is missing"),
        ('{"prompt": "a", "completion": 3}', "completion", "column-type", "is a number"),
        ('{"prompt": {"x": 1}, "completion": "b"}', "prompt", "column-type", "is an object"),
        ('{"prompt": " \\u200b", "completion": "b"}', "prompt", "empty-text", "is empty"),
        ('{"prompt": "a", "completion": "b", "system": ["x"]}', "system", "column-type", "is a list"),
        ('{"messages": "x"}', "messages", "message", "is a text"),
        ('{"messages": []}', "messages", "message", "is empty"),
        ('{"messages": [{"role": "assistant", "content": "b"}]}', "messages", "message", "no message of the user"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(
    tmp_path: Path, line: str, column: str, kind: str, words: str
) -> None:
    report = checked(raw_file(tmp_path / "train.jsonl", f"{json.dumps(SOUND)}\n{line}\n{json.dumps(CHAT)}\n"))
    assert places(report.faults) == [(2, column, kind)]
    assert words in report.faults[0].message


@pytest.mark.parametrize(
    ("messages", "column", "words"),
    [
        ([turn("user", "a"), turn("assistant", "b"), turn("user", "c")], "messages[3]", "must be the assistant's"),
        ([turn("user", "a"), turn("robot", "b"), turn("assistant", "c")], "messages[2]", "unknown role 'robot'"),
        ([{"role": 3, "content": "a"}, *CHAT["messages"]], "messages[1]", "unknown role a number"),
        ([{"content": "a"}, *CHAT["messages"]], "messages[1]", "has no role"),
        ([turn("user", "a"), {"role": "assistant"}], "messages[2]", "has no content"),
        ([turn("user", "a"), turn("assistant", "\n")], "messages[2]", "empty content"),
        (
            [turn("user", "a"), {"role": "assistant", "content": [{"text": "b"}]}],
            "messages[2]",
            "content that is a list",
        ),
        ([*CHAT["messages"], turn("system", "a"), *CHAT["messages"]], "messages[3]", "only be the first"),
        ([None, *CHAT["messages"]], "messages[1]", "is null, not an object"),
        (["x", *CHAT["messages"]], "messages[1]", "is a text, not an object"),
    ],
)
def test_a_wrong_message_is_named(tmp_path: Path, messages: list[object], column: str, words: str) -> None:
    report = checked(json_file(tmp_path / "train.jsonl", [CHAT, {"messages": messages}]))
    assert [(fault.row, fault.column) for fault in report.faults] == [(2, column)]
    assert words in report.faults[0].message


def test_every_wrong_line_is_counted_and_the_first_are_listed(tmp_path: Path) -> None:
    rows = [SOUND, *[{"messages": [turn("robot", "")]}] * 300]
    report = checked(json_file(tmp_path / "train.jsonl", rows))
    assert report.faults_total == 300 * 4
    assert len(report.faults) == 20


def test_a_name_that_no_line_has_is_one_fault_of_the_file(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]
    report = checked(json_file(tmp_path / "train.jsonl", rows))
    assert places(report.faults) == [(None, "prompt", "missing-column"), (None, "completion", "missing-column")]
    assert "there are: question, answer" in report.faults[0].message


def test_a_system_name_that_no_line_has_is_a_fault_when_it_was_asked_for(tmp_path: Path) -> None:
    file = json_file(tmp_path / "train.jsonl", [SOUND, {"prompt": "a", "completion": 1}])
    assert faults(file, Columns(system="told")) == [(None, "told", "missing-column"), (2, "completion", "column-type")]


def test_names_can_be_mapped_whatever_they_are(tmp_path: Path) -> None:
    columns = Columns(prompt="in/~'put\"", completion="out put", system="$.x")
    rows = [{"in/~'put\"": "a", "out put": "b", "$.x": "c"}, {"in/~'put\"": "", "out put": "b"}]
    report = checked(json_file(tmp_path / "train.jsonl", rows), None, columns)
    assert places(report.faults) == [(2, "in/~'put\"", "empty-text")]
    assert report.train.with_system == 1


def test_bytes_that_are_not_utf8_and_nuls_are_named_with_their_line(tmp_path: Path) -> None:
    lines = [json.dumps(SOUND).encode()] * 6
    lines[2], lines[4] = b'{"prompt": "\xe9", "completion": "b"}', b'{"prompt": "a", "completion": "\0"}'
    assert faults(raw_file(tmp_path / "train.jsonl", b"\n".join(lines))) == [(3, None, "encoding"), (5, None, "binary")]


def test_a_line_larger_than_any_context_is_named_and_the_rest_still_read(tmp_path: Path) -> None:
    file = json_file(tmp_path / "train.jsonl", [{**SOUND, "completion": "x" * 4_200_000}, {"prompt": "a"}, SOUND])
    assert faults(file) == [(1, None, "too-long"), (2, "completion", "missing-value")]


def test_one_json_list_is_not_json_lines(tmp_path: Path) -> None:
    assert faults(raw_file(tmp_path / "train.json", json.dumps([SOUND]))) == [(None, None, "format")]


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    assert checked(raw_file(tmp_path / "train.jsonl.gz", gzip.compress(json.dumps(CHAT).encode()))).ok


def test_lines_keep_their_order_and_their_numbers_in_a_large_file(tmp_path: Path) -> None:
    rows = [{"prompt": f"a {row}", "completion": 1 if row % 9_999 == 0 else "b"} for row in range(1, 100_001)]
    assert faults(json_file(tmp_path / "train.jsonl", rows)) == [
        (row, "completion", "column-type") for row in range(9_999, 100_000, 9_999)
    ]
