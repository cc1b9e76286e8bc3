"""REST under `/api/v1`: each route checks who asks, calls the application, and answers with its views."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from registry.api import examples
from registry.api.answers import Once
from registry.api.audit import Audit
from registry.api.connections import Connections
from registry.api.copies import Copies
from registry.api.datasets import Datasets
from registry.api.deployments import Deployments
from registry.api.events import Events
from registry.api.health import Health
from registry.api.jobs import Jobs
from registry.api.models import Models
from registry.api.moves import Moves
from registry.api.operations import Operations
from registry.api.own_training import OwnTraining
from registry.api.schemas import components
from registry.api.session import Session
from registry.api.versions import Versions
from registry.transport.routes import Route
from registry.transport.services import Services
from registry.transport.uploads import Uploads

__all__ = ["document", "routes"]


def routes(services: Services) -> APIRouter:
    once = Once(services.registry.log)
    uploads = Uploads(services.registry.home)
    rest = APIRouter(prefix="/api/v1", route_class=Route)
    for part in (
        Models(services, once),
        Versions(services, once, uploads),
        Moves(services, once),
        OwnTraining(services, once),
        Jobs(services, once),
        Deployments(services, once),
        Connections(services, once),
        Datasets(services, once, uploads),
        Events(services),
        Audit(services),
        Operations(services, once),
        Copies(services),
    ):
        part.add_to(rest)
    router = APIRouter()
    Health(services).add_to(router)
    Session(services).add_to(router)
    router.routes.extend(rest.routes)
    return router


def document(app: FastAPI) -> None:
    """Put the shapes of the answers into the app's OpenAPI document."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schema.setdefault("components", {}).setdefault("schemas", {}).update(components())
            bearer = {
                "type": "http",
                "scheme": "bearer",
                "description": "`tenure tokens create`; not asked for on loopback",
            }
            examples.add_to(schema)
            schema["components"]["securitySchemes"] = {"token": bearer}
            schema["security"] = [{"token": []}, {}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi
