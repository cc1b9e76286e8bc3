"""Azure OpenAI's data plane, under `/openai` with an api-version and under `/openai/v1`: files, jobs, models, chat.

Jobs and files are OpenAI's with Azure's words. A tuned model answers only where a deployment serves it, and cannot be
deleted while one does. Jobs keep no metadata here: the documentation promises none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from providers.rehearsal.faults import Fault, FaultKind
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.openai_files import Files, page_of
from providers.rehearsal.openai_jobs import Jobs
from providers.rehearsal.openai_service import chat_reply
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, Thing
from providers.rehearsal.world import API_KEY, ARM_TOKEN, World

UNUSED_DELETED_AFTER = timedelta(days=15)
_REFUSALS: dict[FaultKind, tuple[int, str, str]] = {
    "throttled": (429, "429", "Requests have exceeded the call rate limit (rehearsal)."),
    "unauthorized": (401, "401", "Access denied due to invalid subscription key (rehearsal)."),
    "forbidden": (403, "PermissionDenied", "The principal lacks the required data action (rehearsal)."),
    "quota": (429, "quotaExceeded", "The quota of the resource is used up (rehearsal)."),
    "server-error": (500, "InternalServerError", "The server had an error processing your request (rehearsal)."),
}


class AzureService:
    name = "azure"
    request_id = "x-request-id"

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = Files(world, "azure")
        self._jobs = Jobs(world, "azure", self._files)

    def routes(self) -> Sequence[Route]:
        found: list[Route] = []
        for prefix in ("/openai/v1", "/openai"):
            found += self._files.routes(prefix)
            found += self._jobs.routes(prefix)
            jobs = f"{prefix}/fine_tuning/jobs/{{id}}"
            found += [
                Route("DELETE", jobs, "azure.delete_job", "delete", self._delete_job),
                Route("GET", f"{prefix}/models", "azure.list_models", "list", self._list_models),
                Route("GET", f"{prefix}/models/{{id}}", "azure.get_model", "read", self._get_model),
                Route("DELETE", f"{prefix}/models/{{id}}", "azure.delete_model", "delete", self._delete_model),
            ]
        chat = "/openai/deployments/{deployment}/chat/completions"
        return [
            *found,
            Route("POST", chat, "azure.chat", "read", self._chat),
            Route("POST", "/openai/v1/chat/completions", "azure.chat", "read", self._chat),
        ]

    def authorize(self, request: Request) -> None:
        headers = request.headers
        bearers = {f"Bearer {API_KEY}", f"Bearer {ARM_TOKEN}"}
        if headers.get("api-key") != API_KEY and headers.get("authorization") not in bearers:
            raise RefusalError(401, "401", "Access denied due to invalid subscription key (rehearsal).")
        if not request.path.lower().startswith("/openai/v1/") and "api-version" not in request.query:
            raise RefusalError(404, "404", "Resource not found: api-version is missing.")

    def error(self, refusal: RefusalError) -> Reply:
        shown = {"code": refusal.code, "message": refusal.message}
        return json_reply({"error": shown}, refusal.status)

    def refusal(self, fault: Fault) -> RefusalError:
        status, code, message = _REFUSALS[fault.kind]
        return RefusalError(fault.status or status, code, message)

    def _delete_job(self, call: Exchange) -> Reply:
        job = self._world.truth.find("azure.job", call.params["id"], call.now)
        if job is None:
            raise RefusalError(404, "resourceNotFound", f"The job {call.params['id']} was not found.")
        if job.status(call.now) not in {"succeeded", "failed", "cancelled"}:
            raise RefusalError(409, "conflict", f"The job {job.id} has not ended.")
        call.delete(job)
        return Reply(status=204)

    def _list_models(self, call: Exchange) -> Reply:
        tuned, _ = call.cut(list(self._world.truth.newest_first("azure.model", call.view)))
        items = [*(self._base(name) for name in self._world.catalogue["azure"]), *(self._tuned(t) for t in tuned)]
        return json_reply(page_of(items, more=False))

    def _get_model(self, call: Exchange) -> Reply:
        name = call.params["id"]
        if name in self._world.catalogue["azure"]:
            return json_reply(self._base(name))
        return json_reply(self._tuned(self._model(call)))

    def _delete_model(self, call: Exchange) -> Reply:
        model = self._model(call)
        for deployment in self._world.truth.things("azure.deployment", at=call.now):
            if deployment.body["model"]["name"] == model.id:
                raise RefusalError(
                    409, "conflict", f"The model {model.id} is deployed as {deployment.name} and cannot be deleted."
                )
        call.delete(model)
        return Reply(status=204)

    def _model(self, call: Exchange) -> Thing:
        model = self._world.truth.find("azure.model", call.params["id"], call.view)
        if model is None:
            raise RefusalError(404, "resourceNotFound", f"The model {call.params['id']} was not found.")
        call.touched = model
        return model

    def _chat(self, call: Exchange) -> Reply:
        name = call.params.get("deployment") or str(call.body.get("model"))
        thing = self._world.truth.find_named("azure.deployment", name, call.now)
        if thing is None or thing.status(call.now) != "Succeeded":
            raise RefusalError(
                404,
                "DeploymentNotFound",
                "The API deployment for this resource does not exist. If you created the deployment within the last "
                "5 minutes, please wait a moment and try again.",
            )
        thing.use(call.now)
        if thing.body["sku"]["name"] != "DeveloperTier":
            thing.spans[-1] = (thing.spans[-1][0], call.now + UNUSED_DELETED_AFTER)
        return chat_reply(self._world, call, thing.body["model"]["name"])

    def _base(self, name: str) -> Json:
        base = self._world.catalogue["azure"][name]
        ends = int(base.retires_at.timestamp()) if base.retires_at else None
        return self._shown(name, base_model=None, fine_tune=base.fine_tunable, ends=ends)

    def _tuned(self, thing: Thing) -> Json:
        return self._shown(thing.id, base_model=str(thing.body["base"]), fine_tune=False, ends=None)

    @staticmethod
    def _shown(id: str, *, base_model: str | None, fine_tune: bool, ends: int | None) -> Json:
        return {
            "id": id,
            "object": "model",
            "status": "succeeded",
            "model": base_model,
            "capabilities": {"fine_tune": fine_tune, "inference": True, "completion": False, "chat_completion": True},
            "lifecycle_status": "generally-available",
            "deprecation": {"fine_tune": ends, "inference": ends},
            "created_at": 1_744_600_000,
        }
