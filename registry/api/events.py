"""The log over HTTP: pages of it, and a stream that goes on as things happen."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from registry.api.answers import AsOf, Cursor, Limit, documented, listing
from registry.api.schemas import page
from registry.api.versions import After, position
from registry.application.access import Principal
from registry.application.views import EventView
from registry.domain.errors import BadInputError, TenureError
from registry.transport.services import Services, address_of, check, check_somewhere
from registry.transport.watch import Watch

IDLE_S = 15.0
"""After so long without an event a comment is sent, so that proxies keep the connection and we see who has left."""
AGAIN_S = 1.0
"""How long it is believed who listens, before it is asked again."""
RETRY_MS = 2_000
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The position that was seen last", max_length=19, pattern=r"^[0-9]*$"),
]


class Events:
    def __init__(self, services: Services) -> None:
        self._gate = services.gate
        self._log = services.registry.log
        self._reading = services.registry.reading
        self._watch = services.watch

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/events", self.list, methods=["GET"], responses=documented(200, page("Event")))
        router.add_api_route(
            "/events/stream",
            self.stream,
            methods=["GET"],
            response_class=StreamingResponse,
            responses=documented(
                200,
                {"type": "string"},
                media="text/event-stream",
                description="Each event's id is its position, its data the event's JSON",
            ),
        )

    def list(
        self, request: Request, as_of: AsOf = None, after: After = 0, limit: Limit = 100, cursor: Cursor = None
    ) -> JSONResponse:
        """The whole log, in order, from a position on."""
        check(request, "read")
        until = self._reading.position(as_of)
        found = list(self._log.read(after=max(after, position(cursor)), until=until, limit=limit + 1))
        shown = [EventView.of(one) for one in found[:limit]]
        return listing(shown, str(shown[-1].position) if len(found) > limit else None)

    async def stream(
        self,
        request: Request,
        after: Annotated[int | None, Query(description="Only what came after this position", ge=0, le=2**53)] = None,
        last_event_id: LastEventId = None,
    ) -> StreamingResponse:
        """Server-sent events: the log from a position on (Last-Event-ID, else `after`, else all), going on as it grows.

        You get what belongs to models that you may see.
        """
        check_somewhere(request, "read")
        begin = int(last_event_id) if last_event_id else after or 0
        if begin > 2**53:
            raise BadInputError(f"Last-Event-ID {begin} is not a position", field="Last-Event-ID")
        return StreamingResponse(
            _frames(self._watch, begin, lambda: self._asking(request)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def _asking(self, request: Request) -> Principal:
        return self._gate.known(request.headers, request.cookies, address_of(request))


async def _frames(watch: Watch, after: int, asking: Callable[[], Principal]) -> AsyncIterator[str]:
    """Ends when whoever listens is signed out, or their token is: within `AGAIN_S`, and before more is told."""
    principal, asked = asking(), time.monotonic()
    yield f"retry: {RETRY_MS}\n\n"
    async for notice in watch.events(after, IDLE_S):
        if time.monotonic() - asked >= AGAIN_S:
            try:
                principal, asked = asking(), time.monotonic()
            except TenureError:
                return
            if not principal.may_somewhere("read"):
                return
        if notice is None:
            yield ": nothing new\n\n"
        elif principal.may("read", notice.model):
            yield f"id: {notice.position}\ndata: {notice.data}\n\n"
