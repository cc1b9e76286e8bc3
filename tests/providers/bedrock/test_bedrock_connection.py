"""Bedrock's adapter beyond what every provider must do: S3, both formats, commitments, Converse, faults."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.bedrock.names import aws_name
from providers.errors import (
    ChatError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.ports import Artifact, DataSet, DeploymentRequest, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness, data_set

NOVA, TITAN = "amazon.nova-micro-v1:0:128k", "amazon.titan-text-express-v1:0:8k"
QUESTION = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}]}


def _model(harness: CloudHarness) -> Artifact:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    harness.rehearsal.clock.advance(60)
    artifact = training.poll([job.id])[job.id].artifact
    assert artifact is not None
    return artifact


def _request(harness: CloudHarness, name: str = "dep-1", **options: object) -> DeploymentRequest:
    return DeploymentRequest(
        name=name, token=f"token-{name}", model="support-bot", version=3, artifact=_model(harness), options=options
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"s3_uri": "bucket/prefix"}, "not s3://bucket/prefix"),
        ({"serving": "serverless"}, "serving is 'serverless'"),
        ({"commitment": "OneYear"}, "commitment is 'OneYear'"),
        ({"aws_secret_access_key": "x"}, "secret written as a value"),
        ({"role_arn": None}, "role_arn is missing"),
    ],
)
def test_settings_that_make_no_sense_are_refused(harness: CloudHarness, setting: dict[str, object], words: str) -> None:
    harness.set(**setting)
    with pytest.raises(RejectedError, match=words):
        harness.connect()


def test_an_account_for_serving_only_needs_no_bucket(harness: CloudHarness) -> None:
    harness.set(fine_tuning=False, s3_uri=None, role_arn=None)
    provider = harness.connect()
    assert [check.name for check in provider.check()] == ["models", "serving", "metrics"]
    with pytest.raises(RejectedError, match="fine_tuning = false"):
        provider.training.validate(harness.training_request("job-1"))


def test_the_check_writes_to_s3_and_deletes_what_it_wrote(harness: CloudHarness) -> None:
    assert all(check.passed for check in harness.connect().check())
    calls = harness.rehearsal.truth.calls
    assert (calls["s3.put_object"], calls["s3.delete_object"]) == (1, 1)
    harness.rehearsal.faults.inject("s3.put_object", faults.forbidden())
    failed = [check for check in harness.connect().check() if not check.passed]
    assert [(check.name, "s3:PutObject" in (check.remedy or "")) for check in failed] == [("s3", True)]


def test_missing_credentials_are_unauthorized(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(UnauthorizedError, match="credentials"):
        harness.connect().base_models()
    harness.set(profile="nobody")
    with pytest.raises(UnauthorizedError, match="nobody"):
        harness.connect().base_models()


@pytest.mark.parametrize("base_model", [NOVA, TITAN])
def test_data_goes_to_s3_in_the_format_of_the_base_model_and_once(harness: CloudHarness, base_model: str) -> None:
    training = harness.connect().training
    for name in ("job-1", "job-2"):
        training.submit(dataclasses.replace(harness.training_request(name), base_model=base_model))
    stored = [thing for thing in harness.rehearsal.truth.things("s3.object") if "/data/" in thing.id]
    assert len(stored) == 2
    row = json.loads(stored[0].body["content"].splitlines()[0])
    if base_model == NOVA:
        assert row["schemaVersion"] == "bedrock-conversation-2024"
        assert row["system"] == [{"text": "Be brief."}]
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    else:
        assert row == {"prompt": "Be brief.\n\nWhere is order 0?", "completion": "Order 0 is on its way."}


def _rows(*roles: str, text: str = "x") -> str:
    messages = [{"role": role, "content": text} for role in roles]
    return json.dumps({"prompt": messages[:-1], "completion": messages[-1:]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": [_rows("user", "assistant")] * 3}, "3 rows; at least 8"),
        ({"rows": [_rows("user", "user", "assistant")] * 8}, "row 1: roles must be user and assistant in turn"),
        ({"rows": [_rows("user", "assistant", text="")] * 30}, "row 20: a message has no text"),
        (
            {"rows": [_rows("user", "assistant", "user", "assistant")] * 8, "base_model": TITAN},
            "not from a conversation",
        ),
        ({"method": "dpo"}, "method 'dpo' is not one of supervised"),
        ({"hyperparameters": {"epochs": 0}}, "epochCount = 0 is not a whole number from 1"),
        ({"hyperparameters": {"batchSize": "many"}}, "batchSize = 'many' is not a whole number from 1"),
        ({"hyperparameters": {"learningRate": "0"}}, "learningRate = 0.0 is not a number above 0"),
        ({"hyperparameters": {"learningRateWarmupSteps": -1}}, "learningRateWarmupSteps = -1 is not a whole number"),
        ({"code": Path("train.py")}, "code: the provider runs its own trainer"),
    ],
)
def test_what_bedrock_would_refuse_is_refused_before_it_is_sent(
    harness: CloudHarness, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    if rows := change.pop("rows", None):
        path = tmp_path / "bad.jsonl"
        path.write_text("\n".join(rows))
        change["train"] = DataSet(path=path, sha256="", rows=len(rows))
    with pytest.raises(RejectedError, match=words):
        harness.connect().training.submit(dataclasses.replace(harness.training_request("job-1"), **change))
    assert not harness.rehearsal.truth.ever()


def test_rows_in_both_sets_are_refused_and_estimates_multiply(harness: CloudHarness, tmp_path: Path) -> None:
    training, request = harness.connect().training, harness.training_request("job-1")
    both = dataclasses.replace(request, validation=data_set(tmp_path / "v.jsonl", 3))
    with pytest.raises(RejectedError, match="3 rows stand in"):
        training.validate(both)
    assert training.estimate(request).tokens == 480
    assert training.estimate(dataclasses.replace(request, hyperparameters={})).notes


def test_hyperparameters_are_texts_in_bedrocks_names(harness: CloudHarness) -> None:
    given = {"epochs": 2, "learning_rate": 0.001, "learningRateWarmupSteps": 5}
    harness.connect().training.submit(
        dataclasses.replace(harness.training_request("job-1"), hyperparameters=given, validation=None)
    )
    job = harness.rehearsal.truth.things("bedrock.job")[0].body
    assert job["hyperParameters"] == {"epochCount": "2", "learningRate": "0.001", "learningRateWarmupSteps": "5"}


def test_losses_of_both_sets_come_from_s3_when_the_job_has_ended(harness: CloudHarness) -> None:
    training = harness.connect().training
    job = training.submit(harness.training_request("job-1"))
    assert training.metrics(job.id, after_step=0) == []
    assert "training: NotStarted" in training.log_tail(job.id)
    harness.rehearsal.clock.advance(60)
    points = training.metrics(job.id, after_step=22)
    assert [(point.step, sorted(point.metrics)) for point in points] == [
        (23, ["train_loss"]),
        (24, ["train_loss", "valid_loss"]),
    ]
    assert training.poll([job.id])[job.id].duration_s == 24.0
    for thing in harness.rehearsal.truth.things("s3.object"):
        harness.rehearsal.truth.vanish(thing.id)
    assert training.metrics(job.id, after_step=0) == []


@pytest.mark.parametrize(
    "fault", [faults.server_error(500, after_effect=True), faults.reset(after_effect=True), faults.reset_in_body()]
)
def test_a_create_whose_answer_is_lost_is_unknown_and_found_by_its_token(
    harness: CloudHarness, fault: faults.Fault
) -> None:
    training, request = harness.connect().training, harness.training_request("job-1")
    harness.rehearsal.faults.inject("bedrock.create_model_customization_job", fault)
    with pytest.raises(OutcomeUnknownError):
        training.submit(request)
    assert harness.rehearsal.truth.calls["bedrock.create_model_customization_job"] == 1
    assert [job.id for job in training.find(name="another", token=request.token)] == [training.submit(request).id]


def test_many_jobs_are_polled_by_the_page_and_a_short_page_loses_none(harness: CloudHarness) -> None:
    training = harness.connect().training
    ids = [training.submit(harness.training_request(f"job-{n}")).id for n in range(5)]
    calls = harness.rehearsal.truth.calls
    before = calls["bedrock.list_model_customization_jobs"], calls["bedrock.get_model_customization_job"]
    assert set(training.poll(ids)) == set(ids)
    after = calls["bedrock.list_model_customization_jobs"], calls["bedrock.get_model_customization_job"]
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)
    harness.rehearsal.faults.inject("bedrock.list_model_customization_jobs", faults.cut_short())
    assert set(training.poll(ids)) == set(ids)


def test_long_names_are_cut_and_stay_different() -> None:
    long = ["tenure-reg-" + "a-very-long-name-" * 4 + f"{n}-1" for n in range(3)]
    cut = {aws_name(name) for name in long}
    assert len(cut) == 3
    assert max(len(name) for name in cut) <= 63
    assert aws_name("tenure-reg-bot.v2-1-1") != aws_name("tenure-reg-bot-v2-1-1") == "tenure-reg-bot-v2-1-1"


def test_throughput_bears_our_tags_and_says_what_it_costs_by(harness: CloudHarness) -> None:
    made = harness.connect().deployments.create(_request(harness, model_units=2))
    assert (made.ours, made.sku, made.hourly_units) == (True, "provisioned-throughput", Decimal(2))
    assert made.created_at == harness.rehearsal.clock.now()
    harness.rehearsal.truth.one("dep-1").body["tags"] = {}
    (found,) = harness.connect().deployments.list()
    assert found.ours is False
    with pytest.raises(RejectedError, match="unknown options: colour"):
        harness.connect().deployments.create(dataclasses.replace(_request(harness), options={"colour": "blue"}))


def test_a_commitment_refuses_deletion_and_says_when_it_ends(harness: CloudHarness) -> None:
    deployments = harness.connect().deployments
    made = deployments.create(_request(harness, commitment="OneMonth"))
    ends = harness.rehearsal.clock.now() + timedelta(days=30)
    with pytest.raises(RejectedError, match=f"ends at {ends:%Y-%m-%d}"):
        deployments.delete(made.id)
    assert len(harness.rehearsal.truth.billed()) == 1


def test_a_quota_that_is_used_up_is_a_refusal(harness: CloudHarness) -> None:
    with pytest.raises(RejectedError, match="0 of 2 are in use") as caught:
        harness.connect().deployments.create(_request(harness, model_units=3))
    assert (caught.value.code, bool(caught.value.request_id)) == ("ServiceQuotaExceededException", True)


def test_a_failed_deployment_says_why(harness: CloudHarness) -> None:
    harness.rehearsal.faults.inject("bedrock.create_provisioned_model_throughput", faults.doomed("no capacity"))
    made = harness.connect().deployments.create(_request(harness))
    harness.rehearsal.clock.advance(10)
    found = harness.connect().deployments.get(made.id)
    assert found is not None
    assert (found.outcome, found.error) == ("failed", "no capacity")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.throttled("seconds", seconds=3), UnavailableError),
        (faults.server_error(503), UnavailableError),
        (faults.reset(after_effect=False), UnavailableError),
        (faults.unauthorized(), UnauthorizedError),
        (faults.forbidden(), UnauthorizedError),
    ],
)
def test_a_list_that_breaks_is_no_absence(harness: CloudHarness, fault: faults.Fault, error: type[Exception]) -> None:
    provider = harness.connect()
    harness.rehearsal.faults.inject("bedrock.*", fault, times=None)
    for call in (provider.deployments.list, provider.artifacts.list, lambda: provider.deployments.get("dep-1")):
        with pytest.raises(error):
            call()


def test_chat_maps_to_converse_and_back(harness: CloudHarness) -> None:
    chat, target = harness.connect().chat, _base()
    whole: Any = chat.complete(target, {**QUESTION, "temperature": 0.1, "top_p": 0.9, "stop": "never"}, timeout_s=5)
    text = whole["choices"][0]["message"]["content"]
    assert whole["rehearsal"] is True
    assert "Where is it?" in text
    chunks: list[Any] = list(chat.stream(target, {**QUESTION, "max_tokens": 3}, timeout_s=5))
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert streamed == " ".join(text.split(" ")[:3])
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    twice = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "three"}]}
    said: Any = chat.complete(target, twice, timeout_s=5)
    assert said["usage"]["prompt_tokens"] == 3


def test_what_converse_has_no_word_for_is_refused_and_its_refusals_handed_through(harness: CloudHarness) -> None:
    chat = harness.connect().chat
    with pytest.raises(ChatError, match="logit_bias") as lost:
        chat.complete(_base(), {**QUESTION, "logit_bias": {"50256": -100}}, timeout_s=5)
    assert lost.value.status == 400
    with pytest.raises(ChatError) as refused:
        list(chat.stream(_base("amazon.unknown"), QUESTION, timeout_s=5))
    assert (refused.value.status, refused.value.code) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("fault", "code"), [(faults.timeout(after_effect=True), "timeout"), (faults.reset(after_effect=True), None)]
)
def test_a_chat_without_an_answer_is_unknown(harness: CloudHarness, fault: faults.Fault, code: str | None) -> None:
    harness.rehearsal.faults.inject("bedrock-runtime.converse", fault)
    with pytest.raises(OutcomeUnknownError) as unknown:
        harness.connect().chat.complete(_base(), QUESTION, timeout_s=0.1)
    assert unknown.value.code == code


def test_nobody_there_is_unavailable_and_not_unknown(harness: CloudHarness) -> None:
    provider = harness.connect()
    harness.rehearsal.close()
    with pytest.raises(UnavailableError, match="no connection"):
        provider.artifacts.delete("arn:aws:bedrock:us-east-1:1:custom-model/x")


def test_a_retirement_that_was_announced_is_told(harness: CloudHarness) -> None:
    harness.rehearsal.catalogue["bedrock"][NOVA].retires_at = datetime(2027, 2, 3, tzinfo=UTC)
    provider: Any = harness.connect()
    assert provider.retires_on(NOVA) == date(2027, 2, 3)
    assert provider.retires_on("amazon.nova-lite-v1:0:300k") is None


def _base(model: str = NOVA) -> ServingTarget:
    return ServingTarget(artifact=Artifact(id=model), deployment_id=None, deployment_name=None, endpoint=None)


def test_data_is_deleted_a_day_later_when_no_unfinished_job_names_it(harness: CloudHarness) -> None:
    harness.rehearsal.pace.training_s = 3 * 86400
    training, clock = harness.connect().training, harness.rehearsal.clock
    training.submit(harness.training_request("job-1"))
    clock.advance(2 * 86400)
    assert training.clean_up() == []
    clock.advance(2 * 86400)
    gone = training.clean_up()
    assert [key.startswith("tenure/data/") for key in gone] == [True, True]
    assert training.clean_up() == []
    assert training.poll([job.id for job in training.find(name="job-1", token="t")])


def test_old_data_is_written_again_for_a_new_job(harness: CloudHarness) -> None:
    training, calls = harness.connect().training, harness.rehearsal.truth.calls
    training.submit(harness.training_request("job-1"))
    training.submit(harness.training_request("job-2"))
    assert calls["s3.put_object"] == 2
    harness.rehearsal.clock.advance(13 * 3600)
    training.submit(harness.training_request("job-3"))
    assert calls["s3.put_object"] == 4


def test_there_is_no_pausing(harness: CloudHarness) -> None:
    training = harness.connect().training
    assert harness.connect().capabilities.pause is False
    for ask in (training.pause, training.resume):
        with pytest.raises(RejectedError, match="cannot be paused"):
            ask("arn:x")


def test_one_that_cannot_be_read_after_its_create_is_billed_from_no_later_than_it_is(harness: CloudHarness) -> None:
    request = _request(harness)
    rehearsal = harness.rehearsal
    provider = harness.factory(harness.connection, now=lambda: rehearsal.clock.advance(1))
    rehearsal.faults.inject("bedrock.get_provisioned*", faults.server_error(500), after=1, times=None)
    made = provider.deployments.create(request)
    provider.close()
    assert made.status == "Creating"
    assert made.created_at is not None
    assert made.created_at <= rehearsal.truth.one(made.id).created_at


def test_a_commitment_is_told_with_the_deployment(harness: CloudHarness) -> None:
    made = harness.connect().deployments.create(_request(harness, commitment="OneMonth"))
    assert made.committed_until == harness.rehearsal.clock.now() + timedelta(days=30)
    assert (harness.connect().deployments.get(made.id) or made).committed_until == made.committed_until


def test_a_rehearsal_needs_no_credentials(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    harness.set(rehearsal=True)
    provider = harness.connect()
    assert all(check.passed for check in provider.check()), provider.check()
    assert provider.capabilities.poll_interval_s == 1.0
