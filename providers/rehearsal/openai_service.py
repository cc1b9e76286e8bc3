"""OpenAI, as far as a registry speaks to it: files, fine-tuning jobs, models and chat completions under `/v1`."""

from __future__ import annotations

from collections.abc import Sequence

from providers.rehearsal.completions import answer_openai, completion, stream
from providers.rehearsal.faults import Fault, FaultKind
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.openai_files import Files, page_of
from providers.rehearsal.openai_jobs import Jobs
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, table
from providers.rehearsal.world import API_KEY, World

_REFUSALS: dict[FaultKind, tuple[int, str, str]] = {
    "throttled": (429, "rate_limit_exceeded", "Rate limit reached (rehearsal)."),
    "unauthorized": (401, "invalid_api_key", "Incorrect API key provided (rehearsal)."),
    "forbidden": (403, "insufficient_permissions", "You have insufficient permissions for this operation (rehearsal)."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota (rehearsal)."),
    "server-error": (500, "server_error", "The server had an error while processing your request (rehearsal)."),
}


class OpenAIService:
    name = "openai"
    request_id = "x-request-id"

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = Files(world, "openai")
        self._jobs = Jobs(world, "openai", self._files)

    def routes(self) -> Sequence[Route]:
        return [
            *self._files.routes("/v1"),
            *self._jobs.routes("/v1"),
            Route("GET", "/v1/models", "openai.list_models", "list", self._list_models),
            Route("GET", "/v1/models/{id}", "openai.get_model", "read", self._get_model),
            Route("DELETE", "/v1/models/{id}", "openai.delete_model", "delete", self._delete_model),
            Route("POST", "/v1/chat/completions", "openai.chat", "read", self._chat),
        ]

    def authorize(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            raise RefusalError(401, "invalid_api_key", "Incorrect API key provided (rehearsal).")

    def error(self, refusal: RefusalError) -> Reply:
        kind = {401: "authentication_error", 429: "requests", 500: "server_error"}.get(
            refusal.status, "invalid_request_error"
        )
        shown = {"message": refusal.message, "type": kind, "param": refusal.extra.get("param"), "code": refusal.code}
        return json_reply({"error": shown}, refusal.status)

    def refusal(self, fault: Fault) -> RefusalError:
        status, code, message = _REFUSALS[fault.kind]
        return RefusalError(fault.status or status, code, message)

    def _list_models(self, call: Exchange) -> Reply:
        bases = [self._base(name) for name in self._world.catalogue["openai"]]
        tuned, _ = call.cut(list(self._world.truth.newest_first("openai.model", call.view)))
        items = [
            *bases,
            *(self._shown(thing.id, int(thing.created_at.timestamp()), "org-rehearsal") for thing in tuned),
        ]
        return json_reply(page_of(items, more=False))

    def _get_model(self, call: Exchange) -> Reply:
        name = call.params["id"]
        if name in self._world.catalogue["openai"]:
            return json_reply(self._base(name))
        if (thing := self._world.truth.find("openai.model", name, call.view)) is None:
            raise RefusalError(404, "model_not_found", f"The model '{name}' does not exist", param="model")
        call.touched = thing
        return json_reply(self._shown(name, int(thing.created_at.timestamp()), "org-rehearsal"))

    def _delete_model(self, call: Exchange) -> Reply:
        name = call.params["id"]
        if (thing := self._world.truth.find("openai.model", name, call.now)) is None:
            raise RefusalError(404, "model_not_found", f"The model '{name}' does not exist", param="model")
        call.delete(thing)
        return json_reply({"id": name, "object": "model", "deleted": True})

    def _chat(self, call: Exchange) -> Reply:
        model = str(call.body.get("model"))
        base = self._world.catalogue["openai"].get(model)
        thing = self._world.truth.find("openai.model", model, call.now)
        root = self._world.catalogue["openai"].get(str(thing.body["base"])) if thing else base
        retired = root is not None and root.retires_at is not None and root.retires_at <= call.now
        if (thing is None and base is None) or retired:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise RefusalError(404, "model_not_found", message, param="model")
        if thing is not None:
            thing.use(call.now)
        return chat_reply(self._world, call, model)

    def _base(self, name: str) -> Json:
        retires_at = self._world.catalogue["openai"][name].retires_at
        shutdown = retires_at.date().isoformat() if retires_at else None
        return {**self._shown(name, 1_744_600_000, "system"), "shutdown_date": shutdown}

    @staticmethod
    def _shown(id: str, created: int, owner: str) -> Json:
        return {"id": id, "object": "model", "created": created, "owned_by": owner}


def chat_reply(world: World, call: Exchange, model: str) -> Reply:
    """A completion, or a stream of chunks if the request asks for one."""
    said = answer_openai(model, call.body)
    named, created = world.id("chatcmpl-"), world.clock.told(call.now)
    if not call.body.get("stream"):
        return json_reply(completion(named, model, created, said, call.body))
    options = table(call.body.get("stream_options"))
    return Reply(
        headers={"content-type": "text/event-stream"},
        chunks=stream(named, model, created, said, usage=bool(options.get("include_usage"))),
    )
