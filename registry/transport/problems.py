"""Errors as RFC 9457 problem details: what is wrong, the current state, the legal moves, what to do."""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Callable, Sequence
from typing import cast

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route

from registry.application.access import NotAllowedError, NotSignedInError, Principal
from registry.domain.errors import (
    BadInputError,
    ConflictError,
    NotFoundError,
    RefusedError,
    TenureError,
    UnavailableError,
)
from registry.transport.gate import TooManyError
from registry.transport.logs import note

PROBLEM = "application/problem+json"
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
ErrorPage = Callable[[Request, TenureError], Response]


class ProblemResponse(JSONResponse):
    media_type = PROBLEM


def problem_of(error: TenureError) -> dict[str, object]:
    """The members of problem details; `state` and `legal` where the error knows them."""
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
    }
    if error.hint:
        problem["hint"] = error.hint
    match error:
        case RefusedError():
            problem["state"] = error.state
            problem["legal"] = list(error.legal)
        case BadInputError():
            problem["field"] = error.field
            problem["faults"] = list(error.faults)
        case ConflictError():
            problem |= {"stream": error.stream, "expected": error.expected, "actual": error.actual}
        case _:
            pass
    return problem


def respond(error: TenureError, *, openai: bool = False) -> Response:
    """`openai`: in the shape that OpenAI's clients read."""
    headers: dict[str, str] = {}
    if isinstance(error, UnavailableError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    problem = problem_of(error)
    if openai:
        kind = "server_error" if error.status >= 500 else OPENAI_TYPES.get(error.status, "invalid_request_error")  # noqa: PLR2004
        code = error.title.lower().replace(" ", "_")
        body = {"error": {"message": error.message, "type": kind, "param": None, "code": code}}
        return JSONResponse(body, status_code=error.status, headers=headers)
    return ProblemResponse(problem, status_code=error.status, headers=headers)


def is_openai(path: str) -> bool:
    return path.startswith("/v1/")


FAULTS_MAX = 20


async def tenure_error(request: Request, error: Exception) -> Response:
    """The exception handler of the server for everything that a user may be told."""
    assert isinstance(error, TenureError)
    principal = cast("Principal", request.state.principal)
    if isinstance(error, NotFoundError) and not principal.may("read"):
        error.hint = None  # it names others, of which this one may not know
    if isinstance(error, NotAllowedError | NotSignedInError | TooManyError):
        address = request.client.host if request.client else "unknown"
        fields = {"method": request.method, "path": request.url.path, "address": address, "why": error.message}
        note(logging.WARNING, "refused", actor=principal.actor, **fields)
    return _for(request, error)


async def invalid_request(request: Request, error: Exception) -> Response:
    """What does not fit its description: every fault with its place."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(one["type"] == "json_invalid" for one in faults):
        at = faults[0]["loc"][-1]
        why = faults[0].get("ctx", {}).get("error", "it ends too early")
        return _for(request, BadInputError(f"the body is not JSON: {why}, at character {at}", field="body"))
    found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in faults[:FAULTS_MAX]]
    place = str(faults[0]["loc"][-1]) if faults else None
    sent = request.headers.get("content-type", "nothing")
    hint = None
    if place == "body" and "json" not in sent:
        hint = f"send JSON, and say so: Content-Type: application/json (it said {sent})"
    told = f"the request is wrong: {'; '.join(found)}"
    return _for(request, BadInputError(told, field=place, faults=tuple(found), hint=hint))


async def http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such address, no such method, a body that is too large or not JSON."""
    assert isinstance(error, HTTPException)
    told = TenureError(f"{error.detail}: {request.method} {request.url.path}")
    told.status = error.status_code
    told.title = http.HTTPStatus(error.status_code).phrase
    response = _for(request, told)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """All that an address takes. A route knows only its own; this is looked for when somebody is refused."""
    found: set[str] = set()
    routes: Sequence[BaseRoute] = request.app.routes
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
            found |= route.methods or set()
    return found | {"HEAD"} if "GET" in found else found


def _for(request: Request, error: TenureError) -> Response:
    """As a page for people who look at pages (`app.state.error_page`, if there are pages), else as JSON."""
    path = request.url.path
    page: ErrorPage | None = getattr(request.app.state, "error_page", None)
    if page is not None and "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/v1/")):
        return page(request, error)
    return respond(error, openai=is_openai(path))
