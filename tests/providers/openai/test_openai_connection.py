"""OpenAI's adapter beyond what every provider must do: settings, data, jobs under faults, chat, retirement."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from providers.checks import UNGIVEN
from providers.errors import (
    ChatError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.openai import connect
from providers.ports import Artifact, DataSet, DeploymentRequest, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness, data_set

BASE = "gpt-4.1-mini-2025-04-14"
QUESTION = {"messages": [{"role": "user", "content": "Where is my order?"}]}


def _target(harness: CloudHarness, model: str | None = None) -> ServingTarget:
    if model is None:
        training = harness.connect().training
        job = training.submit(harness.training_request("job-1"))
        harness.rehearsal.clock.advance(60)
        artifact = training.poll([job.id])[job.id].artifact
        assert artifact is not None
    else:
        artifact = Artifact(id=model)
    return ServingTarget(artifact=artifact, deployment_id=None, deployment_name=None, endpoint=None)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"api_key": "sk-secret"}, "api_key is a secret written as a value"),
        ({"base_url": "http://example.org/v1"}, "plain http is accepted for loopback only"),
        ({"base_url": "api.openai.com"}, "not an address"),
        ({"fine_tuning": "yes"}, "not true or false"),
        ({"api_key_env": 3}, "not a text"),
        ({"api_key_env": "sk-secret"}, "api_key_env names an environment variable"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_no_secret_is_repeated(
    harness: CloudHarness, setting: dict[str, object], words: str
) -> None:
    connection = dataclasses.replace(harness.connection, settings={**harness.connection.settings, **setting})
    with pytest.raises(RejectedError, match=words) as caught:
        connect(connection, now=harness.rehearsal.clock.now)
    assert "sk-secret" not in caught.value.message


def test_a_missing_variable_is_named(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REHEARSAL_API_KEY")
    provider = harness.connect()
    with pytest.raises(UnauthorizedError, match="REHEARSAL_API_KEY is not set"):
        provider.base_models()
    (check,) = provider.check()
    assert (check.passed, check.detail) == (False, "the environment variable REHEARSAL_API_KEY is not set")
    assert check.remedy == UNGIVEN


def test_an_endpoint_that_nobody_listens_at_is_not_a_matter_of_the_key(harness: CloudHarness) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        connection = dataclasses.replace(
            harness.connection, settings={**harness.connection.settings, "base_url": address}
        )
        (check,) = connect(connection, now=harness.rehearsal.clock.now).check()
    assert not check.passed
    assert check.remedy is not None
    assert "the endpoint is right and can be reached" in check.remedy
    assert "API_KEY" not in check.remedy


def test_a_key_that_is_replaced_takes_effect_without_a_restart(
    harness: CloudHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, good = harness.connect(), harness.rehearsal.environment()["REHEARSAL_API_KEY"]
    monkeypatch.setenv("REHEARSAL_API_KEY", "expired")
    with pytest.raises(UnauthorizedError) as caught:
        provider.base_models()
    assert (caught.value.code, bool(caught.value.request_id)) == ("invalid_api_key", True)
    monkeypatch.setenv("REHEARSAL_API_KEY", good)
    assert BASE in provider.base_models()


def test_a_connection_that_does_not_fine_tune_refuses_jobs(harness: CloudHarness) -> None:
    settings = {**harness.connection.settings, "fine_tuning": False}
    provider = connect(dataclasses.replace(harness.connection, settings=settings), now=harness.rehearsal.clock.now)
    with pytest.raises(RejectedError, match="fine_tuning = false"):
        provider.training.submit(harness.training_request("job-1"))
    assert provider.capabilities.fine_tuning is False
    assert [check.name for check in provider.check()] == ["models"]
    provider.close()
    assert not harness.rehearsal.truth.ever()


def _row(*messages: tuple[str, str]) -> str:
    shaped = [{"role": role, "content": text} for role, text in messages]
    return json.dumps({"prompt": shaped[:-1], "completion": shaped[-1:]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": [_row(("user", "q"), ("assistant", "a"))] * 9}, "9 rows; at least 10"),
        ({"train": [_row(("user", "q"), ("user", "a"))] * 10}, "row 1: the last message must be the assistant's"),
        ({"train": [_row(("user", ""), ("assistant", "a"))] * 10}, "row 1: a message has no text"),
        ({"train": [_row(("robot", "q"), ("assistant", "a"))] * 10}, "role 'robot'"),
        ({"hyperparameters": {"learning_rate": 0.1}}, "learning_rate_multiplier"),
        ({"hyperparameters": {"warmup": 1}}, "warmup is not a hyperparameter of supervised"),
        ({"hyperparameters": {"epochs": 0}}, "n_epochs = 0 is not a whole number from 1"),
        ({"hyperparameters": {"n_epochs": "three"}}, "n_epochs = 'three' is not a whole number"),
        ({"hyperparameters": {"batch_size": 1.5}}, "batch_size = 1.5 is not a whole number"),
        (
            {"hyperparameters": {"learning_rate_multiplier": -1}},
            "learning_rate_multiplier = -1 is not a number above 0",
        ),
        ({"method": "lora"}, "method 'lora' is not one of"),
        ({"code": Path("train.py")}, "code: the provider runs its own trainer"),
    ],
)
def test_what_openai_would_refuse_is_refused_before_it_is_sent(
    harness: CloudHarness, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    if "train" in change:
        path = tmp_path / "bad.jsonl"
        path.write_text("\n".join(change["train"]))
        change = {"train": DataSet(path=path, sha256="", rows=len(change["train"]))}
    request = dataclasses.replace(harness.training_request("job-1"), **change)
    with pytest.raises(RejectedError, match=words):
        harness.connect().training.submit(request)
    assert not harness.rehearsal.truth.ever("openai.file")


def test_rows_in_both_sets_are_refused(harness: CloudHarness, tmp_path: Path) -> None:
    request = dataclasses.replace(harness.training_request("job-1"), validation=data_set(tmp_path / "v.jsonl", 3))
    with pytest.raises(RejectedError, match="3 rows stand in the training and in the validation set"):
        harness.connect().training.validate(request)


def test_the_same_data_is_uploaded_once(harness: CloudHarness) -> None:
    training = harness.connect().training
    training.submit(harness.training_request("job-1"))
    training.submit(harness.training_request("job-2"))
    uploaded = [file for file in harness.rehearsal.truth.things("openai.file") if file.name.startswith("tenure-")]
    assert len(uploaded) == 2
    first = json.loads(uploaded[0].body["content"].splitlines()[0])
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant"]


def test_a_job_bears_our_name_token_and_hyperparameters(harness: CloudHarness) -> None:
    request = dataclasses.replace(harness.training_request("job-1"), hyperparameters={"epochs": 4, "seed": 9})
    harness.connect().training.submit(request)
    job = harness.rehearsal.truth.one("job-1").body
    assert job["metadata"] == {"tenure_name": "job-1", "tenure_token": "token-job-1", "tenure_model": "support-bot"}
    assert (job["hyperparameters"]["n_epochs"], job["seed"]) == (4, 9)


@pytest.mark.parametrize("method", ["dpo", "reinforcement"])
def test_other_methods_and_their_rows_are_handed_through(harness: CloudHarness, tmp_path: Path, method: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"input": {"n": n}, "preferred_output": []}) for n in range(10)))
    request = dataclasses.replace(
        harness.training_request("job-1"),
        method=method,
        train=DataSet(path=path, sha256="", rows=10),
        validation=None,
        hyperparameters={"n_epochs": 1} | ({"beta": 0.2} if method == "dpo" else {"grader": {"type": "x"}}),
    )
    harness.connect().training.submit(request)
    assert harness.rehearsal.truth.one("job-1").body["method"]["type"] == method


def test_an_estimate_multiplies_what_is_known(harness: CloudHarness) -> None:
    training, request = harness.connect().training, harness.training_request("job-1")
    known = training.estimate(dataclasses.replace(request, hyperparameters={"epochs": 2, "batch_size": 5}))
    assert (known.tokens, known.steps, known.cost) == (480, 6, None)
    open_ended = training.estimate(dataclasses.replace(request, hyperparameters={}))
    assert (open_ended.tokens, len(open_ended.notes)) == (None, 1)


@pytest.mark.parametrize(
    "fault",
    [
        faults.server_error(500, after_effect=True),
        faults.reset(after_effect=True),
        faults.reset_in_body(),
        faults.server_error(502),
    ],
)
def test_a_create_whose_answer_is_lost_is_unknown_and_found_by_its_token(
    harness: CloudHarness, fault: faults.Fault
) -> None:
    training, request = harness.connect().training, harness.training_request("job-1")
    harness.rehearsal.faults.inject("openai.create_job", fault)
    with pytest.raises(OutcomeUnknownError) as caught:
        training.submit(request)
    assert caught.value.token == request.token
    assert harness.rehearsal.truth.calls["openai.create_job"] == 1
    job = training.submit(request)
    assert [thing.id for thing in harness.rehearsal.truth.things("openai.job")] == [job.id]


@pytest.mark.parametrize("form", ["seconds", "date", "absent"])
def test_a_throttled_create_made_nothing_and_says_when_to_come_back(harness: CloudHarness, form: Any) -> None:
    harness.rehearsal.faults.inject("openai.create_job", faults.throttled(form, seconds=7))
    with pytest.raises(UnavailableError) as caught:
        harness.connect().training.submit(harness.training_request("job-1"))
    assert caught.value.retry_after_s == (None if form == "absent" else 7.0)


def test_a_quota_that_is_used_up_is_a_refusal_and_not_a_wait(harness: CloudHarness) -> None:
    harness.rehearsal.faults.inject("openai.create_job", faults.quota())
    with pytest.raises(RejectedError, match="quota") as caught:
        harness.connect().training.submit(harness.training_request("job-1"))
    assert caught.value.code == "insufficient_quota"


@pytest.mark.parametrize("fault", [faults.server_error(503), faults.reset(after_effect=False), faults.reset_in_body()])
def test_a_read_that_breaks_is_merely_unavailable(harness: CloudHarness, fault: faults.Fault) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    harness.rehearsal.faults.inject("openai.get_job", fault)
    with pytest.raises(UnavailableError):
        training.poll([job.id])
    assert training.poll([job.id])[job.id].outcome == "running"


def test_nobody_there_is_unavailable_and_not_unknown(harness: CloudHarness) -> None:
    provider, request = harness.connect(), harness.training_request("job-1")
    harness.rehearsal.close()
    with pytest.raises(UnavailableError, match="no connection"):
        provider.training.submit(request)


def test_many_jobs_are_polled_by_the_page_and_a_short_page_loses_none(harness: CloudHarness) -> None:
    training = harness.connect().training
    ids = [training.submit(harness.training_request(f"job-{n}")).id for n in range(6)]
    calls = harness.rehearsal.truth.calls
    before = calls["openai.list_jobs"]
    assert set(training.poll(ids)) == set(ids)
    assert (calls["openai.list_jobs"] - before, calls["openai.get_job"]) == (1, 0)
    harness.rehearsal.faults.inject("openai.list_jobs", faults.cut_short())
    assert set(training.poll(ids)) == set(ids)


def test_an_unknown_status_is_shown_and_waited_out(harness: CloudHarness) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    harness.rehearsal.faults.inject("openai.get_job", faults.unknown_status("paused_by_moon"))
    report = training.poll([job.id])[job.id]
    assert (report.status, report.outcome) == ("paused_by_moon", "running")


def test_losses_come_while_it_runs_and_all_of_them_at_the_end(harness: CloudHarness) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    harness.rehearsal.clock.advance(14)
    running = training.metrics(job.id, after_step=3)
    assert [point.step for point in running] == list(range(4, 13))
    assert set(running[0].metrics) >= {"train_loss", "valid_loss"}
    assert [c.step for c in training.checkpoints(job.id)] == [12]
    assert training.poll([job.id])[job.id].estimated_finish_at is not None
    assert training.log_tail(job.id, lines=2)[-1].startswith("Step 12/24")
    harness.rehearsal.clock.advance(60)
    ended = training.metrics(job.id, after_step=0)
    assert [point.step for point in ended] == list(range(1, 25))
    assert ended[11] == running[-1]


def test_chat_answers_and_streams_and_hands_refusals_through(harness: CloudHarness) -> None:
    chat, target = harness.connect().chat, _target(harness)
    whole: Any = chat.complete(target, {**QUESTION, "temperature": 0.1, "vendor_extra": 1}, timeout_s=5)
    text = whole["choices"][0]["message"]["content"]
    assert whole["rehearsal"] is True
    chunks: list[Any] = list(chat.stream(target, QUESTION, timeout_s=5))
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text
    with pytest.raises(ChatError) as refused:
        chat.complete(target, {**QUESTION, "temperature": 9}, timeout_s=5)
    body: Any = refused.value.body
    assert (refused.value.status, body["error"]["param"]) == (400, "temperature")
    with pytest.raises(ChatError) as missing:
        list(chat.stream(_target(harness, "ft:gone"), QUESTION, timeout_s=5))
    assert missing.value.status == 404


@pytest.mark.parametrize("fault", [faults.timeout(after_effect=True), faults.reset(after_effect=True)])
def test_a_chat_without_an_answer_is_unknown(harness: CloudHarness, fault: faults.Fault) -> None:
    target = _target(harness)
    harness.rehearsal.faults.inject("openai.chat", fault)
    with pytest.raises(OutcomeUnknownError):
        harness.connect().chat.complete(target, QUESTION, timeout_s=0.1)


def test_a_retirement_that_was_announced_is_told(harness: CloudHarness) -> None:
    provider: Any = harness.connect()
    harness.rehearsal.catalogue["openai"][BASE].retires_at = datetime(2027, 2, 3, tzinfo=UTC)
    assert provider.retires_on(BASE) == date(2027, 2, 3)
    assert provider.retires_on("gpt-4.1-2025-04-14") is None


def test_there_is_nothing_to_deploy(harness: CloudHarness) -> None:
    deployments = harness.connect().deployments
    target = _target(harness)
    request = DeploymentRequest(name="d", token="t", model="m", version=1, artifact=target.artifact)
    with pytest.raises(RejectedError, match="without a deployment"):
        deployments.create(request)
    assert (list(deployments.list()), deployments.get("d")) == ([], None)
    deployments.delete("d")


def test_checkpoints_and_models_are_told_apart(harness: CloudHarness) -> None:
    _target(harness)
    found = harness.connect().artifacts.list()
    assert sorted(artifact.kind for artifact in found) == ["checkpoint", "model"]
    assert {artifact.base_model for artifact in found} == {BASE}


def test_chats_go_where_the_sdk_would_send_them(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    chat = harness.connect().chat
    found = chat.upstream(_target(harness, BASE))
    assert found is not None
    assert found.url == f"{harness.rehearsal.openai_url}/chat/completions"
    assert found.headers["openai-organization"] == "org-1"
    settings = {name: value for name, value in harness.connection.settings.items() if name != "base_url"}
    elsewhere = connect(dataclasses.replace(harness.connection, settings=settings), now=harness.rehearsal.clock.now)
    far = elsewhere.chat.upstream(_target(harness, BASE))
    assert far is not None
    assert (far.url, far.model) == ("https://api.openai.com/v1/chat/completions", BASE)


def test_data_is_deleted_a_day_later_when_no_unfinished_job_names_it(harness: CloudHarness) -> None:
    training, clock = harness.connect().training, harness.rehearsal.clock
    training.submit(harness.training_request("job-1"))
    assert training.clean_up() == []
    clock.advance(60)
    assert training.clean_up() == [], "a day has not passed"
    clock.advance(86400)
    assert len(training.clean_up()) == 2
    assert training.clean_up() == []
    kept = [thing.name for thing in harness.rehearsal.truth.things("openai.file")]
    assert kept == ["step_metrics.csv"]


def test_data_of_a_job_that_goes_on_is_kept_and_old_data_is_sent_again(harness: CloudHarness) -> None:
    harness.rehearsal.pace.training_s = 10 * 86400
    training, clock = harness.connect().training, harness.rehearsal.clock
    training.submit(harness.training_request("job-1"))
    clock.advance(2 * 86400)
    assert training.clean_up() == []
    assert harness.rehearsal.truth.calls["openai.create_file"] == 2
    training.submit(harness.training_request("job-2"))
    assert harness.rehearsal.truth.calls["openai.create_file"] == 4


def test_a_moment_that_no_calendar_has_keeps_no_job_from_ending(
    harness: CloudHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a proxy that counts in milliseconds."""
    stamp = 1_795_000_000_000
    job = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "succeeded", "fine_tuned_model": "ft:1"}
    body = json.dumps({**job, "model": BASE, "created_at": stamp, "finished_at": stamp}).encode()

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PROXY_KEY", "sk-proxy")
        settings = {"base_url": f"http://127.0.0.1:{server.server_port}/v1", "api_key_env": "PROXY_KEY"}
        provider = connect(dataclasses.replace(harness.connection, settings=settings), now=harness.rehearsal.clock.now)
        report = provider.training.poll(["ftjob-1"])["ftjob-1"]
        provider.close()
        server.shutdown()
    assert (report.outcome, report.finished_at) == ("succeeded", None)


