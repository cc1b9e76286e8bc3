"""One Azure OpenAI connection, opened: its settings, and the parts that work with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from providers import uses
from providers.azure.artifacts import AzureArtifacts
from providers.azure.data_plane import DataPlane
from providers.azure.deployments import AzureDeployments
from providers.azure.resource import Resource
from providers.azure.settings import settings_of
from providers.checks import checked
from providers.cloud_settings import REHEARSAL_POLL_S
from providers.openai.chat import CloudChat
from providers.openai.errors import translated
from providers.openai.lists import Json, models
from providers.openai.training import CloudTraining, Dialect
from providers.ports import Capabilities, Connection, ConnectionCheck, ServingTarget

SUFFIX_MAX = 40
"""https://learn.microsoft.com/azure/ai-services/openai/authoring-reference-preview"""


class AzureProvider:
    """`providers.ports.Provider` for one Azure OpenAI resource."""

    def __init__(self, connection: Connection, *, now: Callable[[], datetime]) -> None:
        self.settings = settings_of(connection)
        self._now = now
        self._resource = Resource(self.settings, now=now)
        plane = DataPlane(self.settings, self._resource)
        self._client = plane.client
        dialect = Dialect(
            fine_tuning=self.settings.fine_tuning,
            files_first=True,
            filters=False,
            suffix_max=SUFFIX_MAX,
            extra={"trainingType": self.settings.training_type},
        )
        self.training = CloudTraining(
            self._client, dialect, base_models=self.base_models, registry=connection.registry, now=now
        )
        self.artifacts = AzureArtifacts(self._client, now=now)
        self.deployments = AzureDeployments(self.settings, self._resource, registry=connection.registry, now=now)
        self.chat = CloudChat(self._client, _deployment_name, plane.upstream, now=now)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fine_tuning=self.settings.fine_tuning,
            serving="deployment",
            checkpoints=True,
            pause=True,
            poll_interval_s=REHEARSAL_POLL_S if self.settings.rehearsal else None,
            use_lag=uses.LAG,
        )

    def check(self) -> Sequence[ConnectionCheck]:
        checks: list[ConnectionCheck] = []
        if self.settings.workspace is not None and self.settings.workspace_connection is not None:
            checks.append(checked("workspace connection", self._workspace, "grant Reader on the Azure ML workspace"))
        role = "grant Cognitive Services Contributor on the resource, and check token_env or the credential chain"
        checks.append(checked("resource manager", self._management, role))
        role = "check api_key_env, or grant Cognitive Services OpenAI Contributor"
        checks.append(checked("data plane", lambda: f"{len(models(self._client, now=self._now))} models", role))
        if self.settings.fine_tuning:
            role = "grant Cognitive Services OpenAI Contributor: fine_tuning is allowed for this connection"
            checks.append(checked("fine-tuning", self._jobs, role))
        return [*checks, uses.check(self.deployments, now=self._now())]

    def base_models(self) -> Sequence[str]:
        """Those that Azure says can be tuned."""
        return [
            str(model["id"])
            for model in models(self._client, now=self._now)
            if _inner(model, "capabilities").get("fine_tune")
        ]

    def retires_on(self, base_model: str) -> date | None:
        """The day on which the model stops answering, if Azure has told."""
        for model in models(self._client, now=self._now):
            stamp = _inner(model, "deprecation").get("inference")
            if model["id"] == base_model and stamp:
                return datetime.fromtimestamp(int(stamp), UTC).date()
        return None

    def close(self) -> None:
        self._client.close()
        self._resource.close()

    def _jobs(self) -> str:
        with translated("list-jobs", now=self._now):
            self._client.get().fine_tuning.jobs.list(limit=1)
        return f"jobs can be seen; they train as {self.settings.training_type}"

    def _workspace(self) -> str:
        place = self._resource.from_workspace()
        return f"{place.account} at {place.endpoint}"

    def _management(self) -> str:
        return f"{self._resource.place().account}: {len(self.deployments.list())} deployments"


def _inner(model: Json, key: str) -> Json:
    found: Json | None = model.get(key)
    return found or {}


def _deployment_name(target: ServingTarget) -> str:
    return target.deployment_name or target.artifact.id
