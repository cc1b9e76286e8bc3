"""Chats mapped to Converse and back: tools, forms of answers, pictures, reasons for stopping, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from providers.bedrock.answering import Chunks, completion
from providers.bedrock.asking import asked
from providers.errors import ChatError
from providers.ports import Artifact, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness

NOVA = "amazon.nova-micro-v1:0:128k"
TARGET = ServingTarget(artifact=Artifact(id=NOVA), deployment_id=None, deployment_name=None, endpoint=None)
HELLO = {"role": "user", "content": "Where is my order?"}
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "description": "Finds it.", "parameters": SCHEMA}}
PING = {"type": "function", "function": {"name": "ping"}}
FORM = {"type": "json_schema", "json_schema": {"name": "status", "schema": SCHEMA, "strict": True}}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"order": "7"}'}}],
}
TOLD = {"role": "tool", "tool_call_id": "c1", "content": "on its way"}
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


def arguments(*messages: Mapping[str, Any], **more: object) -> Mapping[str, Any]:
    return asked(TARGET, {"model": "bot", "messages": [*(messages or (HELLO,))], **more}).arguments


def refused(*messages: Mapping[str, Any], **more: object) -> str:
    """Why; and always in OpenAI's shape, with what it is about."""
    with pytest.raises(ChatError) as error:
        arguments(*messages, **more)
    assert error.value.status == 400
    body: Any = error.value.body
    assert body["error"]["message"] == error.value.message
    assert body["error"]["param"] in {*more, "messages"}
    return error.value.message


# What is asked


def test_parameters_have_converses_names_and_what_openai_does_not_know_either_is_the_models_own() -> None:
    assert arguments(max_tokens=5, temperature=0, top_p=0.5, stop="x", top_k=9, seed=1, user="u", n=1) == {
        "modelId": NOVA,
        "messages": [{"role": "user", "content": [{"text": "Where is my order?"}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0, "topP": 0.5, "stopSequences": ["x"]},
        "additionalModelRequestFields": {"top_k": 9},
    }
    assert arguments(max_completion_tokens=0, max_tokens=5)["inferenceConfig"] == {"maxTokens": 0}


def test_system_texts_stand_apart_and_turns_of_the_same_role_become_one() -> None:
    found = arguments(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    )
    assert found["system"] == [{"text": "Be brief."}]
    assert found["messages"] == [
        {"role": "user", "content": [{"text": "one"}, {"text": "two"}, {"text": "three"}]},
        {"role": "assistant", "content": [{"text": "no"}]},
    ]


def test_tools_calls_and_what_they_told() -> None:
    second = {"role": "tool", "tool_call_id": "c2", "content": ""}
    found = arguments(HELLO, CALLED, TOLD, second, {"role": "user", "content": "So?"}, tools=[LOOK_UP, PING])
    assert found["toolConfig"] == {
        "tools": [
            {"toolSpec": {"name": "look_up", "description": "Finds it.", "inputSchema": {"json": SCHEMA}}},
            {"toolSpec": {"name": "ping", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        ]
    }
    assert found["messages"][1]["content"] == [
        {"toolUse": {"toolUseId": "c1", "name": "look_up", "input": {"order": "7"}}}
    ]
    assert found["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "on its way"}]}},
        {"toolResult": {"toolUseId": "c2", "content": []}},
        {"text": "So?"},
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", None),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "ping"}}, {"tool": {"name": "ping"}}),
    ],
)
def test_the_choice_of_tools(choice: object, wanted: object) -> None:
    found = arguments(tools=[LOOK_UP, PING], tool_choice=choice)["toolConfig"]
    assert found.get("toolChoice") == wanted
    assert len(found["tools"]) == 2


def test_no_tool_may_be_called_where_none_is_to_be() -> None:
    assert "toolConfig" not in arguments(tools=[LOOK_UP], tool_choice="none")
    assert "leave it out" in refused(HELLO, CALLED, TOLD, tools=[LOOK_UP], tool_choice="none")


def test_a_form_is_a_tool_that_must_be_used_beside_those_that_there_are() -> None:
    spec = {"name": "status", "description": "Gives the answer.", "inputSchema": {"json": SCHEMA}}
    alone = arguments(response_format=FORM)["toolConfig"]
    assert alone == {"tools": [{"toolSpec": spec}], "toolChoice": {"any": {}}}
    beside = arguments(response_format=FORM, tools=[PING])["toolConfig"]
    assert [one["toolSpec"]["name"] for one in beside["tools"]] == ["ping", "status"]
    assert beside["toolChoice"] == {"any": {}}
    first = arguments(response_format=FORM, tools=[PING], tool_choice="required")["toolConfig"]
    assert [one["toolSpec"]["name"] for one in first["tools"]] == ["ping"], "a tool must be called, not an answer given"
    assert "toolConfig" not in arguments(response_format={"type": "text"})


def test_pictures_come_as_data_and_no_address_is_fetched() -> None:
    def shown(url: object) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}

    data = base64.b64encode(b"\x89PNG").decode()
    for kind, told in (("png", "png"), ("jpg", "jpeg"), ("JPEG", "jpeg"), ("gif", "gif"), ("webp", "webp")):
        block = arguments(shown(f"data:image/{kind};base64,{data}"))["messages"][0]["content"][0]
        assert block == {"image": {"format": told, "source": {"bytes": b"\x89PNG"}}}
    for url in ("http://169.254.169.254/latest", "https://x.example/a.png", "data:image/svg+xml;base64,AA==", None, 3):
        assert "not fetched" in refused(shown(url))
    assert "not base64" in refused(shown("data:image/png;base64,*"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"n": 2}, "n: .* leave it out"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "json_object.*give a schema"),
        ({"response_format": "json"}, "response_format must be an object"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}},
            "obj",
        ),
        ({"tools": "all"}, "tools must be a list"),
        ({"tools": [{"type": "custom"}]}, "only 'function' is"),
        ({"tools": [{"type": "function"}]}, "tools.function must be an object"),
        ({"tool_choice": "any"}, "one of none, auto, required"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_its_name(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ChatError, match=words):
        arguments(**more)
    refused(**more)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "content": "x"},
        {"role": "user", "content": [{"type": "input_audio"}]},
        {"role": "user", "content": {"text": "x"}},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "x", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c"}]},
    ],
)
def test_messages_that_cannot_be_mapped_are_refused(message: dict[str, Any]) -> None:
    refused(message)


