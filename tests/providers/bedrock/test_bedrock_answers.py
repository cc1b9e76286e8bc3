"""Answers that the service model allows and the rehearsal does not give, by a server that is told what to say."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from providers.ports import Artifact, DeploymentReport, DeploymentRequest, ServingTarget
from providers.rehearsal.eventstream import frame
from tests.providers.cloud_harness import NOON, CloudHarness

MADE_AT = "2026-11-20T11:59:00Z"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
SERVING = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl"
JOB = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/"
PROVISIONED, ON_DEMAND = "/provisioned-model-throughputs", "/model-customization/custom-model-deployments"
JOBS = "/model-customization-jobs"
HTML = b"<html><body>Please sign in</body></html>"


class Scripted:
    """Says the answers that it was given for a path: the last one again and again, and 404 where there is none."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.otherwise: tuple[int, bytes] = (404, b'{"__type": "ResourceNotFoundException"}')
        self.asked: Counter[str] = Counter()
        script = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None: ...

            def do_HEAD(self) -> None:
                script.asked[self.path] += 1
                self.send_response(script.otherwise[0] if script.otherwise[0] in {301, 302} else 404)
                self.end_headers()

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0].replace("%3A", ":").replace("%2F", "/")
                script.asked[path] += 1
                status, body = script.next(path)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-type", "text/html" if body.startswith(b"<html") else "application/json")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - http.server's

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def next(self, path: str) -> tuple[int, bytes]:
        left = self.answers.get(path) or [self.otherwise]
        return left.pop(0) if len(left) > 1 else left[0]

    def say(self, path: str, *answers: Mapping[str, object] | bytes, status: int = 200) -> None:
        self.answers[path] = [(status, one if isinstance(one, bytes) else json.dumps(one).encode()) for one in answers]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def script(harness: CloudHarness) -> Iterator[Scripted]:
    said = Scripted()
    harness.set(endpoint_url=said.url, runtime_endpoint_url=said.url)
    for path in (PROVISIONED, ON_DEMAND, "/listTagsForResource"):
        said.say(path, {})
    yield said
    said.close()


def provisioned(id: str = SERVING, **more: object) -> dict[str, object]:
    return {
        "provisionedModelArn": id, "provisionedModelName": "dep-1", "modelArn": MODEL, "desiredModelArn": MODEL,
        "modelUnits": 1, "status": "InService", "creationTime": MADE_AT, **more,
    }  # fmt: skip


def job(id: str, **more: object) -> dict[str, object]:
    return {
        "jobArn": JOB + id, "jobName": id, "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/x",
        "creationTime": MADE_AT, "status": "InProgress", **more,
    }  # fmt: skip


def seen(harness: CloudHarness) -> list[DeploymentReport]:
    return list(harness.connect().deployments.list())


def wanted() -> DeploymentRequest:
    return DeploymentRequest(name="dep-1", token="t", model="bot", version=1, artifact=Artifact(id=MODEL))


def test_what_the_service_model_lets_out_is_taken_for_nothing(harness: CloudHarness, script: Scripted) -> None:
    provider = harness.connect()
    for path in (JOBS, "/custom-models", "/foundation-models"):
        script.say(path, {})
    assert (seen(harness), provider.artifacts.list(), provider.training.unfinished()) == ([], [], [])
    script.say("/foundation-models", {"modelSummaries": [{"modelId": "cohere.embed", "modelArn": "arn"}]})
    script.say(f"/custom-models/{MODEL}", {"modelArn": MODEL, "modelName": "imported", "creationTime": MADE_AT})
    assert provider.artifacts.get(MODEL) == Artifact(id=MODEL)
    script.say(f"{JOBS}/{JOB}a", {key: value for key, value in job("a").items() if key != "status"})
    assert provider.training.poll([f"{JOB}a"])[f"{JOB}a"].outcome == "running"
    assert harness.connect().check()[0].detail == "0 models can be tuned, 0 were"


def test_a_page_may_be_empty_and_go_on(harness: CloudHarness, script: Scripted) -> None:
    script.say(
        PROVISIONED,
        {"provisionedModelSummaries": [], "nextToken": "1"},
        {"nextToken": "2"},
        {"provisionedModelSummaries": [provisioned()]},
    )
    assert [one.id for one in seen(harness)] == [SERVING]


def test_a_list_whose_pages_do_not_end_is_no_list(harness: CloudHarness, script: Scripted) -> None:
    script.say(PROVISIONED, {"provisionedModelSummaries": [provisioned()], "nextToken": "again"})
    with pytest.raises(RejectedError, match="pages do not end"):
        seen(harness)


@pytest.mark.parametrize("body", [HTML, b"", b'{"provisionedModelSummaries": [{"provi'])
def test_a_success_that_cannot_be_read_is_no_empty_list_and_no_refusal(
    harness: CloudHarness, script: Scripted, body: bytes
) -> None:
    script.say(PROVISIONED, body)
    with pytest.raises(UnavailableError, match="no JSON"):
        seen(harness)
    script.say("/provisioned-model-throughput", body)
    with pytest.raises(OutcomeUnknownError, match="no JSON"):
        harness.connect().deployments.create(wanted())


def test_a_tag_that_shows_late_is_asked_for_again(harness: CloudHarness, script: Scripted) -> None:
    script.say(PROVISIONED, {"provisionedModelSummaries": [provisioned()]})
    tagged = {"tags": [{"key": "tenure_registry", "value": "reg"}]}
    script.say("/listTagsForResource", {}, {"tags": []}, tagged)
    deployments = harness.connect().deployments
    assert [deployments.list()[0].ours for _ in range(4)] == [False, False, True, True]
    assert script.asked["/listTagsForResource"] == 3


def test_who_made_what_is_old_is_asked_once(harness: CloudHarness, script: Scripted) -> None:
    long_ago = (NOON - timedelta(hours=2)).isoformat()
    script.say(PROVISIONED, {"provisionedModelSummaries": [provisioned(creationTime=long_ago)]})
    deployments = harness.connect().deployments
    assert [deployments.list()[0].ours for _ in range(3)] == [False] * 3
    assert script.asked["/listTagsForResource"] == 1


def test_why_one_of_many_jobs_failed_is_told_although_lists_do_not(harness: CloudHarness, script: Scripted) -> None:
    ids = [f"{JOB}{one}" for one in "abcd"]
    listed = [job("a", status="Failed"), *(job(one) for one in "bcd")]
    script.say(JOBS, {"modelCustomizationJobSummaries": listed})
    script.say(f"{JOBS}/{ids[0]}", job("a", status="Failed", failureMessage="The role cannot read the bucket."))
    found = harness.connect().training.poll(ids)
    assert found[ids[0]].error == "The role cannot read the bucket."
    assert script.asked[f"{JOBS}/{ids[1]}"] == 0


def test_a_summary_may_lack_the_models_name(harness: CloudHarness, script: Scripted) -> None:
    name, model = "tenure-reg-bot-1-1-abc", "tenure-reg-bot-1-1"
    script.say(JOBS, {"modelCustomizationJobSummaries": [job(name)]}, {})
    script.say(f"{JOBS}/{JOB}{name}", job(name, outputModelName=model))
    training = harness.connect().training
    assert [one.name for one in training.find(name=model, token="t")] == [model]
    script.say(JOBS, {"modelCustomizationJobSummaries": [job(name)]}, {})
    assert [one.name for one in training.unfinished()] == [model]


def test_a_job_that_a_list_shows_is_there_although_its_own_404_is_older(
    harness: CloudHarness, script: Scripted
) -> None:
    script.say(JOBS, {"modelCustomizationJobSummaries": [job("a")]})
    training = harness.connect().training
    assert training.poll([f"{JOB}a"])[f"{JOB}a"].outcome == "running"
    assert training.poll([f"{JOB}b"]) == {}


def test_a_model_that_is_still_being_made_is_served_later(harness: CloudHarness, script: Scripted) -> None:
    script.say("/provisioned-model-throughput", b'{"__type": "ValidationException"}', status=400)
    script.say(f"/custom-models/{MODEL}", {"modelArn": MODEL, "modelStatus": "Creating"})
    deployments = harness.connect().deployments
    with pytest.raises(UnavailableError, match="still making"):
        deployments.create(wanted())
    script.say(f"/custom-models/{MODEL}", {"modelArn": MODEL, "modelStatus": "Failed"})
    with pytest.raises(RejectedError):
        deployments.create(wanted())


def test_data_that_was_cut_off_on_its_way_is_sent_again(harness: CloudHarness, script: Scripted) -> None:
    request = harness.training_request("job-1")
    aws = harness.rehearsal.connections()["rehearsal-aws"]
    harness.set(endpoint_url=aws["endpoint_url"], s3_endpoint_url=script.url)
    error = b'<?xml version="1.0"?><Error><Code>RequestTimeout</Code><Message>Your socket was idle.</Message></Error>'
    script.otherwise = (400, error)
    with pytest.raises(UnavailableError, match="socket was idle"):
        harness.connect().training.submit(request)


HEAD = "step_number,epoch_number,training_loss,perplexity"


