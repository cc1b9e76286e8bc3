"""Training data in Bedrock's two formats, checked before anything is sent.

Nova and Claude take conversations (`bedrock-conversation-2024`: first user, then strictly in turn, a system text of its
own); the others take one prompt and one completion, into which a system text is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from providers.ports import DataSet

SCHEMA = "bedrock-conversation-2024"
FAULTS_MAX = 20
ROWS_MIN = 8
_CONVERSING = ("amazon.nova", "anthropic.claude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    content: bytes
    digest: str
    faults: tuple[str, ...]
    rows: frozenset[str]


def converted(data: DataSet, *, base_model: str, rows_min: int = ROWS_MIN) -> Converted:
    conversing = base_model.rsplit("/", 1)[-1].removeprefix("us.").startswith(_CONVERSING)
    lines: list[str] = []
    faults: list[str] = []
    with data.path.open(encoding="utf-8") as rows:
        for number, text in enumerate((row for row in rows if row.strip()), start=1):
            row = cast("Mapping[str, list[dict[str, Any]]]", json.loads(text))
            messages = [*row.get("prompt", []), *row.get("completion", [])] or row.get("messages", [])
            fault = _fault(messages, conversing=conversing)
            if fault is not None:
                faults.append(f"{data.label}, row {number}: {fault}")
            else:
                lines.append(json.dumps(_conversation(messages) if conversing else _pair(messages), ensure_ascii=False))
            if len(faults) >= FAULTS_MAX:
                break
    if not faults and len(lines) < rows_min:
        faults.append(f"{data.label} has {len(lines)} rows; at least {rows_min} are needed")
    content = ("\n".join(lines) + "\n").encode()
    return Converted(
        content=content, digest=hashlib.sha256(content).hexdigest(), faults=tuple(faults), rows=frozenset(lines)
    )


def _conversation(messages: list[dict[str, Any]]) -> dict[str, object]:
    turns = [
        {"role": message["role"], "content": [{"text": message["content"]}]}
        for message in messages
        if message["role"] != "system"
    ]
    system = [{"text": message["content"]} for message in messages if message["role"] == "system"]
    return {"schemaVersion": SCHEMA, **({"system": system} if system else {}), "messages": turns}


def _pair(messages: list[dict[str, Any]]) -> dict[str, object]:
    return {
        "prompt": "\n\n".join(str(message["content"]) for message in messages[:-1]),
        "completion": messages[-1]["content"],
    }


def _fault(messages: list[dict[str, Any]], *, conversing: bool) -> str | None:
    if any(not isinstance(message.get("content"), str) or not message["content"] for message in messages):
        return "a message has no text"
    roles = [str(message.get("role")) for message in messages if message.get("role") != "system"]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        return f"roles must be user and assistant in turn, and are {', '.join(roles) or 'none'}"
    if not conversing and len(roles) > 2:  # noqa: PLR2004 - one question, one answer
        return "this base model learns from one prompt and one completion, not from a conversation"
    return None