# What is answered


def said(*blocks: object, reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": [*blocks]}
    return {"output": {"message": message}, "stopReason": reason, "usage": {**USAGE, **usage}}


def use(id: str, name: str, **given: object) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": id, "name": name, "input": given}}


def only(found: Mapping[str, Any]) -> dict[str, Any]:
    return found["choices"][0]


def test_calls_are_told_beside_the_text_and_without_one_there_is_none() -> None:
    both = only(completion(said({"text": "Let me see."}, use("c1", "ping"), reason="tool_use"), None))
    assert both["finish_reason"] == "tool_calls"
    assert both["message"]["content"] == "Let me see."
    assert both["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    ]
    assert only(completion(said(use("c1", "ping"), reason="tool_use"), None))["message"]["content"] is None
    assert only(completion(said(), None))["message"]["content"] == ""


def test_the_input_of_the_form_is_the_answer() -> None:
    formed = only(completion(said({"text": "Hm."}, use("c", "status", order="ü"), reason="tool_use"), "status"))
    assert (formed["message"]["content"], formed["finish_reason"]) == ('{"order": "ü"}', "stop")
    assert "tool_calls" not in formed["message"]
    stopped = only(completion(said({"text": "I may not."}, reason="guardrail_intervened"), "status"))
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("I may not.", "content_filter")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("of_tomorrow", "stop"),
    ],
)
def test_reasons_for_stopping_have_openais_names(reason: str, finish: str) -> None:
    assert only(completion(said({"text": "x"}, reason=reason), None))["finish_reason"] == finish


def test_an_answer_that_the_model_garbled_is_a_failure_and_no_answer() -> None:
    with pytest.raises(ChatError, match="malformed_tool_use") as failed:
        completion(said(reason="malformed_tool_use"), None)
    assert failed.value.status == 502
    with pytest.raises(ChatError):
        list(Chunks(None).of({"messageStop": {"stopReason": "malformed_model_output"}}))


def test_tokens_from_a_cache_are_part_of_the_prompt() -> None:
    found = completion(said({"text": "x"}, cacheReadInputTokens=90, totalTokens=95), None)["usage"]
    assert found == {
        "prompt_tokens": 93,
        "completion_tokens": 2,
        "total_tokens": 95,
        "prompt_tokens_details": {"cached_tokens": 90},
    }


def chunks(form: str | None, *events: Mapping[str, Any]) -> list[dict[str, Any]]:
    made = Chunks(form)
    return [dict(only(chunk)) for event in events for chunk in made.of(event) if chunk["choices"]]


