"""Azure OpenAI deployments, which bill by the hour from the moment they are accepted.

Azure takes one change at a time per account, so changes are serialised here, and what another process changes shows as
Unavailable. A create is a PUT under our own name: asked again, it answers the deployment that is there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from providers.azure.errors import translated
from providers.azure.metrics import AzureMetrics
from providers.azure.resource import Resource
from providers.azure.settings import HOURLY_SKUS, Settings
from providers.errors import ProviderError, RejectedError
from providers.ports import DeploymentOutcome, DeploymentReport, DeploymentRequest

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.mgmt.cognitiveservices.models import Deployment

NAME_MAX = 64
REGISTRY_TAG, TOKEN_TAG, MODEL_TAG = "tenure_registry", "tenure_token", "tenure_model"
QUOTA_CODES = frozenset({"InsufficientQuota", "DeploymentLimitExceeded", "QuotaExceeded"})
OPTIONS = frozenset({"sku", "capacity"})
_OUTCOMES: Mapping[str, DeploymentOutcome] = {
    "succeeded": "serving",
    "failed": "failed",
    "canceled": "failed",
    "disabled": "failed",
    "deleting": "deleting",
}


class AzureDeployments:
    """`providers.ports.Deployments`."""

    def __init__(self, settings: Settings, resource: Resource, *, registry: str, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._resource = resource
        self._registry = registry
        self._now = now
        self._one_change = threading.Lock()
        self._metrics = AzureMetrics(resource, now=now)

    def create(self, request: DeploymentRequest) -> DeploymentReport:
        if unknown := sorted(set(request.options) - OPTIONS):
            raise RejectedError(f"unknown options: {', '.join(unknown)}", operation="create-deployment")
        there = self.get(request.name)
        if there is not None:
            return there
        place = self._resource.place()
        body: Any = {
            "sku": {
                "name": str(request.options.get("sku", self._settings.sku)),
                "capacity": int(str(request.options.get("capacity", self._settings.capacity))),
            },
            "tags": {
                **request.tags,
                REGISTRY_TAG: self._registry,
                TOKEN_TAG: request.token,
                MODEL_TAG: f"{request.model}@{request.version}",
            },
            "properties": {"model": {"format": "OpenAI", "name": request.artifact.id, "version": "1"}},
        }
        try:
            with (
                self._one_change,
                translated("create-deployment", now=self._now, effect=True, token=request.token),
            ):
                asked_at = self._now()
                self._resource.client().deployments.begin_create_or_update(
                    place.resource_group, place.account, request.name, body, polling=False
                )
        except RejectedError as error:
            raise self._with_quota(error) from error
        # It is accepted, and billed. A read that fails or does not show it yet says nothing against that.
        with contextlib.suppress(ProviderError):
            there = self.get(request.name)
        return there or self._accepted(request, body, asked_at)

    def list(self) -> Sequence[DeploymentReport]:
        place = self._resource.place()
        with translated("list-deployments", now=self._now):
            listed = self._resource.client().deployments.list(place.resource_group, place.account)
            return [self._report(one) for one in listed]

    def get(self, name_or_id: str) -> DeploymentReport | None:
        place, name = self._resource.place(), _name(name_or_id)
        with translated("get-deployment", now=self._now):
            from azure.core.exceptions import ResourceNotFoundError

            try:
                return self._report(self._resource.client().deployments.get(place.resource_group, place.account, name))
            except ResourceNotFoundError as exc:
                if _is_about(exc, name):
                    return None
        # 404 is also said where the account is not there, or by a proxy. Then the list tells.
        return next((one for one in self.list() if one.name.lower() == name.lower()), None)

    def delete(self, name_or_id: str) -> None:
        there = self.get(name_or_id)
        if there is None or there.outcome == "deleting":
            return
        place = self._resource.place()
        with self._one_change, translated("delete-deployment", now=self._now, effect=True):
            self._resource.client().deployments.begin_delete(
                place.resource_group, place.account, _name(name_or_id), polling=False
            )

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        return self._metrics.last_used(since)

    def _accepted(self, request: DeploymentRequest, body: dict[str, Any], asked_at: datetime) -> DeploymentReport:
        sku = str(body["sku"]["name"])
        return DeploymentReport(
            id=self._resource.deployment_id(request.name),
            name=request.name,
            status="Accepted",
            outcome="provisioning",
            artifact_id=request.artifact.id,
            ours=True,
            created_at=asked_at,
            sku=sku,
            hourly_units=Decimal(body["sku"]["capacity"]) if sku in HOURLY_SKUS else None,
        )

    def _with_quota(self, refusal: RejectedError) -> RejectedError:
        """A quota that is used up, with what is used of it and by which deployments."""
        if refusal.code not in QUOTA_CODES:
            return refusal
        try:
            told = self._in_use()
        except ProviderError:  # the refusal stands, whether or not it can be explained
            return refusal
        return RejectedError(
            f"{refusal.message} {told}", operation=refusal.operation, code=refusal.code, request_id=refusal.request_id
        )

    def _in_use(self) -> str:
        place = self._resource.place()
        with translated("list-usages", now=self._now):
            answer: Any = self._resource.client().accounts.list_usages(place.resource_group, place.account)
        usages: list[Any] = answer.value or []
        quotas = [f"{one.name.value} {one.current_value:g} of {one.limit:g}" for one in usages]
        there = [f"{one.name} ({one.sku}, capacity {one.hourly_units or '-'})" for one in self.list()]
        return f"Used: {', '.join(quotas) or 'not told'}. Deployed: {', '.join(there) or 'nothing'}."

    def _report(self, found: Deployment) -> DeploymentReport:
        shown: Any = found
        if shown.id is None or shown.name is None:
            raise ValueError("a deployment without a name")
        status = str(getattr(shown.properties.provisioning_state, "value", shown.properties.provisioning_state))
        tags: dict[str, str] = shown.tags or {}
        sku = shown.sku.name if shown.sku else None
        created = shown.system_data.created_at if shown.system_data else None
        return DeploymentReport(
            id=str(shown.id),
            name=str(shown.name),
            status=status,
            outcome=_OUTCOMES.get(status.lower(), "provisioning"),
            artifact_id=shown.properties.model.name if shown.properties.model else None,
            error=f"Azure shows {status}" if _OUTCOMES.get(status.lower()) == "failed" else None,
            ours=tags.get(REGISTRY_TAG) == self._registry,
            created_at=created,
            sku=sku,
            hourly_units=Decimal(int(shown.sku.capacity or 1)) if sku in HOURLY_SKUS else None,
        )


def _is_about(missing: HttpResponseError, name: str) -> bool:
    """Whether what is not found is the deployment: `NotFound` and `ResourceNotFound` are said of accounts, too.

    https://github.com/microsoft/PubSec-Info-Assistant/issues/385 shows Azure's words.
    """
    told = missing.error
    if told is None:
        return False
    return told.code == "DeploymentNotFound" or f"/deployments/{name}'".lower() in (told.message or "").lower()


def _name(name_or_id: str) -> str:
    """A resource id's last part, or the name that it is."""
    return name_or_id.rsplit("/", 1)[-1]