def test_a_job_pauses_and_goes_on(harness: CloudHarness) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    with pytest.raises(RejectedError, match="not running"):
        training.pause(job.id)
    harness.rehearsal.clock.advance(10)
    training.pause(job.id)
    report = training.poll([job.id])[job.id]
    assert (report.status, report.outcome) == ("paused", "running")
    training.resume(job.id)
    harness.rehearsal.clock.advance(60)
    assert training.poll([job.id])[job.id].outcome == "succeeded"


def test_a_results_file_that_is_gone_leaves_the_losses_that_the_events_tell(harness: CloudHarness) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    harness.rehearsal.clock.advance(60)
    harness.rehearsal.truth.vanish("step_metrics.csv")
    assert [point.step for point in training.metrics(job.id, after_step=22)] == [23, 24]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("gpt-4.1-mini", "did you mean gpt-4.1-mini-2025-04-14?"),
        ("gpt-4.1-mini-2025-04-15", "did you mean gpt-4.1-mini-2025-04-14"),
        ("llama", "there are: "),
    ],
)
def test_a_base_model_that_is_not_there_is_answered_with_what_is_meant(
    harness: CloudHarness, asked: str, words: str
) -> None:
    request = dataclasses.replace(harness.training_request("job-1"), base_model=asked)
    with pytest.raises(RejectedError) as refused:
        harness.connect().training.validate(request)
    assert words in refused.value.message


def test_a_rehearsal_needs_no_credential_and_takes_no_other_address(
    harness: CloudHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REHEARSAL_API_KEY")
    harness.set(rehearsal=True)
    provider = harness.connect()
    assert BASE in provider.base_models()
    assert provider.capabilities.poll_interval_s == 1.0
    harness.set(base_url="https://api.openai.com/v1")
    with pytest.raises(RejectedError, match="base_url is not an address of `tenure rehearse`"):
        harness.connect()
