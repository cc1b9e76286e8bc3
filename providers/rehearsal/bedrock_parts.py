"""What the two halves of emulated Bedrock share: ARNs, dates, pages, tags, refusals."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime

from providers.rehearsal.faults import Fault, FaultKind
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.service import Exchange, RefusalError
from providers.rehearsal.truth import Json, Thing, tables
from providers.rehearsal.world import ACCESS_KEY, ACCOUNT_ID, REGION, World

PAGE_MAX = 1000
PAGE_DEFAULT = 100
TAGS_MAX = 200
_REFUSALS: dict[FaultKind, tuple[int, str, str]] = {
    "throttled": (429, "ThrottlingException", "Too many requests, please wait before trying again (rehearsal)."),
    "unauthorized": (
        403,
        "ExpiredTokenException",
        "The security token included in the request is expired (rehearsal).",
    ),
    "forbidden": (403, "AccessDeniedException", "User is not authorized to perform this action (rehearsal)."),
    "quota": (400, "ServiceQuotaExceededException", "The request exceeds the service quota (rehearsal)."),
    "server-error": (500, "InternalServerException", "An internal server error has occurred (rehearsal)."),
}
_BROKEN = {502: "BadGatewayException", 503: "ServiceUnavailableException"}


def arn(kind: str, rest: str) -> str:
    return f"arn:aws:bedrock:{REGION}:{ACCOUNT_ID}:{kind}/{rest}"


def base_arn(name: str) -> str:
    return f"arn:aws:bedrock:{REGION}::foundation-model/{name}"


def authorize_aws(request: Request) -> None:
    """The key id is checked, the signature is not."""
    if f"Credential={ACCESS_KEY}/" not in request.headers.get("authorization", ""):
        raise RefusalError(403, "UnrecognizedClientException", "The security token is invalid (rehearsal).")


def refusal_aws(fault: Fault) -> RefusalError:
    status, code, message = _REFUSALS[fault.kind]
    if fault.kind == "server-error":
        return RefusalError(fault.status or status, _BROKEN.get(fault.status, code), message)
    return RefusalError(status, code, message)


def error_aws(refusal: RefusalError) -> Reply:
    return json_reply(
        {"__type": refusal.code, "message": refusal.message}, refusal.status, x_amzn_errortype=refusal.code
    )


def invalid(message: str) -> RefusalError:
    return RefusalError(400, "ValidationException", message)


def missing(what: str) -> RefusalError:
    return RefusalError(404, "ResourceNotFoundException", f"The resource {what} was not found.")


def told(world: World, at: datetime) -> str:
    return world.clock.told(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tags_of(items: object) -> dict[str, str]:
    """AWS's list of {"key", "value"} as a dict. Raises RefusalError when there are too many."""
    listed = tables(items)
    if len(listed) > TAGS_MAX:
        raise RefusalError(400, "TooManyTagsException", f"{len(listed)} tags; {TAGS_MAX} are allowed.")
    return {str(item["key"]): str(item["value"]) for item in listed}


def named_or_arn(world: World, kind: str, identifier: str, at: datetime) -> Thing:
    """Raises RefusalError (404)."""
    found = world.truth.find(kind, identifier, at) or world.truth.find_named(kind, identifier, at)
    if found is None:
        short = (t for t in world.truth.things(kind, at=at) if t.id.rsplit("/", 1)[-1] == identifier)
        found = next(short, None)
    if found is None:
        raise missing(identifier)
    return found


def made_before(world: World, kind: str, body: Json, now: datetime) -> Thing | None:
    """What the same clientRequestToken made: it answers again, whatever else the request says."""
    token = body.get("clientRequestToken")
    if not token:
        return None
    return next((t for t in world.truth.newest_first(kind, now) if t.body["token"] == token), None)


def page(
    call: Exchange, things: Iterable[Thing], key: str, render: Callable[[Thing], Json], *, kind_of_status: bool = True
) -> Reply:
    """Filters by name and status, sorts newest first, cuts to a page; `nextToken` counts what was shown."""
    query = call.request
    part, wanted = query.first("nameContains"), query.first("statusEquals") if kind_of_status else ""
    model = query.first("modelArnEquals")
    found = [
        thing
        for thing in things
        if part in thing.name
        and wanted in {"", thing.status(call.view)}
        and model in {"", thing.body.get("modelArn", "")}
    ]
    if query.first("sortOrder") == "Ascending":
        found.reverse()
    start = int(base64.b64decode(query.first("nextToken") or "MA=="))
    limit = min(int(query.first("maxResults", str(PAGE_DEFAULT))), PAGE_MAX)
    shown, cut = call.cut(found[start : start + limit])
    body: Json = {key: [render(thing) for thing in shown]}
    if len(found) > start + limit and not cut:
        body["nextToken"] = base64.b64encode(str(start + limit).encode()).decode()
    return json_reply(body)
