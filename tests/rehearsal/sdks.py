"""The vendors' own clients, pointed at a rehearsal as a user would point them: by endpoint, credential and policy."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import boto3.session
import openai
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient
from botocore.config import Config

from providers.rehearsal import Rehearsal

GROUP, ACCOUNT = "rehearsal", "rehearsal-aoai"
BASE = "gpt-4.1-mini-2025-04-14"
NOVA = "amazon.nova-micro-v1:0:128k"
BUCKET = "rehearsal"
OPENED = contextlib.ExitStack()
"""Every client that a test has made; the fixture closes them."""
_AWS: Any = boto3.session.Session()
ROLE = "arn:aws:iam::123456789012:role/rehearsal"


class BearerOverHttp(SansIOHTTPPolicy[Any, Any]):
    """Azure's own policy refuses plain http; this sets the same header without that."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def on_request(self, request: Any) -> None:
        request.http_request.headers["Authorization"] = f"Bearer {self._token}"
        request.context.options.pop("enforce_https", None)


class ReadyToken:
    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)


def openai_client(rehearsal: Rehearsal, *, timeout_s: float = 5.0, retries: int = 0) -> openai.OpenAI:
    key = rehearsal.environment()["REHEARSAL_API_KEY"]
    client = openai.OpenAI(api_key=key, base_url=rehearsal.openai_url, timeout=timeout_s, max_retries=retries)
    return OPENED.enter_context(client)


def azure_client(rehearsal: Rehearsal) -> openai.AzureOpenAI:
    key = rehearsal.environment()["REHEARSAL_API_KEY"]
    client = openai.AzureOpenAI(
        api_key=key, azure_endpoint=rehearsal.azure_url, api_version="2024-10-21", max_retries=0, timeout=5.0
    )
    return OPENED.enter_context(client)


def arm_client(rehearsal: Rehearsal) -> CognitiveServicesManagementClient:
    token = rehearsal.environment()["REHEARSAL_ARM_TOKEN"]
    subscription = str(rehearsal.connections()["rehearsal-azure"]["subscription_id"])
    client = CognitiveServicesManagementClient(
        ReadyToken(token),  # pyright: ignore[reportArgumentType]
        subscription,
        base_url=rehearsal.arm_url,
        authentication_policy=BearerOverHttp(token),
        retry_total=0,
        polling_interval=0,
    )
    return OPENED.enter_context(client)


def aws_client(rehearsal: Rehearsal, service: str, *, access_key: str | None = None) -> Any:
    url = {
        "bedrock": rehearsal.bedrock_url,
        "bedrock-runtime": rehearsal.bedrock_runtime_url,
        "s3": rehearsal.s3_url,
        "cloudwatch": rehearsal.bedrock_url,
    }[service]
    environment = rehearsal.environment()
    client: Any = _AWS.client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=access_key or environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, read_timeout=5.0, s3={"addressing_style": "path"}),
    )
    OPENED.callback(client.close)
    return client


def chat_rows(count: int = 12) -> bytes:
    rows = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(count)
    ]
    return "\n".join(json.dumps(row) for row in rows).encode()


def bedrock_rows(count: int = 12) -> bytes:
    return "\n".join(json.dumps({"prompt": f"q{n}", "completion": "a"}) for n in range(count)).encode()


def upload(client: openai.OpenAI, content: bytes | None = None) -> str:
    file = client.files.create(file=("train.jsonl", content or chat_rows()), purpose="fine-tune")
    return file.id


def tuned(rehearsal: Rehearsal, client: openai.OpenAI, **extra: Any) -> str:
    """A tuned model's name, trained to its end."""
    file = upload(client)
    rehearsal.clock.advance(1)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file, extra_body=extra)
    rehearsal.clock.advance(60)
    name = client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert name is not None
    return name


def job_arguments(name: str = "job-1", **extra: Any) -> dict[str, Any]:
    return {
        "jobName": name,
        "customModelName": f"model-of-{name}",
        "roleArn": ROLE,
        "baseModelIdentifier": NOVA,
        "trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/in/train.jsonl"},
        "outputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"},
        "clientRequestToken": f"token-of-{name}",
        **extra,
    }


def custom_model(rehearsal: Rehearsal, name: str = "job-1", **extra: Any) -> str:
    """A custom model's ARN, trained to its end."""
    aws_client(rehearsal, "s3").put_object(Bucket=BUCKET, Key="in/train.jsonl", Body=bedrock_rows())
    bedrock = aws_client(rehearsal, "bedrock")
    arn = bedrock.create_model_customization_job(**job_arguments(name, **extra))["jobArn"]
    rehearsal.clock.advance(60)
    return str(bedrock.get_model_customization_job(jobIdentifier=arn)["outputModelArn"])
