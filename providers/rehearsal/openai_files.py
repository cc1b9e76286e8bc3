"""The files that OpenAI and Azure OpenAI keep: training data that was uploaded, results that jobs leave."""

from __future__ import annotations

import re
from datetime import timedelta

from providers.rehearsal.http import Reply, json_reply
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, Thing
from providers.rehearsal.world import ACCOUNT, World

PAGE_MAX = 10_000


class Files:
    """`service` is `openai` or `azure`: the words for a file that is not ready yet differ."""

    def __init__(self, world: World, service: str) -> None:
        self._world = world
        self._service = service
        self._kind = f"{service}.file"

    def routes(self, prefix: str) -> list[Route]:
        name = self._service
        return [
            Route("POST", f"{prefix}/files", f"{name}.create_file", "create", self.create),
            Route("GET", f"{prefix}/files", f"{name}.list_files", "list", self.list),
            Route("GET", f"{prefix}/files/{{id}}", f"{name}.get_file", "read", self.get),
            Route("GET", f"{prefix}/files/{{id}}/content", f"{name}.get_file_content", "read", self.content),
            Route("DELETE", f"{prefix}/files/{{id}}", f"{name}.delete_file", "delete", self.delete),
        ]

    def create(self, call: Exchange) -> Reply:
        fields = form_fields(call.request.headers.get("content-type", ""), call.request.body)
        if "file" not in fields:
            raise RefusalError(400, "missing_required_parameter", "Missing required parameter: 'file'.", param="file")
        limit = self._world.limits.azure_files
        if self._service == "azure" and len(self._world.truth.things(self._kind, at=call.now)) >= limit:
            raise RefusalError(429, "quotaExceeded", f"The resource holds {limit} files, and may hold no more.")
        filename, content = fields["file"]
        purpose = fields.get("purpose", ("", b"fine-tune"))[1].decode()
        return json_reply(self._render(call, self.add(call, filename, content, purpose)))

    def add(self, call: Exchange, filename: str, content: bytes, purpose: str) -> Thing:
        ready = call.now + timedelta(seconds=self._world.pace.file_s)
        first = "pending" if self._service == "azure" else "uploaded"
        thing = Thing(
            kind=self._kind,
            id=self._world.id("file-"),
            name=filename,
            account=ACCOUNT,
            created_at=call.now,
            phases=[(call.now, first), (ready, "processed")],
            body={"content": content, "purpose": purpose},
        )
        call.touched = thing
        return self._world.truth.add(thing)

    def list(self, call: Exchange) -> Reply:
        purpose = call.request.first("purpose")
        limit = min(int(call.request.first("limit", str(PAGE_MAX))), PAGE_MAX)
        last = self._world.truth.find(self._kind, call.request.first("after"), call.view)
        found = [
            thing
            for thing in self._world.truth.newest_first(self._kind, call.view, below=last.serial if last else None)
            if purpose in {"", thing.body["purpose"]}
        ]
        page, cut = call.cut(found[:limit])
        return json_reply(page_of(
            [self._render(call, thing) for thing in page], more=len(found) > limit and not cut
        ))  # fmt: skip

    def get(self, call: Exchange) -> Reply:
        return json_reply(self._render(call, self.find(call)))

    def content(self, call: Exchange) -> Reply:
        thing = self.find(call)
        if "render" in thing.body:
            thing.body["content"] = thing.body.pop("render")()
        return Reply(headers={"content-type": "application/octet-stream"}, body=thing.body["content"])

    def delete(self, call: Exchange) -> Reply:
        thing = self.find(call)
        call.delete(thing)
        return json_reply({"id": thing.id, "object": "file", "deleted": True})

    def find(self, call: Exchange) -> Thing:
        thing = self._world.truth.find(self._kind, call.params["id"], call.view)
        if thing is None:
            raise RefusalError(404, "not_found", f"No such File object: {call.params['id']}", param="id")
        call.touched = thing
        return thing

    def _render(self, call: Exchange, thing: Thing) -> Json:
        return {
            "id": thing.id,
            "object": "file",
            "bytes": len(thing.body.get("content", b"")),
            "created_at": int(self._world.clock.told(thing.created_at).timestamp()),
            "filename": thing.name,
            "purpose": thing.body["purpose"],
            "status": call.status(thing),
            "status_details": None,
        }


def page_of(items: list[Json], *, more: bool) -> Json:
    return {
        "object": "list",
        "data": items,
        "has_more": more,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
    }


def form_fields(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """A multipart/form-data body as name -> (file name, content)."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise RefusalError(400, "invalid_request", "The body must be multipart/form-data.")
    fields: dict[str, tuple[str, bytes]] = {}
    for part in body.split(b"--" + boundary.group(1).encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        named = dict(re.findall(rb'(name|filename)="([^"]*)"', head))
        fields[named.get(b"name", b"").decode()] = (
            named.get(b"filename", b"").decode(),
            content.removesuffix(b"\r\n"),
        )
    return fields
