"""Routes that FastAPI declares and documents, with a shorter way in for requests that are as they are documented.

FastAPI's own way from a route to its function takes 0.2 ms of processor time, a third of what a command costs
(docs/decisions/0076). Here the same validators are asked, and nothing else. A request that is not plainly right (a
parameter that is refused, a body that is no JSON) is handed on to FastAPI as it came, which says what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, get_type_hints

from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from registry.transport.threads import Threads

Values = dict[str, Any]


class Route(APIRoute):
    """For functions that may block and answer a `Response`; all others go FastAPI's way.

    The app has `Threads` in its `state.threads`.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401 -- FastAPI's
        super().__init__(path, endpoint, **options)
        self._documented = self.app
        if _is_short(endpoint) and self.dependant.request_param_name:
            self._parameters = _Parameters(self)
            self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        came: list[Message] = []
        values = self._parameters.values(scope, await _body(receive, came) if self.body_field else b"")
        if values is None:
            await self._documented(scope, _again(came, receive), send)
            return
        threads: Threads = scope["app"].state.threads
        response: Response = await threads.run(partial(self.endpoint, **values))
        await response(scope, receive, send)


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