def begun(block: int, id: str, name: str) -> dict[str, Any]:
    return {"contentBlockStart": {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": id, "name": name}}}}


def delta(block: int, **what: object) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": block, "delta": what}}


def ended(block: int) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": block}}


def stop(reason: str) -> dict[str, Any]:
    return {"messageStop": {"stopReason": reason}}


def test_calls_are_streamed_piece_by_piece_each_under_its_number() -> None:
    found = chunks(
        None,
        {"messageStart": {"role": "assistant"}},
        delta(0, text="Let me"),
        delta(0, reasoningContent={"text": "…"}),
        ended(0),
        begun(1, "c1", "look_up"),
        delta(1, toolUse={"input": ""}),
        delta(1, toolUse={"input": '{"order"'}),
        delta(1, toolUse={"input": ': "7"}'}),
        ended(1),
        begun(2, "c2", "ping"),
        ended(2),
        stop("tool_use"),
    )
    calls: dict[int, dict[str, str]] = {}
    for one in found:
        for call in one["delta"].get("tool_calls", ()):
            known = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] += call.get("id", "")
            known["name"] += call["function"].get("name", "")
            known["arguments"] += call["function"]["arguments"]
    assert calls == {
        0: {"id": "c1", "name": "look_up", "arguments": '{"order": "7"}'},
        1: {"id": "c2", "name": "ping", "arguments": "{}"},
    }
    assert found[0]["delta"] == {"role": "assistant", "content": ""}
    assert found[1]["delta"] == {"content": "Let me"}
    assert found[-1]["finish_reason"] == "tool_calls"


def test_the_input_of_the_form_is_streamed_as_the_answer() -> None:
    found = chunks(
        "status",
        delta(0, text="Hm."),
        begun(1, "c", "status"),
        delta(1, toolUse={"input": '{"order"'}),
        delta(1, toolUse={"input": ': "7"}'}),
        ended(1),
        stop("tool_use"),
    )
    assert "".join(one["delta"].get("content", "") for one in found) == '{"order": "7"}'
    assert found[-1]["finish_reason"] == "stop"
    stopped = chunks("status", delta(0, text="I may"), delta(0, text=" not."), stop("guardrail_intervened"))
    assert [one["delta"] for one in stopped] == [{"content": "I may not."}, {}]
    assert stopped[-1]["finish_reason"] == "content_filter"


# Over HTTP, decoded by botocore


def test_tools_forms_and_pictures_go_through_converse_and_its_stream(harness: CloudHarness) -> None:
    chat = harness.connect().chat
    question = {"role": "user", "content": "look_up and ping, please"}
    ask: dict[str, Any] = {"messages": [question], "tools": [LOOK_UP, PING]}
    whole: Any = chat.complete(TARGET, ask, timeout_s=5)
    called = whole["choices"][0]["message"]["tool_calls"]
    assert [one["function"]["name"] for one in called] == ["look_up", "ping"]
    assert json.loads(called[0]["function"]["arguments"]) == {"order": "rehearsal"}
    told = [{"role": "tool", "tool_call_id": one["id"], "content": "here"} for one in called]
    history = [question, whole["choices"][0]["message"], *told]
    after: Any = chat.complete(TARGET, {**ask, "messages": history}, timeout_s=5)
    assert "was asked: here" in after["choices"][0]["message"]["content"]
    streamed: list[Any] = list(chat.stream(TARGET, {"messages": [HELLO], "response_format": FORM}, timeout_s=5))
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in streamed if one["choices"])
    assert json.loads(text) == {"order": "rehearsal"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    seen: Any = chat.complete(TARGET, {"messages": [{"role": "user", "content": [image]}]}, timeout_s=5)
    assert "[png of 3 bytes]" in seen["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "more", [{"max_tokens": 0}, {"temperature": "hot"}, {"tools": [{"type": "function", "function": {"name": 3}}]}]
)
def test_what_botocore_will_not_send_is_the_callers_mistake(harness: CloudHarness, more: dict[str, Any]) -> None:
    with pytest.raises(ChatError, match="Parameter validation failed") as error:
        harness.connect().chat.complete(TARGET, {"messages": [HELLO], **more}, timeout_s=5)
    assert error.value.status == 400


def test_bedrocks_own_refusal_is_handed_through(harness: CloudHarness) -> None:
    with pytest.raises(ChatError, match="toolConfig field must be defined") as error:
        harness.connect().chat.complete(TARGET, {"messages": [HELLO, CALLED, TOLD]}, timeout_s=5)
    assert (error.value.status, error.value.code) == (400, "ValidationException")


@pytest.mark.parametrize("stream", [False, True])
def test_when_bedrock_says_how_long_to_wait_the_refusal_of_a_chat_says_it_too(
    harness: CloudHarness, stream: bool
) -> None:
    harness.rehearsal.faults.inject("bedrock*", faults.throttled("seconds", seconds=7), times=None)
    chat = harness.connect().chat
    ask = chat.stream if stream else chat.complete
    with pytest.raises(ChatError) as error:
        list(ask(TARGET, {"messages": [HELLO]}, timeout_s=5))
    assert (error.value.status, error.value.retry_after_s) == (429, 7)
