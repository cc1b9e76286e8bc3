"""Errors as RFC 9457 problem details: what is wrong, the current state, the legal moves, what to do."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.domain.errors import BadInputError, ConflictError, RefusedError, TenureError, UnavailableError

PROBLEM = "application/problem+json"


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


async def tenure_error(request: Request, error: Exception) -> Response:
    """The exception handler of the server for everything that a user may be told."""
    assert isinstance(error, TenureError)
    return respond(error, openai=is_openai(request.url.path))
