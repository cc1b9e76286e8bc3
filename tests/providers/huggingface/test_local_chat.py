"""Chat over loopback HTTP: handed through as it is, each trouble under its own name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from providers.errors import ChatError, OutcomeUnknownError, ProviderError, UnavailableError
from providers.ports import Artifact, ServingTarget
from tests.providers.huggingface.local_harness import LocalHarness

TARGET = ServingTarget(
    artifact=Artifact(id="unused"), deployment_id="dep-1", deployment_name="dep-1", endpoint="http://127.0.0.1:1"
)


def saying(text: str) -> dict[str, object]:
    return {"model": "support-bot", "messages": [{"role": "user", "content": text}]}


@pytest.fixture
def served(harness: LocalHarness) -> LocalHarness:
    harness.connect().deployments.create(harness.deployment("dep-1"))
    assert harness.settled("dep-1").outcome == "serving"
    return harness


def test_an_answer_bears_the_versions_name_and_no_path(served: LocalHarness) -> None:
    answer = served.connect().chat.complete(TARGET, saying("hello"), timeout_s=10)
    assert answer["model"] == "support-bot@1"
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "HELLO"}, "finish_reason": "stop"}
    ]


def test_a_stream_ends_where_the_server_says_it_is_done(served: LocalHarness) -> None:
    chunks = list(served.connect().chat.stream(TARGET, saying("hello"), timeout_s=10))
    assert [(one["model"], one["object"]) for one in chunks] == [("support-bot@1", "chat.completion.chunk")] * 2


def test_a_stream_may_be_left_before_its_end(served: LocalHarness) -> None:
    chat = served.connect().chat
    stream = chat.stream(TARGET, saying("hello"), timeout_s=10)
    next(iter(stream))
    stream.close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - it is a generator
    assert chat.complete(TARGET, saying("again"), timeout_s=10)["choices"]


def test_a_fault_in_mid_stream_is_an_error_and_not_a_chunk(served: LocalHarness) -> None:
    stream = served.connect().chat.stream(TARGET, saying("break in the middle"), timeout_s=10)
    with pytest.raises(ChatError) as broken:
        list(stream)
    assert (broken.value.status, broken.value.body) == (500, {"error": "it broke"})


def test_an_error_of_the_server_carries_its_body_as_json_or_as_text(served: LocalHarness) -> None:
    chat = served.connect().chat
    with pytest.raises(ChatError) as failed:
        chat.complete(TARGET, saying("break"), timeout_s=10)
    assert (failed.value.status, failed.value.body) == (500, "Internal Server Error")
    with pytest.raises(ChatError) as refused:
        list(chat.stream(TARGET, {**saying("hello"), "temperature": "hot"}, timeout_s=10))
    assert (refused.value.status, refused.value.body) == (422, {"detail": "temperature must be a number"})


@pytest.mark.parametrize("request_", [{"messages": []}, {}])
def test_a_chat_without_a_message_is_refused_before_it_breaks_the_server(
    served: LocalHarness, request_: dict[str, object]
) -> None:
    chat = served.connect().chat
    for ask in (
        lambda: chat.complete(TARGET, request_, timeout_s=10),
        lambda: list(chat.stream(TARGET, request_, timeout_s=10)),
    ):
        with pytest.raises(ChatError, match="at least one message") as refused:
            ask()
        assert (refused.value.status, refused.value.code) == (400, "invalid_value")


@pytest.mark.parametrize(("words", "code"), [("be slow", "timeout"), ("hang up", "broken")])
def test_an_answer_that_does_not_come_leaves_it_open_what_happened(served: LocalHarness, words: str, code: str) -> None:
    with pytest.raises(OutcomeUnknownError) as unknown:
        served.connect().chat.complete(TARGET, saying(words), timeout_s=0.2)
    assert unknown.value.code == code


def test_a_server_that_is_gone_is_unavailable(served: LocalHarness) -> None:
    served.lose_deployment("dep-1")
    while served.connect().deployments.get("dep-1") is not None:
        served.advance()
    with pytest.raises(UnavailableError, match="connections"):
        served.connect().chat.complete(TARGET, saying("hello"), timeout_s=10)
    served.connect().deployments.delete("dep-1")
    with pytest.raises(UnavailableError, match="not there"):
        served.connect().chat.complete(TARGET, saying("hello"), timeout_s=10)


def test_no_error_quotes_the_prompt(served: LocalHarness) -> None:
    for words in ("break", "hang up", "be slow"):
        with pytest.raises(ProviderError) as trouble:
            served.connect().chat.complete(TARGET, saying(words), timeout_s=0.2)
        assert words not in trouble.value.message


def test_importing_the_provider_imports_no_torch_and_no_sdk() -> None:
    code = "import sys, providers.huggingface; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "providers.huggingface.provider" in modules
    assert not {"torch", "transformers", "trl", "huggingface_hub", "openai", "boto3", "azure"} & set(modules)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("messages", "hello"),
        ("messages", ["hello"]),
        ("messages", [{"content": "hello"}]),
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("max_completion_tokens", -1),
        ("n", 2),
    ],
)
def test_what_the_server_would_break_on_is_refused_by_name_here_and_by_the_gateway(
    served: LocalHarness, param: str, value: object
) -> None:
    chat = served.connect().chat
    request = {**saying("hello"), param: value}
    upstream = chat.upstream(TARGET)
    assert upstream is not None
    check = upstream.check
    assert check is not None
    for refusing in (lambda: chat.complete(TARGET, request, timeout_s=10), lambda: check(request)):
        with pytest.raises(ChatError, match=f"'{param}' must be") as caught:
            refusing()
        assert caught.value.status == 400
