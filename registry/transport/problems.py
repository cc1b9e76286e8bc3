"""Errors as RFC 9457 problem details: what is wrong, the current state, the legal moves, what to do."""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Callable
from typing import cast

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.application.access import NotAllowedError, NotSignedInError, Principal
from registry.domain.errors import BadInputError, ConflictError, RefusedError, TenureError, UnavailableError
from registry.transport.gate import TooManyError
from registry.transport.logs import note

PROBLEM = "application/problem+json"
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
        body = {"error": {"message": error.message, "type": error.title.lower().replace(" ", "_"), "code": None}}
        return JSONResponse(body, status_code=error.status, headers=headers)
    return ProblemResponse(problem, status_code=error.status, headers=headers)


def is_openai(path: str) -> bool:
    return path.startswith("/v1/")


FAULTS_MAX = 20


async def tenure_error(request: Request, error: Exception) -> Response:
    """The exception handler of the server for everything that a user may be told."""
    assert isinstance(error, TenureError)
    if isinstance(error, NotAllowedError | NotSignedInError | TooManyError):
        principal = cast("Principal", request.state.principal)
        address = request.client.host if request.client else "unknown"
        fields = {"method": request.method, "path": request.url.path, "address": address, "why": error.message}
        note(logging.WARNING, "refused", actor=principal.actor, **fields)
    return _for(request, error)


async def invalid_request(request: Request, error: Exception) -> Response:
    """What does not fit its description: every fault with its place."""
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:FAULTS_MAX]]
    place = str(error.errors()[0]["loc"][-1]) if error.errors() else None
    return _for(request, BadInputError(f"the request is wrong: {'; '.join(found)}", field=place, faults=tuple(found)))


async def http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such address, no such method, a body that is too large or not JSON."""
    assert isinstance(error, HTTPException)
    told = TenureError(f"{error.detail}: {request.method} {request.url.path}")
    told.status = error.status_code
    told.title = http.HTTPStatus(error.status_code).phrase
    response = _for(request, told)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _for(request: Request, error: TenureError) -> Response:
    """As a page for people who look at pages (`app.state.error_page`, if there are pages), else as JSON."""
    path = request.url.path
    page: ErrorPage | None = getattr(request.app.state, "error_page", None)
    if page is not None and "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/v1/")):
        return page(request, error)
    return respond(error, openai=is_openai(path))
