"""What an emulated model answers: the same words to the same question, and never without saying that it rehearses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from providers.rehearsal.service import RefusalError
from providers.rehearsal.truth import Json, tables

WORDS_MAX = 4096
_TEMPERATURE_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`finish`: why it ended, in OpenAI's words: stop | length."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int

    def pieces(self) -> list[str]:
        """The text, word by word, as a stream gives it."""
        words = self.text.split(" ")
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)] if self.text else []


def answer(model: str, turns: Sequence[str], *, max_tokens: int | None, stop: Sequence[str]) -> Answer:
    """`turns`: the texts so far; a token is a word here."""
    digest = hashlib.sha256("\n".join((model, *turns)).encode()).hexdigest()[:6]
    text = f"[rehearsal {digest}] {model} was asked: {turns[-1] if turns else ''}"
    for mark in stop:
        text = text.partition(mark)[0]
    words = text.split(" ")
    bound = min(max_tokens or WORDS_MAX, WORDS_MAX)
    return Answer(
        text=" ".join(words[:bound]),
        finish="length" if len(words) > bound else "stop",
        prompt_tokens=sum(len(turn.split()) for turn in turns),
        completion_tokens=min(len(words), bound),
    )


def answer_openai(model: str, body: Json) -> Answer:
    """Checks a chat request as OpenAI does. Raises RefusalError (400)."""
    messages = tables(body.get("messages"))
    if not messages:
        raise RefusalError(400, "invalid_value", "Missing required parameter: 'messages'.", param="messages")
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= float(temperature) <= _TEMPERATURE_MAX:
        raise RefusalError(
            400,
            "decimal_above_max_value",
            f"Invalid 'temperature': {temperature} is not between 0 and 2.",
            param="temperature",
        )
    stop: str | list[str] = body.get("stop") or []
    return answer(
        model,
        [_text(message.get("content")) for message in messages],
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else list(stop),
    )


def completion(id: str, model: str, created: datetime, said: Answer) -> Json:
    return {
        **_frame(id, model, created, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said.text, "refusal": None},
                "finish_reason": said.finish,
                "logprobs": None,
            }
        ],
        "usage": _usage(said),
    }


def stream(id: str, model: str, created: datetime, said: Answer, *, usage: bool) -> Iterator[bytes]:
    """Server-sent events, one word each, ended by `[DONE]`."""
    frame = _frame(id, model, created, "chat.completion.chunk")
    deltas: list[tuple[Json, str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in said.pieces()]
    deltas += [({}, said.finish)]
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        yield _event({**frame, "choices": [choice]})
    if usage:
        yield _event({**frame, "choices": [], "usage": _usage(said)})
    yield b"data: [DONE]\n\n"


def _frame(id: str, model: str, created: datetime, kind: str) -> Json:
    return {
        "id": id,
        "object": kind,
        "created": int(created.timestamp()),
        "model": model,
        "system_fingerprint": "rehearsal",
        "rehearsal": True,
    }


def _usage(said: Answer) -> Json:
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.completion_tokens,
        "total_tokens": said.prompt_tokens + said.completion_tokens,
    }


def _event(value: Json) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in tables(cast("object", content)))
    return "" if content is None else str(content)
