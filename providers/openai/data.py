"""Training data in the chat format of OpenAI and Azure OpenAI, checked against their rules before anything is sent.

https://platform.openai.com/docs/guides/supervised-fine-tuning gives the format and the bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from providers.ports import DataSet

ROWS_MIN = 10
BYTES_MAX = 512 * 1024 * 1024
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
FAULTS_MAX = 20
PREFIX = "tenure-"
"""Of the names that uploaded files bear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What is uploaded. `name` holds the content's digest, so that the same data is uploaded once."""

    name: str
    content: bytes
    faults: tuple[str, ...]
    rows: frozenset[bytes]


def converted(data: DataSet, *, method: str) -> Converted:
    """Rows of prompt and completion become one list of messages; rows in a form of their own are handed through."""
    lines: list[bytes] = []
    faults: list[str] = []
    for number, row in _rows(data):
        shaped = _shaped(row)
        if method == "supervised" and (fault := _fault(shaped)) is not None and len(faults) < FAULTS_MAX:
            faults.append(f"{data.label}, row {number}: {fault}")
        lines.append(json.dumps(shaped, ensure_ascii=False).encode())
    content = b"\n".join(lines) + b"\n"
    if len(lines) < ROWS_MIN:
        faults.append(f"{data.label} has {len(lines)} rows; at least {ROWS_MIN} are needed")
    if len(content) > BYTES_MAX:
        faults.append(f"{data.label} has {len(content)} bytes as uploaded; at most {BYTES_MAX} are taken")
    name = f"{PREFIX}{hashlib.sha256(content).hexdigest()[:40]}.jsonl"
    digests = frozenset(hashlib.sha256(line).digest() for line in lines)
    return Converted(name=name, content=content, faults=tuple(faults), rows=digests)


def faults_of(train: Converted, validation: Converted | None) -> list[str]:
    """Every fault of both sets, and the rows that stand in both."""
    found = list(train.faults)
    if validation is not None:
        # The provider asks for 10 training rows; a validation set may be smaller.
        found += [fault for fault in validation.faults if "are needed" not in fault]
        if both := len(train.rows & validation.rows):
            found.append(f"{both} rows stand in the training and in the validation set")
    return found


def _rows(data: DataSet) -> Iterator[tuple[int, dict[str, Any]]]:
    with data.path.open(encoding="utf-8") as lines:
        for number, line in enumerate((line for line in lines if line.strip()), start=1):
            yield number, cast("dict[str, Any]", json.loads(line))


def _shaped(row: dict[str, Any]) -> dict[str, Any]:
    if "prompt" in row and "completion" in row:
        return {"messages": [*row["prompt"], *row["completion"]]}
    return row


def _fault(row: dict[str, Any]) -> str | None:
    messages = cast("list[dict[str, Any]]", row.get("messages") or [])
    roles = [str(message.get("role")) for message in messages]
    if unknown := sorted(set(roles) - ROLES):
        return f"role {unknown[0]!r} is not one of {', '.join(sorted(ROLES))}"
    if not roles or roles[-1] != "assistant":
        return "the last message must be the assistant's"
    if any(not message.get("content") and not message.get("tool_calls") for message in messages):
        return "a message has no text"
    return None
