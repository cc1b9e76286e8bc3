"""For whoever looks after the process: alive, able to work, and in figures."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from registry.api.answers import documented
from registry.domain.errors import UnavailableError
from registry.transport.doctor import check_ready
from registry.transport.meters import CONTENT_TYPE
from registry.transport.services import Services, check

WELL: dict[str, Any] = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}


class Health:
    def __init__(self, services: Services) -> None:
        self._registry = services.registry
        self._meters = services.meters
        self._watch = services.watch

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        add("/healthz", self.alive, methods=["GET"], responses=documented(200, WELL))
        add("/readyz", self.ready, methods=["GET"], responses=documented(200, WELL))
        text = documented(200, {"type": "string"}, media="text/plain")
        add("/metrics", self.metrics, methods=["GET"], responses=text, response_class=PlainTextResponse)

    async def alive(self) -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self) -> JSONResponse:
        """The home can be written and the log read, tried with a real write. Waits for no other request's thread."""
        if self._watch.closed:
            raise UnavailableError("the server is stopping")
        await to_thread.run_sync(check_ready, self._registry)
        return JSONResponse({"status": "ready"})

    def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        check(request, "read")
        return Response(self._meters.text(), headers={"Content-Type": CONTENT_TYPE})
