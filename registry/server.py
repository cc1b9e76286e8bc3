"""`tenure serve`: API, web pages, gateway and scheduler in one process that owns the home."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from fastapi import APIRouter, FastAPI
from starlette.routing import Mount

from registry.domain.errors import TenureError
from registry.embedded import default_actor
from registry.transport.guard import Guard
from registry.transport.problems import tenure_error
from registry.transport.services import Services

SHELLS = ("registry.api", "registry.gateway", "registry.web")


def create_app(services: Services, *, actor: str | None = None, shells: Sequence[str] = SHELLS) -> FastAPI:
    """The ASGI application over an open registry. Closing that is the caller's."""
    app = FastAPI(title="Tenure", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.add_exception_handler(TenureError, tenure_error)
    app.add_middleware(Guard, actor=actor or default_actor())
    for name in shells:
        if find_spec(name) is None:
            continue
        module = import_module(name)
        if not hasattr(module, "routes"):
            continue
        router = cast("Callable[[Services], APIRouter]", module.routes)(services)
        app.include_router(router)
        app.router.routes.extend(one for one in router.routes if isinstance(one, Mount))
    return app
