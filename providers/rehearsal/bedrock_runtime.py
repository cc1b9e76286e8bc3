"""Bedrock's runtime: Converse and ConverseStream on what serves a custom model, or on a base model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from providers.rehearsal import bedrock_parts as aws
from providers.rehearsal.bedrock_service import DEPLOYMENT, PROVISIONED
from providers.rehearsal.completions import Answer, answer
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
        return json_reply(
            {
                "output": {"message": {"role": "assistant", "content": [{"text": said.text}]}},
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
        if not messages or messages[0].get("role") != "user":
            raise aws.invalid("A conversation must start with a user message. Try again with a conversation that does.")
        roles = [message["role"] for message in messages]
        if any(one == two for one, two in pairwise(roles)):
            raise aws.invalid("Roles must alternate between user and assistant.")
        config = table(call.body.get("inferenceConfig"))
        turns = [*_texts(call.body.get("system"))]
        for message in messages:
            turns += _texts(message["content"])
        return answer(name, turns, max_tokens=config.get("maxTokens"), stop=config.get("stopSequences") or [])

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


def _frames(said: Answer) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant"})
    for piece in said.pieces():
        yield frame("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})
    yield frame("contentBlockStop", {"contentBlockIndex": 0})
    yield frame("messageStop", {"stopReason": _reason(said), "additionalModelResponseFields": _FIELDS})
    yield frame("metadata", {"usage": _usage(said), "metrics": {"latencyMs": 1}})


def _reason(said: Answer) -> str:
    return "max_tokens" if said.finish == "length" else "end_turn"


def _usage(said: Answer) -> Json:
    total = said.prompt_tokens + said.completion_tokens
    return {"inputTokens": said.prompt_tokens, "outputTokens": said.completion_tokens, "totalTokens": total}


def _texts(blocks: object) -> list[str]:
    return [str(block["text"]) for block in tables(blocks) if "text" in block]
