"""What Converse and ConverseStream answer, in OpenAI's shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from providers.errors import ChatError

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})
_FAILED = 502


def completion(said: Mapping[str, Any], form: str | None) -> dict[str, object]:
    """`form`: the tool whose input is the answer; where it was not used, the texts are."""
    texts: list[str] = []
    formed: list[str] = []
    calls: list[dict[str, object]] = []
    for block in said["output"]["message"]["content"]:
        if "text" in block:
            texts.append(str(block["text"]))
        elif "toolUse" in block:
            use = block["toolUse"]
            text = json.dumps(use["input"], ensure_ascii=False)
            if use["name"] == form:
                formed.append(text)
            else:
                calls.append(_call(use["toolUseId"], use["name"], text))
    content = formed[0] if formed else "".join(texts)
    message: dict[str, object] = {"role": "assistant", "content": content if content or not calls else None}
    message["refusal"] = None
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _finish(said["stopReason"], calls), "logprobs": None}
    answer = {**extra(said), "choices": [choice]}
    return {**answer, "usage": usage(said["usage"])} if "usage" in said else answer


class Chunks:
    """One stream's events, made chunks. Where a form is asked for, texts wait until it is clear that it is not used."""

    def __init__(self, form: str | None) -> None:
        self._form = form
        self._held: list[str] = []
        self._formed = False
        self._calls: dict[int, int] = {}
        """By the number of a block, that of its tool call."""
        self._empty: set[int] = set()
        """Blocks of tools whose input has not begun."""
        self.ended = False
        """Whether Bedrock has said why the answer ends; before that, it is not whole."""

    def of(self, event: Mapping[str, Any]) -> Iterator[dict[str, object]]:
        match event:
            case {"messageStart": _}:
                yield _delta({"role": "assistant", "content": ""})
            case {"contentBlockStart": {"start": {"toolUse": use}, "contentBlockIndex": block}}:
                yield from self._begun(block, use)
            case {"contentBlockDelta": {"delta": {"text": text}}} if self._form is not None:
                self._held.append(str(text))
            case {"contentBlockDelta": {"delta": {"text": text}}}:
                yield _delta({"content": str(text)})
            case {"contentBlockDelta": {"delta": {"toolUse": {"input": text}}, "contentBlockIndex": block}} if text:
                yield self._more(block, str(text))
            case {"contentBlockStop": {"contentBlockIndex": block}} if block in self._empty:
                yield self._more(block, "{}")
            case {"messageStop": stop}:
                yield from self._stopped(stop)
            case {"metadata": {"usage": counts}}:
                yield {"choices": [], "usage": usage(counts)}
            case _:
                pass

    def _begun(self, block: int, use: Mapping[str, Any]) -> Iterator[dict[str, object]]:
        self._empty.add(block)
        if use["name"] == self._form:
            self._formed = True
            return
        number = self._calls[block] = len(self._calls)
        yield _delta({"tool_calls": [{"index": number, **_call(use["toolUseId"], use["name"], "")}]})

    def _more(self, block: int, text: str) -> dict[str, object]:
        self._empty.discard(block)
        if block not in self._calls:
            return _delta({"content": text})
        return _delta({"tool_calls": [{"index": self._calls[block], "function": {"arguments": text}}]})

    def _stopped(self, stop: Mapping[str, Any]) -> Iterator[dict[str, object]]:
        self.ended = True
        if self._held and not self._formed:
            yield _delta({"content": "".join(self._held)})
        yield {**_delta({}, _finish(stop["stopReason"], self._calls)), **extra(stop)}


def extra(said: Mapping[str, Any]) -> dict[str, object]:
    """What the model adds in fields of its own."""
    fields: dict[str, object] = said.get("additionalModelResponseFields") or {}
    return fields


def usage(counts: Mapping[str, Any]) -> dict[str, object]:
    """OpenAI counts what came from a cache as part of the prompt, Bedrock beside it."""
    cached, total, out = counts.get("cacheReadInputTokens"), int(counts["totalTokens"]), int(counts["outputTokens"])
    found: dict[str, object] = {"prompt_tokens": total - out, "completion_tokens": out, "total_tokens": total}
    return found if cached is None else {**found, "prompt_tokens_details": {"cached_tokens": int(cached)}}


def _finish(reason: str, calls: Sequence[object] | Mapping[int, int]) -> str:
    """Raises ChatError: what the model wrote cannot be read, and nobody should take it for an answer."""
    if reason in _MALFORMED:
        message = f"the model's answer cannot be read ({reason}); ask again"
        raise ChatError(message, status=_FAILED, body={"error": {"message": message, "code": reason}}, code=reason)
    found = _FINISH.get(reason, "stop")
    return "stop" if found == "tool_calls" and not calls else found


def _call(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _delta(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}
