"""What serves a custom model: provisioned throughput (billed by the hour) or an on-demand deployment (by the token).

Both are created with our token, by which AWS knows a repeated request. Provisioned throughput with a commitment is not
deleted before its end: AWS's refusal, which names the date, is handed on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.bedrock.clients import Clients
from providers.bedrock.errors import is_missing, translated
from providers.bedrock.metrics import BedrockMetrics
from providers.bedrock.names import REGISTRY_TAG, aws_name, aws_token, tags_of
from providers.bedrock.pages import items_of
from providers.bedrock.settings import Settings
from providers.errors import ProviderError, RejectedError, UnavailableError
from providers.ports import DeploymentOutcome, DeploymentReport, DeploymentRequest
from providers.redaction import redacted

TAGS_LATE_MAX = timedelta(hours=1)
"""Younger than this, what bears no tag of ours is asked again."""
QUOTA_CODES = frozenset({"ServiceQuotaExceededException"})
OPTIONS = frozenset({"model_units", "commitment"})
_OUTCOMES: Mapping[str, DeploymentOutcome] = {
    "InService": "serving",
    "Active": "serving",
    "Updating": "serving",
    "Failed": "failed",
}


class BedrockDeployments:
    """`providers.ports.Deployments`; the connection says which kind is made, both kinds are seen."""

    def __init__(self, settings: Settings, clients: Clients, *, registry: str, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clients = clients
        self._registry = registry
        self._now = now
        self._owned: dict[str, bool] = {}
        self._metrics = BedrockMetrics(clients, now=now)

    def create(self, request: DeploymentRequest) -> DeploymentReport:
        if unknown := sorted(set(request.options) - OPTIONS):
            raise RejectedError(f"unknown options: {', '.join(unknown)}", operation="create-deployment")
        if (there := self.get(request.name)) is not None:
            return there
        arguments: dict[str, Any] = {
            "clientRequestToken": aws_token(request.token),
            "tags": tags_of({**request.tags, "tenure_model": f"{request.model}-{request.version}"}, self._registry),
        }
        asked_at = self._now()
        try:
            with translated("create-deployment", now=self._now, effect=True, token=request.token):
                arn = self._created(request, arguments)
        except RejectedError as error:
            self._check_made(request.artifact.id)
            raise self._with_units(error) from error
        there = None
        # It is accepted, and billed. A read that fails or does not show it yet says nothing against that.
        with contextlib.suppress(ProviderError):
            there = self.get(arn)
        return there or DeploymentReport(
            id=arn,
            name=request.name,
            status="Creating",
            outcome="provisioning",
            artifact_id=request.artifact.id,
            ours=True,
            created_at=asked_at,
        )

    def list(self) -> Sequence[DeploymentReport]:
        with translated("list-deployments", now=self._now):
            client = self._clients.get("bedrock")
            provisioned = items_of(client.list_provisioned_model_throughputs, "provisionedModelSummaries")
            on_demand = items_of(client.list_custom_model_deployments, "modelDeploymentSummaries")
        return [self._report(one) for one in [*provisioned, *on_demand]]

    def get(self, name_or_id: str) -> DeploymentReport | None:
        try:
            with translated("get-deployment", now=self._now):
                found = self._shown(name_or_id)
        except RejectedError as error:
            if is_missing(error):
                return None
            raise
        return self._report(found)

    def delete(self, name_or_id: str) -> None:
        target = _target(name_or_id)
        client = self._clients.get("bedrock")
        try:
            with translated("delete-deployment", now=self._now, effect=True):
                if self._is_provisioned(target):
                    client.delete_provisioned_model_throughput(provisionedModelId=target)
                else:
                    client.delete_custom_model_deployment(customModelDeploymentIdentifier=target)
        except RejectedError as error:
            if not is_missing(error):
                raise self._with_end(error, target) from error

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        return self._metrics.last_used(since) if self._settings.metrics else {}

    def _check_made(self, model: str) -> None:
        """A model that is still being made is refused today and served later."""
        try:
            with translated("get-model", now=self._now):
                found: dict[str, Any] = self._clients.get("bedrock").get_custom_model(modelIdentifier=model)
        except ProviderError:  # the refusal stands
            return
        if found.get("modelStatus") == "Creating":
            raise UnavailableError(f"AWS is still making {model}", operation="create-deployment")

    def _with_units(self, refusal: RejectedError) -> RejectedError:
        """A quota that is used up, with what uses it."""
        if refusal.code not in QUOTA_CODES:
            return refusal
        try:
            used = [one for one in self.list() if one.hourly_units is not None]
        except ProviderError:  # the refusal stands, whether or not it can be explained
            return refusal
        told = ", ".join(f"{one.name} ({one.hourly_units} model units)" for one in used) or "nothing"
        return _refusal(f"{refusal.message} In use at {self._settings.region}: {told}.", refusal)

    def _with_end(self, refusal: RejectedError, target: str) -> RejectedError:
        """A refused deletion, with the date from which it is possible, where a commitment is the reason."""
        try:
            there = self.get(target)
        except ProviderError:
            return refusal
        if there is None or there.committed_until is None or there.committed_until <= self._now():
            return refusal
        told = f"it is committed, and billed, until {there.committed_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return _refusal(f"{there.name} cannot be deleted yet: {told}. {refusal.message}", refusal)

    def _created(self, request: DeploymentRequest, arguments: dict[str, Any]) -> str:
        client, name = self._clients.get("bedrock"), aws_name(request.name)
        if not self._settings.provisioned:
            made = client.create_custom_model_deployment(
                modelDeploymentName=name, modelArn=request.artifact.id, **arguments
            )
            return str(made["customModelDeploymentArn"])
        commitment = request.options.get("commitment", self._settings.commitment)
        if commitment:
            arguments["commitmentDuration"] = str(commitment)
        made = client.create_provisioned_model_throughput(
            provisionedModelName=name,
            modelId=request.artifact.id,
            modelUnits=int(str(request.options.get("model_units", self._settings.model_units))),
            **arguments,
        )
        return str(made["provisionedModelArn"])

    def _shown(self, name_or_id: str) -> dict[str, Any]:
        target, client = _target(name_or_id), self._clients.get("bedrock")
        if self._is_provisioned(target):
            return client.get_provisioned_model_throughput(provisionedModelId=target)
        return client.get_custom_model_deployment(customModelDeploymentIdentifier=target)

    def _is_provisioned(self, target: str) -> bool:
        return ":provisioned-model/" in target if target.startswith("arn:") else self._settings.provisioned

    def _report(self, found: Mapping[str, Any]) -> DeploymentReport:
        """From one of either kind or its summary, whose keys differ."""
        provisioned = "provisionedModelArn" in found
        arn = str(found["provisionedModelArn"] if provisioned else found["customModelDeploymentArn"])
        names = ("provisionedModelName", "modelDeploymentName", "customModelDeploymentName")
        status = str(found["status"])
        made_at: datetime | None = found.get("creationTime") or found.get("createdAt")
        return DeploymentReport(
            id=arn,
            name=next(str(found[name]) for name in names if name in found),
            status=status,
            outcome=_OUTCOMES.get(status, "provisioning"),
            artifact_id=str(found["modelArn"]),
            error=redacted(found.get("failureMessage") or f"AWS shows {status}") if status == "Failed" else None,
            ours=self._is_ours(arn, made_at),
            created_at=made_at,
            sku="provisioned-throughput" if provisioned else "on-demand",
            hourly_units=Decimal(int(found["modelUnits"])) if provisioned else None,
            committed_until=found.get("commitmentExpirationTime"),
        )

    def _is_ours(self, arn: str, made_at: datetime | None) -> bool:
        """Lists carry no tags; asked once for each, because who made it does not change, but tags may show late."""
        if arn in self._owned:
            return self._owned[arn]
        try:
            with translated("list-tags", now=self._now):
                answer: dict[str, Any] = self._clients.get("bedrock").list_tags_for_resource(resourceARN=arn)
        except RejectedError as error:
            if is_missing(error):  # gone since it was listed, or not there yet for this call
                return False
            raise
        tags: list[dict[str, str]] = answer.get("tags") or []
        ours = any(t["key"] == REGISTRY_TAG and t["value"] == self._registry for t in tags)
        if ours or made_at is None or self._now() - made_at > TAGS_LATE_MAX:
            self._owned[arn] = ours
        return ours


def _refusal(message: str, of: RejectedError) -> RejectedError:
    return type(of)(message, operation=of.operation, code=of.code, request_id=of.request_id)


def _target(name_or_id: str) -> str:
    return name_or_id if name_or_id.startswith("arn:") else aws_name(name_or_id)
