"""Connections: accounts at providers, and declaring them, models and prices from one document."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import (
    AsOf,
    ConnectionName,
    Cursor,
    IfMatch,
    Key,
    Limit,
    Once,
    answer,
    documented,
    expected,
    listing,
    page_of,
)
from registry.api.bodies import NewConnection
from registry.api.schemas import page
from registry.application.commands import provider_errors
from registry.application.views import CheckView, ConnectionView
from registry.composition import Registry
from registry.domain.errors import NotFoundError
from registry.domain.events import Json
from registry.domain.ids import connection_stream
from registry.transport.services import Services, check, who

ARTIFACTS: dict[str, Any] = {
    "type": "object",
    "required": ["items", "next"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "required": ["id", "versions"]}},
        "next": {"type": ["string", "null"]},
    },
}


class Connections:
    def __init__(self, services: Services, once: Once) -> None:
        self._registry = services.registry
        self._reading = services.registry.reading
        self._declaring = services.registry.declaring
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        one = "/connections/{name}"
        shown = documented(200, "Connection", etag=True)
        add("/connections", self.list, methods=["GET"], responses=documented(200, page("Connection")))
        made = documented((200, 201), "Connection", etag=True)
        add("/connections", self.declare, methods=["POST"], status_code=201, responses=made)
        add(one, self.show, methods=["GET"], responses=shown)
        gone = documented(204, None, description="It is gone")
        add(one, self.remove, methods=["DELETE"], status_code=204, responses=gone)
        add(f"{one}/test", self.test, methods=["POST"], responses=documented(200, page("Check")))
        add(f"{one}/artifacts", self.artifacts, methods=["GET"], responses=documented(200, ARTIFACTS))
        add("/apply", self.apply, methods=["POST"], responses=documented(200, page("Change")))

    def list(self, request: Request, as_of: AsOf = None, limit: Limit = 100, cursor: Cursor = None) -> JSONResponse:
        """The connections, by name; credentials are references and never shown."""
        check(request, "read")
        return listing(*page_of(self._reading.connections(as_of), attrgetter("name"), limit, cursor))

    def show(self, request: Request, name: ConnectionName, as_of: AsOf = None) -> JSONResponse:
        """One connection."""
        check(request, "read")
        return answer(self._view(name, as_of))

    def _view(self, name: str, as_of: str | None = None) -> ConnectionView:
        found = next((one for one in self._reading.connections(as_of) if one.name == name), None)
        if found is None:
            raise NotFoundError(f"there is no connection {name!r}")
        return found

    def declare(self, request: Request, body: NewConnection, key: Key = None) -> Response:
        """Declare a connection with the keys of its TOML table; one that is there gets the settings that differ."""
        check(request, "administer")
        name = body.name
        settings = {key: value for key, value in body.model_dump().items() if key != "name"}

        def act(_: str | None) -> Response:
            changes = self._declaring.apply({"connections": {name: settings}}, who(request), plan=False)
            status = 201 if any(one.kind == "add" for one in changes) else 200
            return answer(self._view(name), status, location=f"/api/v1/connections/{name}")

        return self._once(request, key, body.model_dump(), act)

    def remove(self, request: Request, name: ConnectionName, if_match: IfMatch = None) -> Response:
        """Forget a connection. Refused while anything at it may be billed or is under way."""
        check(request, "administer")
        self._reading.connection_state(name)
        self._declaring.remove_connection(name, who(request), expected(if_match, connection_stream(name)))
        return Response(status_code=204)

    def test(self, request: Request, name: ConnectionName, key: Key = None) -> Response:
        """Try a connection: its credential, its address, and what it may do. Changes nothing."""
        check(request, "develop")

        def act(_: str | None) -> Response:
            return listing(tested(self._registry, name))

        return self._once(request, key, name, act)

    def artifacts(
        self, request: Request, name: ConnectionName, limit: Limit = 100, cursor: Cursor = None
    ) -> JSONResponse:
        """The tuned models that the account has, to be imported; `versions`: those here that have it already."""
        check(request, "read")
        shown, following = page_of(self._registry.comparing.importable(name), _id_of, limit, cursor)
        return JSONResponse({"items": shown, "next": following})

    def apply(
        self,
        request: Request,
        body: dict[str, Any],
        plan: Annotated[bool, Query(description="Only say what would change")] = False,
        key: Key = None,
    ) -> Response:
        """Connections, models, policies, prices and the scheduler: the keys of the TOML file, as JSON."""
        check(request, "administer")

        def act(_: str | None) -> Response:
            return listing(self._declaring.apply(body, who(request), plan=plan))

        return act(None) if plan else self._once(request, key, body, act)


def _id_of(artifact: Json) -> str:
    return str(artifact["id"])


def tested(registry: Registry, name: str) -> list[CheckView]:
    provider = registry.providers.of(registry.reading.connection_state(name))
    with provider_errors():
        found = provider.check()
    return [CheckView(name=one.name, passed=one.passed, detail=one.detail, remedy=one.remedy) for one in found]
