"""Why a JSON line is no training example: DuckDB tells which lines are wrong, this tells what is wrong with each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from registry.store.datasets.model import Columns, Complaint

BLANKS = " \t\n\r\f\v\u00a0\u200b\u2028\u2029\u3000\ufeff"
"""What counts as white space; a text of nothing else is empty. One list for SQL and Python, so that they agree."""
ROLES = ("system", "user", "assistant")


def explain_line(line: str, columns: Columns) -> Iterator[Complaint]:
    """Everything wrong with one line. At least one complaint: whoever asks knows that something is."""
    try:
        row = cast("object", json.loads(line))
    except ValueError as error:
        yield Complaint(kind="json", message=f"is not valid JSON: {_reason(error)}")
        return
    except RecursionError:
        yield Complaint(kind="json", message="is not valid JSON: nested too deeply")
        return
    if not isinstance(row, dict):
        yield Complaint(kind="json", message=f"is {_kind(row)}, not a JSON object")
        return
    found = list(_object(cast("dict[str, object]", row), columns))
    yield from found or [Complaint(kind="json", message="is not valid JSON")]


def keys_of(line: str) -> tuple[str, ...]:
    """The names in a line that is known to be a JSON object."""
    return tuple(cast("dict[str, object]", json.loads(line)))


def _object(row: dict[str, object], columns: Columns) -> Iterator[Complaint]:
    if row.get(columns.prompt) is None and row.get("messages") is not None:
        yield from _messages(row["messages"])
        return
    yield from _text(row, columns.prompt)
    yield from _text(row, columns.completion)
    system = row.get(columns.system_column) if columns.system_column is not None else None
    if system is not None and not isinstance(system, str):
        yield Complaint(kind="column-type", column=columns.system_column, message=f"is {_kind(system)}, not a text")


def _text(row: dict[str, object], column: str) -> Iterator[Complaint]:
    value = row.get(column)
    if value is None:
        yield Complaint(kind="missing-value", column=column, message="is missing")
    elif not isinstance(value, str):
        yield Complaint(kind="column-type", column=column, message=f"is {_kind(value)}, not a text")
    elif not value.strip(BLANKS):
        yield Complaint(kind="empty-text", column=column, message="is empty")


def _messages(messages: object) -> Iterator[Complaint]:
    if not isinstance(messages, list) or not messages:
        yield _message(None, f"is {_kind(messages)}, not a list of messages" if messages != [] else "is empty")
        return
    listed = cast("list[object]", messages)
    for number, message in enumerate(listed, start=1):
        yield from _one_message(number, message)
    roles = [cast("dict[str, object]", one).get("role") if isinstance(one, dict) else None for one in listed]
    if roles[-1] != "assistant":
        yield _message(len(listed), "is the last one and must be the assistant's")
    if "user" not in roles:
        yield _message(None, "has no message of the user")
    for number, role in enumerate(roles[1:], start=2):
        if role == "system":
            yield _message(number, "is the system's, which may only be the first")


def _one_message(number: int, message: object) -> Iterator[Complaint]:
    if not isinstance(message, dict):
        yield _message(number, f"is {_kind(message)}, not an object with role and content")
        return
    fields = cast("dict[str, object]", message)
    role, content = fields.get("role"), fields.get("content")
    if role is None:
        yield _message(number, "has no role")
    elif role not in ROLES:
        name = f"{role[:40]!r}" if isinstance(role, str) else _kind(role)
        yield _message(number, f"has the unknown role {name}; known are {', '.join(ROLES)}")
    if content is None:
        yield Complaint(kind="missing-value", column=_place(number), message="has no content")
    elif not isinstance(content, str):
        yield _message(number, f"has a content that is {_kind(content)}, not a text")
    elif not content.strip(BLANKS):
        yield Complaint(kind="empty-text", column=_place(number), message="has an empty content")


def _message(number: int | None, message: str) -> Complaint:
    return Complaint(kind="message", column=_place(number), message=message)


def _place(number: int | None) -> str:
    return "messages" if number is None else f"messages[{number}]"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.colno}"
    return "a number is too long"
