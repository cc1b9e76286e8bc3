"""What routes share: parameters with their bounds, pages, entity tags, and answers that a key repeats."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar

from fastapi import Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.schemas import ref
from registry.application.ports import EventLog, Idempotency
from registry.application.views import View, to_json
from registry.domain.bounds import KEY_PATTERN
from registry.domain.errors import BadInputError, IdempotencyConflictError, TenureError
from registry.domain.ids import NAME_PATTERN, VersionRef
from registry.transport.problems import PROBLEM
from registry.transport.services import principal_of

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
_NAME = f"^{NAME_PATTERN.pattern}$"
_TAG = r'(W/)?"[!#-~]*"'
"""RFC 9110, 8.8.3: a weak one is none of ours, and never matches."""
NEVER = -1

ModelName = Annotated[str, Path(description="The model's name", pattern=_NAME, examples=["support-bot"])]
Number = Annotated[int, Path(description="The version's number", ge=1, le=999_999_999, examples=[3])]
ConnectionName = Annotated[
    str, Path(description="The connection's name", min_length=1, max_length=2048, examples=["azure-prod"])
]
DeploymentId = Annotated[
    str, Path(description="`dep_…`, or the provider's own name, id or ARN", min_length=1, max_length=2048)
]
AsOf = Annotated[
    str | None,
    Query(description="A position, or an ISO 8601 time: the answer is as of then", max_length=64),
]
Limit = Annotated[int, Query(description="How many at most", ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=512)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key with the same request gives the same answer and one effect; with another, 409",
        pattern=f"^{KEY_PATTERN.pattern}$",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag that the resource must still have, else 412; `*`: any. One tag, no list",
        max_length=200,
        pattern=rf"^(\*|{_TAG})$",
    ),
]

VERSION = "/models/{model}/versions/{number}"

T = TypeVar("T")


def documented(
    status: int | tuple[int, ...],
    schema: str | Mapping[str, Any] | None,
    *,
    etag: bool = False,
    media: str = "application/json",
    description: str = "The answer",
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what it answers, and that everything else is a problem.

    `schema`: the name of a component, a schema, or None for an answer without a body.
    """
    shape = {"$ref": ref(schema)} if isinstance(schema, str) else schema
    answer: dict[str, Any] = {"description": description}
    if shape is not None:
        answer["content"] = {media: {"schema": shape}}
    if etag:
        text = "The version of the resource's stream; send it back in If-Match"
        answer["headers"] = {"ETag": {"description": text, "schema": {"type": "string"}}}
    problem = {"description": "A problem", "content": {PROBLEM: {"schema": {"$ref": ref("Problem")}}}}
    statuses = status if isinstance(status, tuple) else (status,)
    return {**dict.fromkeys(statuses, answer), 422: problem, "default": problem}


def answer(view: View, status: int = 200, *, location: str | None = None) -> JSONResponse:
    """A view with its stream's version as ETag; `location`: the resource to watch."""
    headers: dict[str, str] = {}
    version = getattr(view, "stream_version", None)
    if version is not None:
        headers["ETag"] = f'"{version}"'
    if location is not None:
        headers["Location"] = location
    return JSONResponse(view.as_json(), status_code=status, headers=headers)


def url_of(ref: VersionRef) -> str:
    return f"/api/v1/models/{ref.model}/versions/{ref.number}"


def listing(items: Sequence[View], next: str | None = None) -> JSONResponse:
    return JSONResponse({"items": [one.as_json() for one in items], "next": next})


def page_of(
    items: Sequence[T],
    key: Callable[[T], str],
    limit: int,
    cursor: str | None,
    shown: Callable[[T], bool] = lambda _: True,
) -> tuple[Sequence[T], str | None]:
    """The items after the one that the cursor names, and the cursor of the next page.

    `shown`: which items are in the list now. A cursor may name one that was in it when the page before was asked for.
    """
    start = 0
    if cursor is not None:
        places = [index for index, one in enumerate(items) if key(one) == cursor]
        if not places:
            raise BadInputError(f"cursor {cursor!r} is not one of this list's", field="cursor")
        start = places[0] + 1
    found = list(islice(filter(shown, items[start:]), limit + 1))
    return found[:limit], key(found[limit - 1]) if len(found) > limit else None


def expected(if_match: str | None, stream: str) -> dict[str, int]:
    """What an append is conditional on. Tags that are none of ours match nothing."""
    if if_match is None or if_match == "*":
        return {}
    ours = re.fullmatch(r'"([0-9]{1,18})"', if_match)
    return {stream: int(ours[1]) if ours else NEVER}


_KEPT = {b"content-type", b"etag", b"location"}


class Once:
    """Answers a repetition of a request as it was answered first. Kept in the log's own table of keys, for ever.

    The effect has the same key in the application, so that a server that dies between effect and answer does not act
    twice: the repetition finds the effect, and answers with how things stand then.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __call__(
        self, request: Request, key: str | None, payload: object, act: Callable[[str | None], Response]
    ) -> Response:
        """`act` gets the key for the effect. Raises IdempotencyConflictError, and what `act` raises (not kept)."""
        if key is None:
            return act(None)
        actor = principal_of(request).actor
        scope = request.scope
        query = scope["query_string"].decode("latin-1")
        asked = json.dumps([scope["method"], scope["path"], query, to_json(payload)], sort_keys=True)
        fingerprint = hashlib.sha256(asked.encode()).hexdigest()
        kept = f"http:{actor}:{key}"
        before = self._before(kept, fingerprint, key)
        if before is not None:
            return before
        response = act(f"effect:{actor}:{key}")
        record = Idempotency(key=kept, fingerprint=fingerprint, answer=_kept(response))
        try:
            self._log.append([], expected={}, idempotency=record)
        except IdempotencyConflictError:
            before = self._before(kept, fingerprint, key)
            if before is None:
                raise
            return before
        return response

    def _before(self, kept: str, fingerprint: str, key: str) -> Response | None:
        before = self._log.answered(kept)
        if before is None:
            return None
        if before.fingerprint != fingerprint:
            raise IdempotencyConflictError(f"the Idempotency-Key {key!r} was used for another request")
        found: Mapping[str, Any] = before.answer
        return Response(
            content=found["body"],
            status_code=found["status"],
            headers={**found["headers"], "Idempotent-Replay": "true"},
        )


def _kept(response: Response) -> dict[str, object]:
    headers = {name.decode(): value.decode("latin-1") for name, value in response.raw_headers if name in _KEPT}
    return {"status": response.status_code, "headers": headers, "body": bytes(response.body).decode()}


def as_problem(error: TenureError, hidden: str, shown: str) -> TenureError:
    """The same error with a path of the server's taken out of its sentences."""
    error.message = error.message.replace(hidden, shown)
    if isinstance(error, BadInputError):
        error.faults = tuple(one.replace(hidden, shown) for one in error.faults)
    return error
