"""Chat through Converse and ConverseStream, mapped from and to OpenAI's shapes.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from providers.bedrock.clients import Clients
from providers.bedrock.errors import translated_chat
from providers.errors import ChatError
from providers.ports import ChatChunk, ChatRequest, ServingTarget, Upstream

_FINISH = {"max_tokens": "length", "content_filtered": "content_filter", "guardrail_intervened": "content_filter"}
_UNTRANSLATED = ("tools", "functions", "response_format", "logprobs")
_REFUSED = 400


class BedrockChat:
    """`providers.ports.Chat`. What Converse has no word for is refused where it would change the answer's form."""

    def __init__(self, clients: Clients, *, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._now = now

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        arguments = _arguments(target, request)
        with translated_chat(now=self._now):
            said = self._clients.get("bedrock-runtime", read_timeout_s=timeout_s).converse(**arguments)
        text = "".join(str(block.get("text", "")) for block in said["output"]["message"]["content"])
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": _finish(said["stopReason"]),
        }
        return {
            **self._frame(target, said, "chat.completion"),
            **_extra(said),
            "choices": [choice],
            "usage": _usage(said["usage"]),
        }

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        arguments = _arguments(target, request)
        with translated_chat(now=self._now):
            said = self._clients.get("bedrock-runtime", read_timeout_s=timeout_s).converse_stream(**arguments)
            frame = self._frame(target, said, "chat.completion.chunk")
            with contextlib.closing(said["stream"]) as events:
                for event in events:
                    if (chunk := _chunk(event)) is not None:
                        yield {**frame, **chunk}

    def upstream(self, target: ServingTarget) -> Upstream | None:
        del target
        return None

    def _frame(self, target: ServingTarget, said: Mapping[str, Any], kind: str) -> dict[str, object]:
        return {
            "id": f"chatcmpl-{said['ResponseMetadata'].get('RequestId', '')}",
            "object": kind,
            "created": int(self._now().timestamp()),
            "model": target.deployment_name or target.artifact.id,
        }


def _arguments(target: ServingTarget, request: ChatRequest) -> dict[str, Any]:
    """Raises ChatError (400), as the endpoint would, for what cannot be mapped."""
    if lost := [name for name in _UNTRANSLATED if request.get(name)]:
        raise _refused(f"{', '.join(lost)}: Bedrock's Converse is not asked for these here")
    messages = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in cast("list[object]", messages)):
        raise _refused("messages must be a list of objects")
    system: list[dict[str, str]] = []
    turns: list[dict[str, Any]] = []
    for message in cast("list[dict[str, Any]]", messages):
        text = [{"text": part} for part in _texts(message.get("content"))]
        if message.get("role") in {"system", "developer"}:
            system += text
        elif turns and turns[-1]["role"] == message.get("role"):
            turns[-1]["content"] += text  # Converse wants the roles in turn
        else:
            turns.append({"role": message.get("role"), "content": text})
    stop = request.get("stop")
    config = {
        "maxTokens": request.get("max_completion_tokens") or request.get("max_tokens"),
        "temperature": request.get("temperature"),
        "topP": request.get("top_p"),
        "stopSequences": [stop] if isinstance(stop, str) else stop,
    }
    return {
        "modelId": target.deployment_id or target.artifact.id,
        "messages": turns,
        "inferenceConfig": {name: value for name, value in config.items() if value is not None},
        **({"system": system} if system else {}),
    }


def _refused(message: str) -> ChatError:
    return ChatError(message, status=_REFUSED, body={"error": {"message": message, "code": "invalid_request"}})


def _chunk(event: Mapping[str, Any]) -> dict[str, object] | None:
    if "messageStart" in event:
        return _choice({"role": "assistant", "content": ""}, None)
    if "contentBlockDelta" in event:
        return _choice({"content": str(event["contentBlockDelta"]["delta"].get("text", ""))}, None)
    if "messageStop" in event:
        return {**_choice({}, _finish(event["messageStop"]["stopReason"])), **_extra(event["messageStop"])}
    if "metadata" in event:
        return {"choices": [], "usage": _usage(event["metadata"]["usage"])}
    return None


def _choice(delta: dict[str, str], finish: str | None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _extra(said: Mapping[str, Any]) -> dict[str, object]:
    """What the model adds in fields of its own."""
    fields: dict[str, object] = said.get("additionalModelResponseFields") or {}
    return fields


def _finish(reason: str) -> str:
    return _FINISH.get(reason, "stop")


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    return {
        "prompt_tokens": int(usage["inputTokens"]),
        "completion_tokens": int(usage["outputTokens"]),
        "total_tokens": int(usage["totalTokens"]),
    }


def _texts(content: object) -> list[str]:
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)
        if other := sorted({str(part.get("type")) for part in parts if "text" not in part}):
            raise _refused(f"content of type {', '.join(other)}: Bedrock's Converse is asked with texts only here")
        return [str(part["text"]) for part in parts]
    return [str(content)] if content else []
