"""Routes that FastAPI declares and documents, with a shorter way in for requests that are as they are documented.

FastAPI's own way through its middlewares to a route and its function takes 0.2 ms of processor time, a third of what
a command costs (docs/decisions/0076). Here the same validators are asked, and nothing else. A request that is not
plainly right (an address that is none, a parameter that is refused, a body that is no JSON) is handed on to FastAPI as
it came, which says what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from itertools import product
from typing import Any, cast, get_type_hints

from fastapi import FastAPI
from fastapi.dependencies.utils import request_params_to_args
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import Message, Receive, Scope, Send

from registry.domain.errors import TenureError
from registry.transport.threads import Threads

Values = dict[str, Any]
Handler = Callable[[Request, Exception], Awaitable[Response]]

SLASHES_MAX = 16
"""Addresses with more are FastAPI's."""


class Route(APIRoute):
    """For functions that may block and answer a `Response`; for all others it is FastAPI's own."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401 -- FastAPI's
        super().__init__(path, endpoint, **options)
        short = _is_short(endpoint) and self.dependant.request_param_name
        self.parameters = _Parameters(self) if short else None
        """What the function is called with; None where only FastAPI knows."""


class ShortWay:
    """Instead of FastAPI's middlewares and in front of its routing, which only sees what is not plainly right.

    The app is complete, and has `Threads` in its `state.threads`. What nobody expected is raised.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._whole = ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers=app.exception_handlers)
        self._mounts = [one for one in app.routes if isinstance(one, Mount)]
        self._routes: dict[tuple[str, int], list[Route]] = {}
        """By method and number of slashes, each in the order in which FastAPI looks at them."""
        for route in app.routes:
            if isinstance(route, Route):
                for method, slashes in product(route.methods or (), _slashes(route)):
                    self._routes.setdefault((method, slashes), []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._whole(scope, receive, send)
            return
        came: list[Message] = []
        try:
            mount = self._mount(scope)
            if mount is not None:
                await mount.handle(scope, receive, send)
                return
            response = await self._response(scope, receive, came)
        except (TenureError, HTTPException) as error:
            response = await self._told(Request(scope), error)
        if response is None:
            await self._whole(scope, _again(came, receive), send)
        else:
            await response(scope, receive, send)

    def _mount(self, scope: Scope) -> Mount | None:
        path: str = scope["path"]
        for mount in self._mounts:
            if path.startswith(mount.path):
                match, found = mount.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    return mount
        return None

    async def _response(self, scope: Scope, receive: Receive, came: list[Message]) -> Response | None:
        """None: let FastAPI look. `came`: as much of the body as was read for it."""
        for route in self._routes.get((scope["method"], scope["path"].count("/")), ()):
            match, found = route.matches(scope)
            if match is not Match.FULL:
                continue
            if route.parameters is None:
                return None
            scope.update(found)
            values = route.parameters.values(scope, await _body(receive, came) if route.body_field else b"")
            if values is None:
                return None
            threads: Threads = self._app.state.threads
            return await threads.run(partial(route.endpoint, **values))
        return None

    async def _told(self, request: Request, error: Exception) -> Response:
        """As the app's own handlers say it."""
        kinds = (one for one in type(error).__mro__ if one in self._app.exception_handlers)
        handler = cast("Handler", self._app.exception_handlers[next(kinds)])
        return await handler(request, error)


def _slashes(route: Route) -> Iterable[int]:
    """How many a path has that it takes; a parameter that may hold some is not looked at in paths of any depth."""
    own = route.path.count("/")
    deep = any(isinstance(one, PathConvertor) for one in route.param_convertors.values())
    return range(own, SLASHES_MAX) if deep else (own,)


def _is_short(endpoint: Any) -> bool:  # noqa: ANN401 -- any function
    answer = get_type_hints(endpoint).get("return")
    return not iscoroutinefunction(endpoint) and isinstance(answer, type) and issubclass(answer, Response)


async def _body(receive: Receive, came: list[Message]) -> bytes | None:
    """The whole body, and what it came as; None when whoever asks is gone."""
    while True:
        message = await receive()
        came.append(message)
        if message["type"] != "http.request":
            return None
        if not message.get("more_body"):
            return b"".join(one.get("body", b"") for one in came)


def _again(came: list[Message], receive: Receive) -> Receive:
    """The same messages for another reader."""
    left = iter(came)

    async def next_message() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return next_message


class _Parameters:
    """What a route's function is called with. What is not sent has its default, and is not looked at any further."""

    def __init__(self, route: APIRoute) -> None:
        wanted = route.dependant
        self._request = wanted.request_param_name or ""
        self._path = wanted.path_params
        self._query = wanted.query_params
        self._headers = {one.alias.lower().encode(): one for one in wanted.header_params}
        self._body = route.body_field
        self._defaults: Values = {
            one.name: one.get_default()
            for one in (*self._query, *wanted.header_params, *wanted.body_params)
            if not one.field_info.is_required()
        }
        self._is_optional = all(not one.field_info.is_required() for one in self._query)

    def values(self, scope: Scope, body: bytes | None) -> Values | None:
        """None: let FastAPI look."""
        values: Values = {**self._defaults, self._request: Request(scope)}
        found, wrong = request_params_to_args(self._path, scope["path_params"])
        values |= found
        if self._query and (scope["query_string"] or not self._is_optional):
            found, faults = request_params_to_args(self._query, QueryParams(scope["query_string"]))
            values |= found
            wrong += faults
        if wrong or not self._takes_headers(values, scope["headers"]):
            return None
        if self._body is None:
            return values
        return None if body is None or not self._takes(values, scope["headers"], body) else values

    def _takes_headers(self, values: Values, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Of each at most one, which is all that our routes take: through FastAPI a key would cost 50 µs."""
        sent = [(name, value) for name, value in headers if name in self._headers]
        for name, value in sent:
            field = self._headers[name]
            values[field.name], wrong = field.validate(value.decode("latin-1"))
            if wrong:
                return False
        names = {name for name, _ in sent}
        return len(names) == len(sent) and all(
            name in names or one.name in values for name, one in self._headers.items()
        )

    def _takes(self, values: Values, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        assert self._body is not None
        if not body:
            return self._body.name in self._defaults
        if not any(name == b"content-type" and value == b"application/json" for name, value in headers):
            return False
        try:
            sent = json.loads(body)
        except (ValueError, RecursionError):
            return False
        values[self._body.name], wrong = self._body.validate(sent)
        return not wrong
