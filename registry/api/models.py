"""Models and versions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from registry.domain.ids import VersionRef
from registry.transport.services import Services, check


def models_routes(services: Services) -> APIRouter:
    router = APIRouter()
    reading = services.registry.reading

    @router.get("/models")
    def models(request: Request, as_of: str | None = None) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        check(request, "read")
        return JSONResponse({"items": [one.as_json() for one in reading.models(as_of)], "next": None})

    @router.get("/models/{model}/versions/{number}")
    def version(request: Request, model: str, number: int, as_of: str | None = None) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        check(request, "read", model)
        return JSONResponse(reading.version(VersionRef(model, number), as_of).as_json())

    return router
