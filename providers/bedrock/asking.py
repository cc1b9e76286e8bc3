"""OpenAI's chat request as the arguments of Converse.

What Converse has no word for is refused where it asks for anything; what OpenAI's API does not know either is a field
of the model's own (`top_k`) and goes along as `additionalModelRequestFields`.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from providers.errors import ChatError
from providers.ports import ChatRequest, ServingTarget

_MAPPED = frozenset(
    {
        "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice",
        "response_format",
    }
)  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    {
        "model", "stream", "stream_options", "user", "metadata", "store", "seed", "prompt_cache_key",
        "prompt_cache_retention", "safety_identifier",
    }
)  # fmt: skip
"""Of those that OpenAI knows: bookkeeping, hints, and `seed`, of which OpenAI itself promises nothing."""
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "parallel_tool_calls": (True,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    "moderation": (),
    "functions": (),
    "function_call": (),
}
"""Those that Converse cannot do, with the values that ask for nothing."""
_DATA_URL = re.compile(r"data:image/(png|jpe?g|gif|webp);base64,", re.IGNORECASE)
_NO_INPUT: Mapping[str, object] = {"type": "object", "properties": {}}
_STATUS = 400


@dataclass(frozen=True, slots=True)
class Asked:
    """`form`: the tool whose input is the answer itself, where an answer of a certain form is asked for."""

    arguments: Mapping[str, Any]
    form: str | None


def asked(target: ServingTarget, request: ChatRequest) -> Asked:
    """Raises ChatError (400), as the endpoint would, for what cannot be mapped."""
    for name, neutral in _NEUTRAL.items():
        value = request.get(name)
        if value is not None and value not in neutral:
            raise _refused(f"{name}: Bedrock's Converse has nothing like it; leave it out", name)
    system, turns = _messages(request.get("messages"))
    form = _form(request.get("response_format"))
    tools = [_tool(one) for one in _objects(request.get("tools") or [], "tools")]
    stop = request.get("stop")
    limit = request.get("max_completion_tokens")
    config = {
        "maxTokens": request.get("max_tokens") if limit is None else limit,
        "temperature": request.get("temperature"),
        "topP": request.get("top_p"),
        "stopSequences": [stop] if isinstance(stop, str) else stop,
    }
    arguments = {
        "modelId": target.deployment_id or target.artifact.id,
        "messages": turns,
        "inferenceConfig": {name: value for name, value in config.items() if value is not None},
        "system": system,
        "toolConfig": _tool_config(tools, form, request.get("tool_choice"), talked=_uses_tools(turns)),
        "additionalModelRequestFields": {
            name: value
            for name, value in request.items()
            if value is not None and name not in _MAPPED and name not in _WITHOUT_EFFECT and name not in _NEUTRAL
        },
    }
    name = None if form is None else str(form["toolSpec"]["name"])
    return Asked({name: value for name, value in arguments.items() if value or name == "messages"}, name)


def _messages(messages: object) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """System texts, and turns: Converse wants the roles in turn, and what tools answered in the user's."""
    system: list[dict[str, str]] = []
    turns: list[dict[str, Any]] = []
    for message in _objects(messages, "messages"):
        role, content = message.get("role"), _content(message.get("content"))
        match role:
            case "system" | "developer":
                system += content
                continue
            case "tool":
                said = {"toolUseId": message.get("tool_call_id"), "content": content}
                role, content = "user", [{"toolResult": said}]
            case "assistant":
                content += [_call(one) for one in _objects(message.get("tool_calls") or [], "messages.tool_calls")]
            case "user":
                pass
            case _:
                raise _refused(
                    f"messages: no role {role!r}; there are system, developer, user, assistant, tool", "messages"
                )
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    return system, turns


def _content(content: object) -> list[dict[str, Any]]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(one) for one in _objects(content, "messages.content")]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"text": part.get("text")}
        case "refusal":
            return {"text": part.get("refusal")}
        case "image_url":
            return {"image": _image(_object(part.get("image_url"), "image_url").get("url"))}
        case other:
            raise _refused(f"messages: content of type {other!r} is not mapped to Bedrock's Converse", "messages")


