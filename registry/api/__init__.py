"""REST under `/api/v1`: each route checks who asks, calls the application, and answers with its views."""

from __future__ import annotations

from fastapi import APIRouter

from registry.api.models import models_routes
from registry.transport.services import Services

__all__ = ["routes"]


def routes(services: Services) -> APIRouter:
    router = APIRouter()
    router.include_router(models_routes(services), prefix="/api/v1")
    return router
