"""One Bedrock connection, opened: its settings, and the parts that work with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from providers import uses
from providers.bedrock.artifacts import BedrockArtifacts
from providers.bedrock.chat import BedrockChat
from providers.bedrock.clients import Clients
from providers.bedrock.deployments import BedrockDeployments
from providers.bedrock.errors import translated
from providers.bedrock.settings import settings_of
from providers.bedrock.training import BedrockTraining
from providers.checks import checked
from providers.cloud_settings import REHEARSAL_POLL_S
from providers.ports import Capabilities, Connection, ConnectionCheck

PROBE_KEY = "tenure-connection-test"


class BedrockProvider:
    """`providers.ports.Provider` for one AWS account and region."""

    def __init__(self, connection: Connection, *, now: Callable[[], datetime]) -> None:
        self.settings = settings_of(connection)
        self._now = now
        self._clients = Clients(self.settings, now=now)
        registry = connection.registry
        self.training = BedrockTraining(
            self.settings, self._clients, registry=registry, base_models=self.base_models, now=now
        )
        self.artifacts = BedrockArtifacts(self._clients, now=now)
        self.deployments = BedrockDeployments(self.settings, self._clients, registry=registry, now=now)
        self.chat = BedrockChat(self._clients, now=now)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fine_tuning=self.settings.fine_tuning,
            serving="deployment",
            poll_interval_s=REHEARSAL_POLL_S if self.settings.rehearsal else None,
            use_lag=uses.LAG if self.settings.metrics else None,
        )

    def check(self) -> Sequence[ConnectionCheck]:
        remedy = "check the credentials, and allow bedrock:ListFoundationModels and bedrock:ListCustomModels"
        checks = [checked("models", self._look_at_models, remedy)]
        served = "bedrock:ListProvisionedModelThroughputs, ListCustomModelDeployments and ListTagsForResource"
        checks.append(checked("serving", self._look_at_serving, f"allow {served}"))
        if self.settings.fine_tuning:
            remedy = "allow bedrock:ListModelCustomizationJobs"
            checks.append(checked("fine-tuning", self._look_at_jobs, remedy))
        if self.settings.fine_tuning:
            remedy = "allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject, here and to role_arn"
            checks.append(checked("s3", self._probe_s3, remedy))
        if self.settings.metrics:
            checks.append(uses.check(self.deployments, now=self._now()))
        return checks

    def base_models(self) -> Sequence[str]:
        """Those that AWS says can be customized."""
        models = self._models()
        return [str(one["modelId"]) for one in models if "FINE_TUNING" in (one.get("customizationsSupported") or ())]

    def retires_on(self, base_model: str) -> date | None:
        """The day on which the model reaches its end of life, if AWS has told."""
        for model in self._models():
            cycle: dict[str, Any] = model.get("modelLifecycle") or {}
            ends: datetime | None = cycle.get("endOfLifeTime")
            if model["modelId"] == base_model and ends is not None:
                return ends.astimezone(UTC).date()
        return None

    def close(self) -> None:
        self._clients.close()

    def _models(self) -> Sequence[dict[str, Any]]:
        with translated("list-models", now=self._now):
            return self._clients.get("bedrock").list_foundation_models().get("modelSummaries") or []

    def _look_at_models(self) -> str:
        return f"{len(self.base_models())} models can be tuned, {len(self.artifacts.list())} were"

    def _look_at_serving(self) -> str:
        return f"{len(self.deployments.list())} things serve"

    def _look_at_jobs(self) -> str:
        with translated("list-jobs", now=self._now):
            self._clients.get("bedrock").list_model_customization_jobs(maxResults=1)
        return f"jobs can be seen; they run as {self.settings.role_arn}"

    def _probe_s3(self) -> str:
        bucket, key = self.settings.bucket, "/".join(part for part in (self.settings.prefix, PROBE_KEY) if part)
        s3 = self._clients.get("s3")
        with translated("write-s3", now=self._now):
            s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)  # without it, what is missing looks forbidden
            s3.put_object(Bucket=bucket, Key=key, Body=b"tenure")
            s3.delete_object(Bucket=bucket, Key=key)
        return f"wrote and deleted s3://{bucket}/{key}"
