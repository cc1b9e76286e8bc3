"""Azure Resource Manager: CognitiveServices accounts and deployments, Azure ML connections, and metrics.

Deployments are long-running: accepted with an operation to ask after, one at a time per account, refused when the
quota is used up. They bill from the moment they are accepted to the moment they are gone, the failed ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from providers.rehearsal.azure_service import UNUSED_DELETED_AFTER
from providers.rehearsal.faults import Fault, FaultKind
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.metrics import AzureMonitor
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, Thing
from providers.rehearsal.world import (
    ACCOUNT,
    API_KEY,
    ARM_TOKEN,
    RESOURCE_GROUP,
    SUBSCRIPTION,
    WORKSPACE,
    WORKSPACE_CONNECTION,
    World,
)

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers"
ACCOUNT_PATH = f"{GROUP}/Microsoft.CognitiveServices/accounts/{ACCOUNT}"
WORKSPACE_PATH = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
CONNECTION_PATH = f"{WORKSPACE_PATH}/connections/{WORKSPACE_CONNECTION}"
HOURLY_SKUS = frozenset(
    {"Standard", "GlobalStandard", "DataZoneStandard", "ProvisionedManaged", "GlobalProvisionedManaged"}
)
DEVELOPER_LIVES = timedelta(hours=24)
LOCATION = "eastus2"
_IN_MOTION = frozenset({"Accepted", "Creating", "Deleting"})
_REFUSALS: dict[FaultKind, tuple[int, str, str]] = {
    "throttled": (429, "TooManyRequests", "The request is being throttled (rehearsal)."),
    "unauthorized": (401, "ExpiredAuthenticationToken", "The access token expiry UTC time has passed (rehearsal)."),
    "forbidden": (
        403,
        "AuthorizationFailed",
        "The client does not have authorization to perform the action (rehearsal).",
    ),
    "quota": (400, "InsufficientQuota", "This operation requires more capacity than the quota has left (rehearsal)."),
    "server-error": (500, "InternalServerError", "The server encountered an internal error (rehearsal)."),
}


class ArmService:
    """`data_url`: where the data plane is, as the account and the workspace connection tell it."""

    name = "arm"
    request_id = "x-ms-request-id"

    def __init__(self, world: World, data_url: str) -> None:
        self._world = world
        self._data_url = data_url

    def routes(self) -> Sequence[Route]:
        one = f"{ACCOUNT_PATH}/deployments/{{name}}"
        location = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.CognitiveServices/locations/{LOCATION}"
        return [
            Route("GET", ACCOUNT_PATH, "arm.get_account", "read", self._account),
            Route(
                "GET",
                f"{ACCOUNT_PATH}/providers/Microsoft.Insights/metrics",
                "arm.list_metrics",
                "read",
                AzureMonitor(self._world).metrics,
            ),
            Route("GET", f"{ACCOUNT_PATH}/models", "arm.list_models", "list", self._models),
            Route("GET", f"{ACCOUNT_PATH}/usages", "arm.list_usages", "list", self._usages),
            Route("GET", f"{location}/usages", "arm.list_usages", "list", self._usages),
            Route("GET", f"{ACCOUNT_PATH}/deployments", "arm.list_deployments", "list", self._list),
            Route("GET", one, "arm.get_deployment", "read", self._get),
            Route("PUT", one, "arm.put_deployment", "create", self._put),
            Route("DELETE", one, "arm.delete_deployment", "delete", self._delete),
            Route("GET", f"{location}/operationResults/{{id}}", "arm.get_operation", "read", self._operation),
            Route("GET", WORKSPACE_PATH, "arm.get_workspace", "read", self._workspace),
            Route("GET", f"{WORKSPACE_PATH}/connections", "arm.list_connections", "list", self._connections),
            Route("GET", CONNECTION_PATH, "arm.get_connection", "read", self._connection),
            Route("POST", f"{CONNECTION_PATH}/listsecrets", "arm.list_connection_secrets", "read", self._secrets),
            Route("GET", f"{CONNECTION_PATH}/deployments", "arm.list_connection_deployments", "list", self._list),
        ]

    def authorize(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {ARM_TOKEN}":
            raise RefusalError(401, "InvalidAuthenticationToken", "The access token is missing or invalid (rehearsal).")

    def error(self, refusal: RefusalError) -> Reply:
        status = 404 if refusal.code == "not_imitated" else refusal.status
        code = "ResourceNotFound" if refusal.code == "not_imitated" else refusal.code
        shown = {"code": code, "message": refusal.message}
        return json_reply({"error": shown}, status)

    def refusal(self, fault: Fault) -> RefusalError:
        status, code, message = _REFUSALS[fault.kind]
        return RefusalError(fault.status or status, code, message)

    def _put(self, call: Exchange) -> Reply:
        name, body = call.params["name"], call.body
        model, sku = body["properties"]["model"], body.get("sku") or {"name": "Standard", "capacity": 1}
        there = self._world.truth.find_named("azure.deployment", name, call.now)
        same = there is not None and (there.body["model"], there.body["sku"]) == (model, sku)
        if there is not None and same and not _leaving(there, call.now):
            there.body["tags"] = body.get("tags") or {}
            call.touched = there
            return self._accepted(call, there, status=200)
        self._check_idle(call, name)
        if there is None or there.body["sku"] != sku:
            self._check_quota(call, model, sku, instead_of=there)
        if there is not None:
            there.end(call.now)
        thing = self._deployment(call, name, {"model": model, "sku": sku, "tags": body.get("tags") or {}})
        return self._accepted(call, thing, status=201)

    def _deployment(self, call: Exchange, name: str, body: Json) -> Thing:
        pace, now, failure = self._world.pace, call.now, call.doom()
        creating = now + timedelta(seconds=pace.accepted_s)
        done = creating + timedelta(seconds=pace.creating_s)
        developer = body["sku"]["name"] == "DeveloperTier"
        lives = DEVELOPER_LIVES if developer else UNUSED_DELETED_AFTER
        thing = Thing(
            kind="azure.deployment",
            id=f"{ACCOUNT_PATH}/deployments/{name}",
            name=name,
            account=ACCOUNT,
            created_at=now,
            phases=[(now, "Accepted"), (creating, "Creating"), (done, "Failed" if failure else "Succeeded")],
            spans=[(now, now + lives)],
            bills=("hour", int(body["sku"].get("capacity") or 1)) if body["sku"]["name"] in HOURLY_SKUS else None,
            body={**body, "failure": failure, "operation": self._world.id("", 32)},
        )
        call.touched = thing
        return self._world.truth.add(thing)

    def _check_idle(self, call: Exchange, name: str) -> None:
        for thing in self._world.truth.things("azure.deployment", at=call.now):
            busy = thing.status(call.now) in _IN_MOTION
            if busy:
                raise RefusalError(
                    409,
                    "RequestConflict",
                    f"Another operation is being performed on the parent resource '{ACCOUNT_PATH}'. "
                    f"Please try again later. ({thing.name}, while changing {name})",
                )

    def _check_quota(self, call: Exchange, model: Json, sku: Json, *, instead_of: Thing | None) -> None:
        limits = self._world.limits
        others = [t for t in self._world.truth.things("azure.deployment", at=call.now) if t is not instead_of]
        used = sum(int(thing.body["sku"].get("capacity") or 1) for thing in others)
        asked = int(sku.get("capacity") or 1)
        if used + asked > limits.azure_capacity:
            raise RefusalError(
                400,
                "InsufficientQuota",
                f"This operation require {asked} new capacity in quota Tokens Per Minute (thousands) - "
                f"{model['name']}, which is bigger than the current available capacity {limits.azure_capacity - used}. "
                f"The current quota usage is {used} and the quota limit is {limits.azure_capacity}.",
            )
        if len(others) >= limits.azure_deployments:
            message = f"The resource has {limits.azure_deployments} fine-tuned deployments, and may have no more."
            raise RefusalError(400, "DeploymentLimitExceeded", message)
        known = self._world.truth.find("azure.model", str(model["name"]), call.now)
        if known is None and model["name"] not in self._world.catalogue["azure"]:
            message = f"The model 'Format: OpenAI, Name: {model['name']}, Version: 1' does not exist."
            raise RefusalError(400, "DeploymentModelNotSupported", message)

    def _accepted(self, call: Exchange, thing: Thing, *, status: int) -> Reply:
        url = f"http://{call.request.host}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.CognitiveServices"
        url += f"/locations/{LOCATION}/operationResults/{thing.body['operation']}?api-version=2025-09-01"
        headers = {"azure_asyncoperation": url}
        if status == 202:  # noqa: PLR2004 - 202 Accepted has a location and no body
            return Reply(status=202, headers={"azure-asyncoperation": url, "location": url})
        return json_reply(self._render(call, thing), status, **headers)

    def _delete(self, call: Exchange) -> Reply:
        thing = self._world.truth.find_named("azure.deployment", call.params["name"], call.now)
        if thing is None:
            return Reply(status=204)
        if not _leaving(thing, call.now):
            self._check_idle(call, thing.name)
            self._begin_delete(call, thing)
        return self._accepted(call, thing, status=202)

    def _begin_delete(self, call: Exchange, thing: Thing) -> None:
        before = thing.spans
        call.delete(thing, after_s=self._world.pace.deleting_s)
        if thing.spans == before:
            return
        word = thing.status(call.now)
        thing.begin(call.now, "Deleting")
        thing.body["operation"] = self._world.id("", 32)
        if len(thing.spans) > len(before):
            thing.phases.append((thing.spans[-1][0], word))

    def _get(self, call: Exchange) -> Reply:
        thing = self._world.truth.find_named("azure.deployment", call.params["name"], call.view)
        if thing is None:
            raise RefusalError(404, "NotFound", f"Specified resource '{call.request.path}' cannot be found.")
        call.touched = thing
        return json_reply(self._render(call, thing))

    def _list(self, call: Exchange) -> Reply:
        found, _ = call.cut(self._world.truth.things("azure.deployment", at=call.view))
        return json_reply({"value": [self._render(call, thing) for thing in found]})

    def _operation(self, call: Exchange) -> Reply:
        for thing in reversed(self._world.truth.ever("azure.deployment")):
            if thing.body["operation"] == call.params["id"]:
                word = thing.status(call.now) if thing.exists(call.now) else "Succeeded"
                shown: Json = {"id": call.request.path, "name": call.params["id"], "status": word}
                if word == "Failed":
                    shown["error"] = {"code": "DeploymentFailed", "message": str(thing.body["failure"])}
                return json_reply(shown)
        raise RefusalError(404, "OperationNotFound", "The operation is unknown.")

    def _render(self, call: Exchange, thing: Thing) -> Json:
        told = self._world.clock.told(thing.created_at).isoformat().replace("+00:00", "Z")
        return {
            "id": thing.id,
            "name": thing.name,
            "type": "Microsoft.CognitiveServices/accounts/deployments",
            "sku": thing.body["sku"],
            "tags": thing.body["tags"],
            "systemData": {"createdAt": told, "createdBy": "rehearsal"},
            "properties": {"model": thing.body["model"], "provisioningState": call.status(thing), "rehearsal": "true"},
        }

    def _account(self, call: Exchange) -> Reply:
        del call
        return json_reply(
            {
                "id": ACCOUNT_PATH,
                "name": ACCOUNT,
                "type": "Microsoft.CognitiveServices/accounts",
                "kind": "OpenAI",
                "location": LOCATION,
                "sku": {"name": "S0"},
                "properties": {"endpoint": f"{self._data_url}/", "provisioningState": "Succeeded"},
            }
        )

    def _models(self, call: Exchange) -> Reply:
        del call
        items: list[Json] = []
        for base in self._world.catalogue["azure"].values():
            ends = base.retires_at.isoformat().replace("+00:00", "Z") if base.retires_at else None
            name, _, version = base.name.partition("-20")
            items.append(
                {
                    "format": "OpenAI",
                    "name": name,
                    "version": f"20{version}",
                    "lifecycleStatus": "GenerallyAvailable",
                    "capabilities": {"fineTune": str(base.fine_tunable).lower()},
                    "deprecation": {"fineTune": ends, "inference": ends} if ends else None,
                }
            )
        return json_reply({"value": items})

    def _usages(self, call: Exchange) -> Reply:
        used = sum(
            int(thing.body["sku"].get("capacity") or 1)
            for thing in self._world.truth.things("azure.deployment", at=call.view)
        )
        limit = self._world.limits.azure_capacity
        name = {"value": "OpenAI.Standard.finetune", "localizedValue": "Tokens Per Minute (thousands) - fine-tuned"}
        return json_reply({"value": [{"name": name, "currentValue": used, "limit": limit, "unit": "Count"}]})

    def _workspace(self, call: Exchange) -> Reply:
        del call
        shown = {"id": WORKSPACE_PATH, "name": WORKSPACE, "location": LOCATION, "kind": "Default"}
        return json_reply({**shown, "properties": {"friendlyName": WORKSPACE, "provisioningState": "Succeeded"}})

    def _connection(self, call: Exchange) -> Reply:
        del call
        return json_reply(self._shown_connection())

    def _connections(self, call: Exchange) -> Reply:
        del call
        return json_reply({"value": [self._shown_connection()]})

    def _secrets(self, call: Exchange) -> Reply:
        del call
        return json_reply(self._shown_connection(key=API_KEY))

    def _shown_connection(self, key: str | None = None) -> Json:
        return {
            "id": CONNECTION_PATH,
            "name": WORKSPACE_CONNECTION,
            "type": "Microsoft.MachineLearningServices/workspaces/connections",
            "properties": {
                "authType": "ApiKey",
                "category": "AzureOpenAI",
                "target": f"{self._data_url}/",
                "isSharedToAll": True,
                "credentials": {"key": key} if key else None,
                "metadata": {
                    "ApiType": "Azure",
                    "ApiVersion": "2024-10-21",
                    "ResourceId": ACCOUNT_PATH,
                    "kind": "AzureOpenAI",
                },
            },
        }


def _leaving(thing: Thing, now: datetime) -> bool:
    return thing.status(now) == "Deleting"