def _image(url: object) -> dict[str, Any]:
    """Addresses are not fetched: whoever may chat would make this server ask any address that it can reach."""
    head = _DATA_URL.match(url) if isinstance(url, str) else None
    if head is None or not isinstance(url, str):
        message = (
            "messages: image_url must be a data URL for Bedrock, data:image/png;base64,… (or jpeg, gif, webp); "
            "other addresses are not fetched"
        )
        raise _refused(message, "messages")
    kind = head[1].lower()
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as exc:
        raise _refused(f"messages: image_url is not base64: {exc}", "messages") from exc
    return {"format": "jpeg" if kind == "jpg" else kind, "source": {"bytes": data}}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = _object(call.get("function"), "messages.tool_calls.function")
    try:
        arguments: object = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError) as exc:
        raise _refused(f"messages: arguments of tool call {call.get('id')!r} are not JSON: {exc}", "messages") from exc
    return {"toolUse": {"toolUseId": call.get("id"), "name": function.get("name"), "input": arguments}}


def _uses_tools(turns: list[dict[str, Any]]) -> bool:
    return any(block.keys() & {"toolUse", "toolResult"} for turn in turns for block in turn["content"])


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """`strict` is not handed on: no model that Bedrock tunes is among those which keep it."""
    if tool.get("type") != "function":
        raise _refused(f"tools: {tool.get('type')!r} is not mapped to Bedrock's Converse, only 'function' is", "tools")
    function = _object(tool.get("function"), "tools.function")
    return _spec(function.get("name"), function.get("description"), function.get("parameters"))


def _form(wanted: object) -> dict[str, Any] | None:
    """A tool that takes the answer as its input: models that Bedrock tunes have no other way to keep to a schema."""
    if wanted is None:
        return None
    wanted = _object(wanted, "response_format")
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind != "json_schema":
        message = f"response_format: Bedrock has no {kind!r}; give a schema, as {{'type': 'json_schema', …}}"
        raise _refused(message, "response_format")
    given = _object(wanted.get("json_schema"), "response_format.json_schema")
    schema = given.get("schema")
    if not given.get("name") or not isinstance(schema, dict) or cast("dict[str, Any]", schema).get("type") != "object":
        raise _refused("response_format: json_schema needs a name, and a schema of type object", "response_format")
    return _spec(given["name"], given.get("description") or "Gives the answer.", cast("dict[str, Any]", schema))


def _spec(name: object, description: object, schema: object) -> dict[str, Any]:
    spec: dict[str, object] = {"name": name, "description": description, "inputSchema": {"json": schema or _NO_INPUT}}
    return {"toolSpec": {key: value for key, value in spec.items() if value}}


def _tool_config(
    tools: list[dict[str, Any]], form: dict[str, Any] | None, choice: object, *, talked: bool
) -> dict[str, Any] | None:
    """An answer of a certain form is a tool that must be used; `any` is known to more models than the tool's name.

    `talked`: tools were used before; then Converse insists on being told of them.
    """
    match choice:
        case None | "auto":
            pass
        case "required":
            return {"tools": tools, "toolChoice": {"any": {}}}  # a tool it must be, and no answer yet
        case {"type": "function", "function": {"name": str(name)}}:
            return {"tools": tools, "toolChoice": {"tool": {"name": name}}}
        case "none" if talked:
            message = "tool_choice: Bedrock has no 'none' in a conversation in which tools were used; leave it out"
            raise _refused(message, "tool_choice")
        case "none":
            tools = []
        case _:
            raise _refused("tool_choice: one of none, auto, required or a function's name", "tool_choice")
    if form is not None:
        return {"tools": [*tools, form], "toolChoice": {"any": {}}}
    return {"tools": tools} if tools else None


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in cast("list[object]", value)):
        raise _refused(f"{what} must be a list of objects", what.partition(".")[0])
    return cast("list[dict[str, Any]]", value)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(f"{what} must be an object", what.partition(".")[0])
    return cast("dict[str, Any]", value)


def _refused(message: str, param: str) -> ChatError:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_value"}
    return ChatError(message, status=_STATUS, body={"error": error}, code="unsupported_value")
