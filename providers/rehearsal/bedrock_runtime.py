"""Bedrock's runtime: Converse and ConverseStream on what serves a custom model, or on a base model."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from providers.rehearsal import bedrock_parts as aws
from providers.rehearsal.bedrock_service import DEPLOYMENT, PROVISIONED
from providers.rehearsal.calling import ToolCall, calls
from providers.rehearsal.completions import Answer, answer, calling, digest_of
from providers.rehearsal.eventstream import frame
from providers.rehearsal.faults import Fault
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, table, tables
from providers.rehearsal.world import World

_FIELDS = {"rehearsal": True}


class BedrockRuntime:
    name = "bedrock-runtime"
    request_id = "x-amzn-requestid"

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/model/{id}/converse", "bedrock-runtime.converse", "read", self._converse),
            Route("POST", "/model/{id}/converse-stream", "bedrock-runtime.converse_stream", "read", self._stream),
        ]

    def authorize(self, request: Request) -> None:
        aws.authorize_aws(request)

    def error(self, refusal: RefusalError) -> Reply:
        return aws.error_aws(refusal)

    def refusal(self, fault: Fault) -> RefusalError:
        return aws.refusal_aws(fault)

    def _converse(self, call: Exchange) -> Reply:
        said = self._said(call)
        content: list[Json] = [{"text": said.text}] if said.text else []
        content += [{"toolUse": {"toolUseId": one.id, "name": one.name, "input": one.input}} for one in said.calls]
        return json_reply(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": _reason(said),
                "usage": _usage(said),
                "metrics": {"latencyMs": 1},
                "additionalModelResponseFields": _FIELDS,
            }
        )

    def _stream(self, call: Exchange) -> Reply:
        return Reply(
            headers={"content-type": "application/vnd.amazon.eventstream"},
            chunks=_frames(self._said(call)),
        )

    def _said(self, call: Exchange) -> Answer:
        name = self._serving(call)
        messages = tables(call.body.get("messages"))
        _check(messages, call.body)
        turns = [*_texts(call.body.get("system"))]
        for message in messages:
            turns += _texts(message["content"])
        if used := self._calls(name, turns, call.body, messages[-1]):
            return calling(turns, used)
        config = table(call.body.get("inferenceConfig"))
        return answer(name, turns, max_tokens=config.get("maxTokens"), stop=config.get("stopSequences") or [])

    @staticmethod
    def _calls(name: str, turns: Sequence[str], body: Json, last: Json) -> list[ToolCall]:
        config = table(body.get("toolConfig"))
        specs = [table(tool.get("toolSpec")) for tool in tables(config.get("tools"))]
        tools = {str(spec.get("name")): table(table(spec.get("inputSchema")).get("json")) for spec in specs}
        choice = table(config.get("toolChoice"))
        if "tool" in choice:
            tools = {choice["tool"]["name"]: tools[choice["tool"]["name"]]}
        answered = any("toolResult" in block for block in tables(last["content"]))
        must = bool(choice.keys() & {"any", "tool"})
        question = turns[-1] if turns else ""
        return calls(tools, question, must=must, answered=answered, id=f"tooluse_{digest_of(name, turns)}")

    def _serving(self, call: Exchange) -> str:
        """The model's name. A custom model answers only through what serves it."""
        target = call.params["id"]
        for kind, word in ((PROVISIONED, "InService"), (DEPLOYMENT, "Active")):
            thing = self._world.truth.find(kind, target, call.now)
            if thing is not None:
                if thing.status(call.now) != word:
                    raise RefusalError(429, "ModelNotReadyException", f"{thing.name} is {thing.status(call.now)}.")
                thing.use(call.now)
                return str(thing.body["modelArn"])
        if target.rsplit("/", 1)[-1] in self._world.catalogue["bedrock"]:
            return target
        if ":custom-model/" in target:
            raise aws.invalid(
                "Invocation of a custom model isn't supported without Provisioned Throughput or a deployment."
            )
        raise aws.missing(target)


def _check(messages: Sequence[Json], body: Json) -> None:
    """As Converse checks a conversation. Raises RefusalError (400)."""
    if not messages or messages[0].get("role") != "user":
        raise aws.invalid("A conversation must start with a user message. Try again with a conversation that does.")
    if any(one["role"] == two["role"] for one, two in pairwise(messages)):
        raise aws.invalid("Roles must alternate between user and assistant.")
    asked: set[str] = set()
    for at, message in enumerate(messages):
        blocks = tables(message["content"])
        if not blocks:
            raise aws.invalid(f"The content field in the Message object at messages.{at} is empty.")
        if any(not str(block.get("text", "x")).strip() for block in blocks):
            raise aws.invalid(f"The text field in the ContentBlock object at messages.{at}.content is blank.")
        answered = {str(block["toolResult"]["toolUseId"]) for block in blocks if "toolResult" in block}
        if asked != answered:
            raise aws.invalid(f"Expected toolResult blocks at messages.{at}.content for the following Ids: {asked}")
        asked = {str(block["toolUse"]["toolUseId"]) for block in blocks if "toolUse" in block}
        if (asked or answered) and "toolConfig" not in body:
            raise aws.invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _frames(said: Answer) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant"})
    for piece in said.pieces():
        yield frame("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})
    if said.text:
        yield frame("contentBlockStop", {"contentBlockIndex": 0})
    for block, call in enumerate(said.calls, start=1 if said.text else 0):
        use = {"toolUseId": call.id, "name": call.name}
        yield frame("contentBlockStart", {"start": {"toolUse": use}, "contentBlockIndex": block})
        text = json.dumps(call.input) if call.input else ""
        for part in (text[:5], text[5:]):
            yield frame("contentBlockDelta", {"delta": {"toolUse": {"input": part}}, "contentBlockIndex": block})
        yield frame("contentBlockStop", {"contentBlockIndex": block})
    yield frame("messageStop", {"stopReason": _reason(said), "additionalModelResponseFields": _FIELDS})
    yield frame("metadata", {"usage": _usage(said), "metrics": {"latencyMs": 1}})


def _reason(said: Answer) -> str:
    return {"length": "max_tokens", "tool_calls": "tool_use"}.get(said.finish, "end_turn")


def _usage(said: Answer) -> Json:
    total = said.prompt_tokens + said.completion_tokens
    return {"inputTokens": said.prompt_tokens, "outputTokens": said.completion_tokens, "totalTokens": total}


def _texts(blocks: object) -> list[str]:
    """A picture is told by its size, so that an answer shows that it arrived."""
    found: list[str] = []
    for block in tables(blocks):
        match block:
            case {"text": text}:
                found.append(str(text))
            case {"image": {"format": kind, "source": {"bytes": data}}}:
                found.append(f"[{kind} of {len(base64.b64decode(data))} bytes]")
            case {"toolResult": {"content": inner}}:
                found += _texts(inner)
            case _:
                pass
    return found
