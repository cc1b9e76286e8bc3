"""What an emulated model answers: the same words to the same question, and never without saying that it rehearses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from providers.rehearsal.calling import ToolCall, calls, example
from providers.rehearsal.service import RefusalError
from providers.rehearsal.truth import Json, table, tables

WORDS_MAX = 4096
_TEMPERATURE_MAX = 2.0
_NUMBERS = {
    **dict.fromkeys(("temperature", "top_p"), ((int, float), "a decimal")),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n"), ((int,), "an integer")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`finish`: why it ended, in OpenAI's words: stop | length | tool_calls. With calls there is no text."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    calls: Sequence[ToolCall] = ()

    def pieces(self) -> list[str]:
        """The text, word by word, as a stream gives it."""
        words = self.text.split(" ")
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)] if self.text else []


def answer(
    model: str, turns: Sequence[str], *, max_tokens: int | None, stop: Sequence[str], form: Json | None = None
) -> Answer:
    """`turns`: the texts so far; a token is a word here. `form`: the schema of the answer."""
    digest = digest_of(model, turns)
    text = f"[rehearsal {digest}] {model} was asked: {turns[-1] if turns else ''}"
    if form is not None:
        text = json.dumps(example(form))
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


def calling(turns: Sequence[str], used: Sequence[ToolCall]) -> Answer:
    """An answer that calls tools."""
    return Answer(
        text="",
        finish="tool_calls",
        prompt_tokens=sum(len(turn.split()) for turn in turns),
        completion_tokens=len(used),
        calls=used,
    )


def digest_of(model: str, turns: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((model, *turns)).encode()).hexdigest()[:6]


def answer_openai(model: str, body: Json) -> Answer:
    """Checks a chat request as OpenAI does. Raises RefusalError (400)."""
    messages = tables(body.get("messages"))
    if not messages:
        raise RefusalError(400, "invalid_value", "Missing required parameter: 'messages'.", param="messages")
    _check_numbers(body)
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= _TEMPERATURE_MAX:
        raise RefusalError(
            400,
            "decimal_above_max_value",
            f"Invalid 'temperature': {temperature} is not between 0 and 2.",
            param="temperature",
        )
    stop: str | list[str] = body.get("stop") or []
    turns = [_text(message.get("content")) for message in messages]
    if used := _calls(model, turns, body, answered=messages[-1].get("role") == "tool"):
        return calling(turns, used)
    wanted = table(body.get("response_format"))
    return answer(
        model,
        turns,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else list(stop),
        form=table(table(wanted.get("json_schema")).get("schema")) if wanted.get("type", "text") != "text" else None,
    )


def _check_numbers(body: Json) -> None:
    for name, (kind, expected) in _NUMBERS.items():
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            message = f"Invalid type for '{name}': expected {expected}, but got {type(value).__name__} instead."
            raise RefusalError(400, "invalid_type", message, param=name)


def _calls(model: str, turns: Sequence[str], body: Json, *, answered: bool) -> list[ToolCall]:
    functions = [table(tool.get("function")) for tool in tables(body.get("tools"))]
    tools = {str(one.get("name")): table(one.get("parameters")) for one in functions}
    choice = body.get("tool_choice")
    if choice == "none":
        return []
    if isinstance(choice, dict):
        only = str(table(table(cast("object", choice)).get("function")).get("name"))
        tools = {name: schema for name, schema in tools.items() if name == only}
    must = choice is not None and choice != "auto"
    return calls(tools, turns[-1], must=must, answered=answered, id=f"call_{digest_of(model, turns)}")


def completion(id: str, model: str, created: datetime, said: Answer, body: Json) -> Json:
    """As many choices as `body` asks for, all alike, with the odds of each token if it asks for them."""
    message: Json = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.calls:
        message["tool_calls"] = [_called(one) for one in said.calls]
    odds = [{"token": one, "logprob": -0.5, "bytes": list(one.encode()), "top_logprobs": []} for one in said.pieces()]
    choice = {
        "message": message,
        "finish_reason": said.finish,
        "logprobs": {"content": odds, "refusal": None} if body.get("logprobs") else None,
    }
    return {
        **_frame(id, model, created, "chat.completion"),
        "choices": [{"index": index, **choice} for index in range(int(body.get("n") or 1))],
        "usage": _usage(said),
    }


def _called(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": json.dumps(call.input)}
    return {"id": call.id, "type": "function", "function": function}


def stream(id: str, model: str, created: datetime, said: Answer, *, usage: bool) -> Iterator[bytes]:
    """Server-sent events, one word each, ended by `[DONE]`."""
    frame = _frame(id, model, created, "chat.completion.chunk")
    deltas: list[tuple[Json, str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in said.pieces()]
    for number, call in enumerate(said.calls):
        whole = _called(call)
        arguments: str = whole["function"]["arguments"]
        begun = {**whole, "index": number, "function": {"name": call.name, "arguments": ""}}
        deltas.append(({"tool_calls": [begun]}, None))
        for part in (arguments[:5], arguments[5:]):
            deltas.append(({"tool_calls": [{"index": number, "function": {"arguments": part}}]}, None))
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
