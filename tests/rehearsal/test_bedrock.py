"""AWS Bedrock and S3 as emulated, through boto3."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from providers.rehearsal import Rehearsal
from providers.rehearsal.faults import doomed
from tests.rehearsal.sdks import BUCKET, NOVA, aws_client, bedrock_rows, custom_model, job_arguments

HELLO = [{"role": "user", "content": [{"text": "hello there"}]}]


def test_a_job_runs_to_a_custom_model_with_losses_in_s3(rehearsal: Rehearsal) -> None:
    s3, bedrock = aws_client(rehearsal, "s3"), aws_client(rehearsal, "bedrock")
    s3.put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    arn = bedrock.create_model_customization_job(
        **job_arguments(
            hyperParameters={"epochCount": "2"},
            validationDataConfig={"validators": [{"s3Uri": f"s3://{BUCKET}/in/train.jsonl"}]},
        )
    )["jobArn"]
    seen: list[tuple[str, str]] = []
    for _ in range(13):
        job = bedrock.get_model_customization_job(jobIdentifier=arn)
        step = (job["status"], job["statusDetails"]["trainingDetails"]["status"])
        seen += [step] if step not in seen else []
        rehearsal.clock.advance(2)
    assert seen == [("InProgress", "NotStarted"), ("InProgress", "InProgress"), ("Completed", "Completed")]
    job = bedrock.get_model_customization_job(jobIdentifier=arn)
    model = bedrock.get_custom_model(modelIdentifier=job["outputModelArn"])
    assert model["modelStatus"] == "Active"
    assert model["jobArn"] == arn
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]]
    training = s3.get_object(Bucket=BUCKET, Key=keys[0])["Body"].read().decode().splitlines()
    validation = s3.get_object(Bucket=BUCKET, Key=keys[1])["Body"].read().decode().splitlines()
    assert keys[0].endswith("training_artifacts/step_wise_training_metrics.csv")
    assert training[0] == "step_number,epoch_number,training_loss,perplexity"
    assert training[-1].split(",")[2] == str(job["trainingMetrics"]["trainingLoss"])
    assert validation[-1].split(",")[2] == str(job["validationMetrics"][0]["validationLoss"])


def test_the_same_token_again_answers_the_first_job(rehearsal: Rehearsal) -> None:
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    bedrock = aws_client(rehearsal, "bedrock")
    first = bedrock.create_model_customization_job(**job_arguments())["jobArn"]
    assert bedrock.create_model_customization_job(**job_arguments())["jobArn"] == first
    with pytest.raises(ClientError, match="already in use"):
        bedrock.create_model_customization_job(**job_arguments(clientRequestToken="another"))
    assert len(rehearsal.truth.ever("bedrock.job")) == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"baseModelIdentifier": "amazon.unknown"}, "ValidationException"),
        ({"trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/nowhere"}}, "ValidationException"),
        ({"roleArn": "arn:aws:sts::1:role/x"}, "AccessDeniedException"),
        ({"jobName": ""}, "ParamValidationError"),
        ({"customModelName": "m" * 64}, "ValidationException"),
        ({"jobTags": [{"key": str(n), "value": ""} for n in range(201)]}, "TooManyTagsException"),
    ],
)
def test_what_bedrock_refuses_at_once_is_refused_and_makes_nothing(
    rehearsal: Rehearsal, wrong: dict[str, Any], code: str
) -> None:
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    with pytest.raises(Exception, match=r".") as caught:
        aws_client(rehearsal, "bedrock").create_model_customization_job(**job_arguments(**wrong))
    refused: Any = caught.value
    assert code == (refused.response["Error"]["Code"] if hasattr(refused, "response") else type(refused).__name__)
    assert not rehearsal.truth.ever("bedrock.job")


def _conversation(*roles: str) -> str:
    messages = [{"role": role, "content": [{"text": "x"}]} for role in roles]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "s"}], "messages": messages})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([_conversation("user", "assistant")], None),
        ([_conversation("user", "user")], "alternate"),
        ([_conversation("user", "assistant"), '{"prompt": "a", "completion": "b"}'], "another format"),
        (['{"prompt": "a"}'], "must be texts"),
        (["{"], "not JSON"),
        ([], "empty"),
    ],
)
def test_both_data_formats_are_taken_and_faults_fail_the_job(
    rehearsal: Rehearsal, lines: list[str], message: str | None
) -> None:
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body="\n".join(lines).encode())
    bedrock = aws_client(rehearsal, "bedrock")
    arn = bedrock.create_model_customization_job(**job_arguments())["jobArn"]
    rehearsal.clock.advance(60)
    job = bedrock.get_model_customization_job(jobIdentifier=arn)
    assert job["status"] == ("Failed" if message else "Completed")
    assert (message or "") in job.get("failureMessage", "")


def test_a_stopped_job_stops_after_a_while_and_leaves_nothing(rehearsal: Rehearsal) -> None:
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    bedrock = aws_client(rehearsal, "bedrock")
    arn = bedrock.create_model_customization_job(**job_arguments())["jobArn"]
    rehearsal.clock.advance(5)
    bedrock.stop_model_customization_job(jobIdentifier=arn)
    assert bedrock.get_model_customization_job(jobIdentifier=arn)["status"] == "Stopping"
    rehearsal.clock.advance(60)
    assert bedrock.get_model_customization_job(jobIdentifier="job-1")["status"] == "Stopped"
    assert bedrock.list_custom_models()["modelSummaries"] == []
    with pytest.raises(ClientError, match="ConflictException"):
        bedrock.stop_model_customization_job(jobIdentifier=arn)


def test_lists_page_filter_and_carry_no_tags(rehearsal: Rehearsal) -> None:
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    bedrock = aws_client(rehearsal, "bedrock")
    tags = [{"key": "tenure", "value": "x"}]
    arns = [bedrock.create_model_customization_job(**job_arguments(f"j{n}", jobTags=tags))["jobArn"] for n in range(5)]
    pages = list(bedrock.get_paginator("list_model_customization_jobs").paginate(PaginationConfig={"PageSize": 2}))
    assert [job["jobArn"] for page in pages for job in page["modelCustomizationJobSummaries"]] == arns[::-1]
    assert len(pages) == 3
    found = bedrock.list_model_customization_jobs(nameContains="j3")["modelCustomizationJobSummaries"]
    assert [job["jobName"] for job in found] == ["j3"]
    assert "tags" not in found[0]
    oldest = bedrock.list_model_customization_jobs(sortOrder="Ascending", statusEquals="InProgress", maxResults=1)
    assert [job["jobName"] for job in oldest["modelCustomizationJobSummaries"]] == ["j0"]
    bedrock.tag_resource(resourceARN=arns[0], tags=[{"key": "more", "value": "y"}])
    assert bedrock.list_tags_for_resource(resourceARN=arns[0])["tags"] == [*tags, {"key": "more", "value": "y"}]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bedrock.list_tags_for_resource(resourceARN="arn:aws:bedrock:us-east-1:1:custom-model/nowhere")


def test_provisioned_throughput_bills_by_the_unit_hour_until_it_is_deleted(rehearsal: Rehearsal) -> None:
    model, bedrock = custom_model(rehearsal), aws_client(rehearsal, "bedrock")
    arguments = {"modelUnits": 2, "provisionedModelName": "pt", "modelId": model, "clientRequestToken": "t" * 8}
    arn = bedrock.create_provisioned_model_throughput(**arguments)["provisionedModelArn"]
    assert bedrock.create_provisioned_model_throughput(**arguments)["provisionedModelArn"] == arn
    assert bedrock.get_provisioned_model_throughput(provisionedModelId=arn)["status"] == "Creating"
    rehearsal.clock.advance(3600)
    (summary,) = bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]
    assert (summary["status"], summary["modelUnits"]) == ("InService", 2)
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        bedrock.create_provisioned_model_throughput(modelUnits=1, provisionedModelName="more", modelId=model)
    with pytest.raises(ClientError, match="is served by pt"):
        bedrock.delete_custom_model(modelIdentifier=model)
    bedrock.delete_provisioned_model_throughput(provisionedModelId="pt")
    rehearsal.clock.advance(5)
    assert bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    (interval,) = rehearsal.truth.one("pt").billed_intervals()
    assert interval.end == interval.start + timedelta(seconds=3602)
    assert (interval.unit, interval.quantity) == ("hour", 2)


def test_a_commitment_is_kept_to_its_end(rehearsal: Rehearsal) -> None:
    model, bedrock = custom_model(rehearsal), aws_client(rehearsal, "bedrock")
    arguments = {"modelUnits": 9, "provisionedModelName": "pt", "modelId": model, "commitmentDuration": "OneMonth"}
    arn = bedrock.create_provisioned_model_throughput(**arguments)["provisionedModelArn"]
    ends = bedrock.get_provisioned_model_throughput(provisionedModelId=arn)["commitmentExpirationTime"]
    assert ends == rehearsal.clock.now() + timedelta(days=30)
    with pytest.raises(ClientError, match=rf"commitment ends at {ends.astimezone(UTC):%Y-%m-%d}"):
        bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    rehearsal.clock.advance(30 * 86400)
    bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)


@pytest.mark.parametrize("wrong", [{"modelUnits": 0}, {"commitmentDuration": "OneYear"}, {"modelId": "nowhere"}])
def test_provisioned_throughput_that_cannot_be_is_refused(rehearsal: Rehearsal, wrong: dict[str, Any]) -> None:
    model, bedrock = custom_model(rehearsal), aws_client(rehearsal, "bedrock")
    with pytest.raises(Exception, match=r"at least 1|min value|one of|not found|valid min"):
        bedrock.create_provisioned_model_throughput(
            **{"modelUnits": 1, "provisionedModelName": "pt", "modelId": model, **wrong}
        )
    assert rehearsal.truth.billed() == []


def test_an_on_demand_deployment_costs_nothing_by_the_hour_and_answers(rehearsal: Rehearsal) -> None:
    model, bedrock = custom_model(rehearsal), aws_client(rehearsal, "bedrock")
    arguments = {"modelDeploymentName": "od", "modelArn": model, "clientRequestToken": "t" * 8}
    arn = bedrock.create_custom_model_deployment(**arguments)["customModelDeploymentArn"]
    assert bedrock.create_custom_model_deployment(**arguments)["customModelDeploymentArn"] == arn
    runtime = aws_client(rehearsal, "bedrock-runtime")
    with pytest.raises(ClientError, match="ModelNotReadyException"):
        runtime.converse(modelId=arn, messages=HELLO)
    rehearsal.clock.advance(10)
    assert bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn)["status"] == "Active"
    (summary,) = bedrock.list_custom_model_deployments(modelArnEquals=model)["modelDeploymentSummaries"]
    assert summary["customModelDeploymentName"] == "od"
    said = runtime.converse(modelId=arn, messages=HELLO, system=[{"text": "be brief"}])
    assert said["additionalModelResponseFields"] == {"rehearsal": True}
    assert said["ResponseMetadata"]["HTTPHeaders"]["x-rehearsal"] == "true"
    assert "hello there" in said["output"]["message"]["content"][0]["text"]
    assert rehearsal.truth.billed() == []
    with pytest.raises(ClientError, match="already in use"):
        bedrock.create_custom_model_deployment(modelDeploymentName="od", modelArn=model)
    bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
    rehearsal.clock.advance(5)
    bedrock.delete_custom_model(modelIdentifier=model)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bedrock.get_custom_model(modelIdentifier=model)


def test_what_was_doomed_fails_and_says_why(rehearsal: Rehearsal) -> None:
    model, bedrock = custom_model(rehearsal), aws_client(rehearsal, "bedrock")
    rehearsal.faults.inject("bedrock.create_*", doomed("no capacity"), times=2)
    throughput = bedrock.create_provisioned_model_throughput(modelUnits=1, provisionedModelName="pt", modelId=model)
    bedrock.create_custom_model_deployment(modelDeploymentName="od", modelArn=model)
    rehearsal.clock.advance(10)
    found = bedrock.get_provisioned_model_throughput(provisionedModelId=throughput["provisionedModelArn"])
    assert (found["status"], found["failureMessage"]) == ("Failed", "no capacity")
    (summary,) = bedrock.list_custom_model_deployments()["modelDeploymentSummaries"]
    assert (summary["status"], summary["failureMessage"]) == ("Failed", "no capacity")


def test_a_conversation_streams_word_by_word(rehearsal: Rehearsal) -> None:
    runtime = aws_client(rehearsal, "bedrock-runtime")
    whole = runtime.converse(modelId=NOVA, messages=HELLO)["output"]["message"]["content"][0]["text"]
    events = list(
        runtime.converse_stream(
            modelId=NOVA, messages=HELLO, inferenceConfig={"maxTokens": 3, "stopSequences": ["never"]}
        )["stream"]
    )
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert text == " ".join(whole.split(" ")[:3])
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert events[-2]["messageStop"]["stopReason"] == "max_tokens"
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 3


NOTHING: list[Any] = []
USE: dict[str, Any] = {"toolUse": {"toolUseId": "u1", "name": "look_up", "input": {}}}


@pytest.mark.parametrize(
    ("target", "messages", "message"),
    [
        (NOVA, [{"role": "assistant", "content": [{"text": "x"}]}], "must start with a user message"),
        (NOVA, HELLO * 2, "Roles must alternate"),
        (NOVA, [{"role": "user", "content": NOTHING}], "content field in the Message object at messages.0 is empty"),
        (NOVA, [{"role": "user", "content": [{"text": " "}]}], "is blank"),
        (NOVA, [*HELLO, {"role": "assistant", "content": [USE]}], "toolConfig field must be defined"),
        (NOVA, [*HELLO, {"role": "assistant", "content": [USE]}, *HELLO], "toolConfig field must be defined"),
        (
            NOVA,
            [{"role": "user", "content": [{"toolResult": {"toolUseId": "u", "content": NOTHING}}]}],
            "Expected toolResult",
        ),
        ("amazon.unknown", HELLO, "ResourceNotFoundException"),
        ("arn:aws:bedrock:us-east-1:1:custom-model/nova/abc", HELLO, "without Provisioned Throughput"),
    ],
)
def test_conversations_that_cannot_be_are_refused(
    rehearsal: Rehearsal, target: str, messages: list[Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        aws_client(rehearsal, "bedrock-runtime").converse(modelId=target, messages=messages)


def test_base_models_tell_their_end_of_life(rehearsal: Rehearsal) -> None:
    rehearsal.catalogue["bedrock"][NOVA].retires_at = datetime(2027, 3, 1, tzinfo=UTC)
    bedrock = aws_client(rehearsal, "bedrock")
    details = bedrock.get_foundation_model(modelIdentifier=NOVA)["modelDetails"]
    assert details["modelLifecycle"]["endOfLifeTime"] == datetime(2027, 3, 1, tzinfo=UTC)
    assert NOVA in {model["modelId"] for model in bedrock.list_foundation_models()["modelSummaries"]}
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bedrock.get_foundation_model(modelIdentifier="amazon.unknown")


def test_an_object_is_written_read_in_parts_listed_and_deleted(rehearsal: Rehearsal) -> None:
    s3 = aws_client(rehearsal, "s3")
    big = b"0123456789" * 900_000
    s3.upload_fileobj(io.BytesIO(big), BUCKET, "a/big & wide.bin")
    s3.put_object(Bucket=BUCKET, Key="a/small", Body=b"one")
    s3.put_object(Bucket=BUCKET, Key="a/small", Body=b"two")
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "a/big & wide.bin", back)
    assert back.getvalue() == big
    assert s3.get_object(Bucket=BUCKET, Key="a/small")["Body"].read() == b"two"
    assert s3.get_object(Bucket=BUCKET, Key="a/small", Range="bytes=1-")["Body"].read() == b"wo"
    first = s3.list_objects_v2(Bucket=BUCKET, Prefix="a/", MaxKeys=1)
    second = s3.list_objects_v2(Bucket=BUCKET, Prefix="a/", ContinuationToken=first["NextContinuationToken"])
    assert [page["Contents"][0]["Key"] for page in (first, second)] == ["a/big & wide.bin", "a/small"]
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a/big & wide.bin"}]})
    s3.delete_object(Bucket=BUCKET, Key="a/small")
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="a/small")


def test_buckets_are_made_looked_at_and_missed(rehearsal: Rehearsal) -> None:
    s3 = aws_client(rehearsal, "s3")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="other")
    s3.create_bucket(Bucket="other")
    assert s3.head_bucket(Bucket="other")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket="other")["LocationConstraint"] is None
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="third")
    with pytest.raises(ClientError, match="not_imitated"):
        s3.get_bucket_acl(Bucket="other")


def test_parts_of_an_upload_can_be_given_up(rehearsal: Rehearsal) -> None:
    s3 = aws_client(rehearsal, "s3")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        s3.complete_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload)


@pytest.mark.parametrize("service", ["bedrock", "bedrock-runtime", "s3"])
def test_another_key_is_refused(rehearsal: Rehearsal, service: str) -> None:
    client = aws_client(rehearsal, service, access_key="AKIAOTHER")
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "bedrock": ("list_custom_models", {}),
        "bedrock-runtime": ("converse", {"modelId": NOVA, "messages": HELLO}),
        "s3": ("list_objects_v2", {"Bucket": BUCKET}),
    }
    name, arguments = calls[service]
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        getattr(client, name)(**arguments)


def counted(rehearsal: Rehearsal, model: str, *, metric: str = "Invocations", stat: str = "Sum") -> dict[str, Any]:
    what = {"Namespace": "AWS/Bedrock", "MetricName": metric, "Dimensions": [{"Name": "ModelId", "Value": model}]}
    query = {"Id": "a", "MetricStat": {"Metric": what, "Period": 3600, "Stat": stat}}
    now = rehearsal.clock.now()
    found = aws_client(rehearsal, "cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(days=1), EndTime=now
    )
    return dict(found["MetricDataResults"][0])


def test_cloudwatch_counts_invocations_by_model_and_hour(rehearsal: Rehearsal) -> None:
    bedrock = aws_client(rehearsal, "bedrock")
    arn = bedrock.create_custom_model_deployment(modelDeploymentName="dep", modelArn=custom_model(rehearsal))[
        "customModelDeploymentArn"
    ]
    rehearsal.clock.advance(60)
    runtime = aws_client(rehearsal, "bedrock-runtime")
    for count in (2, 1):
        for _ in range(count):
            runtime.converse(modelId=arn, messages=[{"role": "user", "content": [{"text": "hi"}]}])
        rehearsal.clock.advance(3600)
    assert counted(rehearsal, arn)["Values"] == [1.0, 2.0], "the newest first"
    assert counted(rehearsal, f"{arn}-not")["Values"] == []
    assert counted(rehearsal, arn, metric="InvocationThrottles")["Values"] == []


def test_other_metrics_are_not_rehearsed(rehearsal: Rehearsal) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*by the hour are rehearsed"):
        counted(rehearsal, "x", stat="Average")
    with pytest.raises(ClientError, match=r"ValidationException.*Only GetMetricData"):
        aws_client(rehearsal, "cloudwatch").list_metrics()
