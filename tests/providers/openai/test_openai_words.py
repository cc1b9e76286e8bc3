"""What OpenAI, and what stands before it, says in other words and orders than the rehearsed one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError, UnavailableError
from providers.ports import Artifact, Provider, ServingTarget
from tests.providers.cloud_harness import NOON, CloudHarness
from tests.providers.scripted import Scripted, scripted

PAGE = b"<html><h1>Please sign in</h1></html>"
MADE = int(NOON.timestamp())
JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "running", "model": "gpt", "created_at": MADE}
TARGET = ServingTarget(artifact=Artifact(id="ft:1"), deployment_id=None, deployment_name=None, endpoint=None)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def server(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("PROXY_KEY", "sk-proxy")
    with scripted() as script:
        harness.set(base_url=f"{script.url}/proxy/v1/", rehearsal=None, api_key_env="PROXY_KEY")
        script.says("GET .*/models$", {"object": "list", "data": [{"id": harness.base_model}]})
        script.says("GET .*/files", {"object": "list", "data": []})
        script.says("GET .*/jobs[?]", {"object": "list", "data": [], "has_more": False})
        script.says("GET .*/jobs/ftjob-1$", JOB)
        script.says("POST .*/files$", file("file-1"))
        script.says("POST .*/jobs$", JOB)
        try:
            yield script
        finally:
            harness.close()


def file(id_: str, status: str = "processed", **beside: object) -> dict[str, Any]:
    return {"id": id_, "object": "file", "filename": f"{id_}.jsonl", "created_at": MADE, "status": status, **beside}


NO_ANSWERS: list[object] = [PAGE, {}, None, [1], {"data": [{}]}, {"data": "none"}]
READS: list[tuple[str, Callable[[Provider], object]]] = [
    ("GET .*/jobs/ftjob-1$", lambda one: one.training.poll(["ftjob-1"])),
    ("GET .*/jobs[?]", lambda one: one.training.unfinished()),
    ("GET .*/events", lambda one: one.training.log_tail("ftjob-1")),
    ("GET .*/events", lambda one: one.training.metrics("ftjob-1", after_step=0)),
    ("GET .*/checkpoints", lambda one: one.training.checkpoints("ftjob-1")),
    ("GET .*/files", lambda one: one.training.clean_up()),
    ("GET .*/models$", lambda one: one.artifacts.list()),
    ("GET .*/models/", lambda one: one.artifacts.get("ft:1")),
]


@pytest.mark.parametrize(("path", "read"), READS)
@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_an_answer_to_something_else_is_unavailable_and_no_absence(
    harness: CloudHarness, server: Scripted, path: str, read: Callable[[Provider], object], answer: object
) -> None:
    server.says(path, answer)
    with pytest.raises(UnavailableError, match="proxy"):
        read(harness.connect())


@pytest.mark.parametrize("answer", [PAGE, {}, None])
def test_a_create_that_is_answered_with_something_else_may_have_happened(
    harness: CloudHarness, server: Scripted, answer: object
) -> None:
    server.says("POST .*/jobs$", answer)
    with pytest.raises(OutcomeUnknownError):
        harness.connect().training.submit(harness.training_request("job-1"))


@pytest.mark.parametrize("answer", [PAGE, {}, None])
def test_a_completion_without_choices_is_no_answer(harness: CloudHarness, server: Scripted, answer: object) -> None:
    server.says("POST .*/chat/completions", answer)
    chat = harness.connect().chat
    with pytest.raises(OutcomeUnknownError):
        chat.complete(TARGET, HELLO, timeout_s=5)
    with pytest.raises(OutcomeUnknownError):
        list(chat.stream(TARGET, HELLO, timeout_s=5))


def test_a_page_with_status_404_is_no_absence_and_is_not_quoted(harness: CloudHarness, server: Scripted) -> None:
    server.says("ftjob-1|models/ft", PAGE, 404)
    provider = harness.connect()
    asked: list[Callable[[], object]] = [
        lambda: provider.training.poll(["ftjob-1"]),
        lambda: provider.artifacts.get("ft:1"),
        lambda: provider.artifacts.delete("ft:1"),
    ]
    for one in asked:
        with pytest.raises(RejectedError, match="a page with status 404"):
            one()
    server.says("ftjob-1|models/ft", {"error": {"message": "not found", "code": None}}, 404)
    assert provider.training.poll(["ftjob-1"]) == {}
    assert provider.artifacts.get("ft:1") is None
    provider.artifacts.delete("ft:1")


@pytest.mark.parametrize("body", [{"error": "no such model"}, "no such model"])
def test_an_error_that_is_a_sentence_is_told(harness: CloudHarness, server: Scripted, body: object) -> None:
    server.says("POST .*/jobs$", body, 400)
    with pytest.raises(RejectedError, match="no such model"):
        harness.connect().training.submit(harness.training_request("job-1"))


def test_a_list_that_knows_no_pages_is_asked_for_once_more_and_not_for_ever(
    harness: CloudHarness, server: Scripted
) -> None:
    server.says("GET .*/files", {"object": "list", "data": [file("file-0")]})
    harness.connect().training.clean_up()
    assert server.count("GET .*/files") == 2


def test_a_file_that_the_list_does_not_show_yet_is_not_sent_again(harness: CloudHarness, server: Scripted) -> None:
    server.says("GET .*/files/file-1$", file("file-1"))
    server.says("POST .*/jobs$", {"error": {"message": "slow down"}}, 429)
    training = harness.connect().training
    for _ in range(3):
        with pytest.raises(UnavailableError):
            training.submit(harness.training_request("job-1"))
    assert server.count("POST .*/files$") == 2


def test_a_file_that_cannot_be_read_is_refused_and_goes(harness: CloudHarness, server: Scripted) -> None:
    server.says("POST .*/files$", file("file-1", "error", status_details="row 3 is no JSON"))
    server.says("DELETE .*/files/file-1", {"id": "file-1", "deleted": True})
    with pytest.raises(RejectedError, match="row 3 is no JSON"):
        harness.connect().training.submit(harness.training_request("job-1"))
    assert server.count("DELETE .*/files/file-1") == 1
    assert server.count("POST .*/jobs$") == 0


@pytest.mark.parametrize(
    ("status", "made", "error"),
    [
        ("uploaded", MADE, UnavailableError),
        ("uploaded", MADE - 3600, RejectedError),
        ("processed", MADE, RejectedError),
    ],
)
def test_a_job_that_is_refused_while_its_data_is_being_read_is_asked_for_again(
    harness: CloudHarness, server: Scripted, status: str, made: int, error: type[ProviderError]
) -> None:
    server.says("GET .*/files/file-1$", file("file-1", status) | {"created_at": made})
    server.says("POST .*/jobs$", {"error": {"message": "File 'file-1' is not ready to be used for fine-tuning."}}, 400)
    with pytest.raises(error):
        harness.connect().training.submit(harness.training_request("job-1"))


def with_mark(raw: bytes) -> bytes:
    return b"\xef\xbb\xbf" + raw


@pytest.mark.parametrize("wrap", [base64.b64encode, base64.encodebytes, with_mark])
def test_results_are_read_however_they_are_wrapped(
    harness: CloudHarness, server: Scripted, wrap: Callable[[bytes], bytes]
) -> None:
    csv = b"step,train_loss,valid_loss\r\n" + b"".join(b"%d,0.5,\r\n" % step for step in range(1, 9))
    server.says("GET .*/jobs/ftjob-1$", {**JOB, "status": "succeeded", "result_files": ["file-9"]})
    server.says("GET .*/files/file-9/content", wrap(csv))
    points = harness.connect().training.metrics("ftjob-1", after_step=6)
    assert [(point.step, point.metrics) for point in points] == [(7, {"train_loss": 0.5}), (8, {"train_loss": 0.5})]


def test_losses_are_read_from_events_in_either_order(harness: CloudHarness, server: Scripted) -> None:
    def events(*steps: int, more: bool) -> dict[str, Any]:
        data = [
            {"id": f"e{step}", "message": "", "data": {"step": step, "train_loss": 1.0, "total_steps": 9}}
            for step in steps
        ]
        return {"object": "list", "data": [*data], "has_more": more}

    server.says("GET .*/events", events(1, 2, 3, more=True))
    server.says("GET .*/events.*after=e3", events(4, 5, more=False))
    training = harness.connect().training
    points = training.metrics("ftjob-1", after_step=2)
    assert [(point.step, set(point.metrics)) for point in points] == [(step, {"train_loss"}) for step in (3, 4, 5)]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"code": "bad_file", "message": "no rows", "param": None}, "no rows (bad_file)"),
        ("no rows", "no rows"),
        ({"code": None, "message": None, "param": None}, None),
        (None, None),
    ],
)
def test_the_reason_of_a_failed_job_is_told_in_whatever_form_it_comes(
    harness: CloudHarness, server: Scripted, told: object, words: str | None
) -> None:
    job = {
        **JOB,
        "status": "failed",
        "error": told,
        "metadata": "none",
        "trained_tokens": 12.0,
        "finished_at": MADE + 1.0,
    }
    server.says("GET .*/jobs/ftjob-1$", json.loads(json.dumps(job)))
    report = harness.connect().training.poll(["ftjob-1"])["ftjob-1"]
    assert (report.outcome, report.error, report.trained_tokens, report.duration_s) == ("failed", words, 12, 1.0)