@pytest.mark.parametrize(
    "csv",
    [
        f"\ufeff{HEAD}\r\n1,0,2.5,9\r\n2,0,1.5,9\r\n",
        "perplexity, training_loss, new, epoch_number, step_number\n9, 2.5, x, 0, 1\n9, 1.5, x, 0, 2\n",
        f"{HEAD}\n1.0,0.0,2.5e0,9\n2.0,0.0,1.5e0,9\n3,0,NaN,9\n4,0,,9\n5,0",
    ],
)
def test_losses_are_read_however_the_table_is_written(harness: CloudHarness, script: Scripted, csv: str) -> None:
    harness.set(s3_endpoint_url=script.url)
    output = {"outputDataConfig": {"s3Uri": "s3://bucket/out/"}}
    script.say(f"{JOBS}/{JOB}a", job("a", status="Completed", **output))
    path = "/bucket/out/model-customization-job-a/training_artifacts/step_wise_training_metrics.csv"
    script.otherwise = (404, b"<Error><Code>NoSuchKey</Code></Error>")
    script.say(path, csv.encode())
    found = harness.connect().training.metrics(f"{JOB}a", after_step=0)
    assert [(one.step, one.metrics) for one in found] == [(1, {"train_loss": 2.5}), (2, {"train_loss": 1.5})]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\0garbage", b"Step,Loss\n1,2.5\n"])
def test_a_table_without_losses_gives_none(harness: CloudHarness, script: Scripted, body: bytes) -> None:
    harness.set(s3_endpoint_url=script.url)
    script.say(f"{JOBS}/{JOB}a", job("a", status="Completed", outputDataConfig={"s3Uri": "s3://bucket/out"}))
    script.otherwise = (200, body)
    assert harness.connect().training.metrics(f"{JOB}a", after_step=0) == []


@pytest.mark.parametrize("status", [200, 301, 302, 503])
def test_a_page_in_place_of_s3_is_no_answer(harness: CloudHarness, script: Scripted, status: int) -> None:
    harness.set(s3_endpoint_url=script.url)
    script.otherwise = (status, HTML)
    script.say(f"{JOBS}/{JOB}a", job("a", status="Completed", outputDataConfig={"s3Uri": "s3://bucket/out"}))
    training = harness.connect().training
    for call in (lambda: training.metrics(f"{JOB}a", after_step=0), training.clean_up):
        with pytest.raises(UnavailableError):
            call()
    (s3,) = [one for one in harness.connect().check() if one.name == "s3"]
    assert not s3.passed
    assert sum(script.asked.values()) < 20


@pytest.mark.parametrize("status", [200, 400, 503])
def test_an_answer_that_is_no_text_is_no_answer(harness: CloudHarness, script: Scripted, status: int) -> None:
    script.say(PROVISIONED, b"<html>\xdcbersicht</html>", status=status)
    with pytest.raises(UnavailableError):
        seen(harness)


def test_a_proxy_that_asks_for_a_credential_refuses_nothing_for_good(harness: CloudHarness, script: Scripted) -> None:
    script.say(PROVISIONED, HTML, status=407)
    with pytest.raises(UnauthorizedError):
        seen(harness)


@pytest.mark.parametrize("answer", [{}, {"output": None}, {"output": {"message": {"role": "assistant"}}}])
def test_an_answer_to_a_chat_that_lacks_what_was_said_is_no_answer(
    harness: CloudHarness, script: Scripted, answer: dict[str, object]
) -> None:
    script.say(f"/model/{SERVING}/converse", answer)
    with pytest.raises(OutcomeUnknownError, match="lacks"):
        harness.connect().chat.complete(TARGET, {"messages": [{"role": "user", "content": "Hi"}]}, timeout_s=10)


def test_a_create_that_is_answered_without_an_id_may_have_happened(harness: CloudHarness, script: Scripted) -> None:
    script.say("/provisioned-model-throughput", {}, status=201)
    with pytest.raises(OutcomeUnknownError, match="provisionedModelArn"):
        harness.connect().deployments.create(wanted())


STREAM = f"/model/{SERVING}/converse-stream"
SAID = frame("contentBlockDelta", {"delta": {"text": "Your"}, "contentBlockIndex": 0})
TARGET = ServingTarget(artifact=Artifact(id=MODEL), deployment_id=SERVING, deployment_name="dep-1", endpoint=None)


@pytest.mark.parametrize("body", [b"", SAID, SAID + SAID[:9], SAID + SAID[:-1] + b"\0"])
def test_a_stream_that_ends_before_its_answer_does_is_no_answer(
    harness: CloudHarness, script: Scripted, body: bytes
) -> None:
    script.say(STREAM, body)
    with pytest.raises(OutcomeUnknownError):
        list(harness.connect().chat.stream(TARGET, {"messages": [{"role": "user", "content": "Hi"}]}, timeout_s=10))


def test_credentials_that_cannot_be_fetched_are_no_unknown_outcome(
    harness: CloudHarness, script: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile ml]\ncredential_process = false\nregion = us-east-1\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    harness.set(profile="ml")
    with pytest.raises(UnauthorizedError):
        harness.connect().artifacts.delete(MODEL)
    assert not script.asked
