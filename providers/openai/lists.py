"""Lists, page by page, as JSON: the SDK's own pages ask for ever where a server does not know `after`, and its objects
cost three quarters of a tick where thousands of jobs are watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from providers.openai.client import Client
from providers.openai.errors import translated

Json = Mapping[str, Any]
PAGE = 100
PAGES_MAX = 1000


def pages(ask: Callable[[Mapping[str, str]], Any], *, pages_max: int = PAGES_MAX) -> Iterator[list[Json]]:
    """What each page brings that is new, until one brings nothing, or is the last.

    `ask` is given the query that continues, and answers with the SDK's raw response. A server that does not tell
    `has_more` is asked once more. Raises ValueError for what is no list of things with ids.
    """
    seen: set[str] = set()
    follow: dict[str, str] = {}
    for _ in range(pages_max):
        page = thing(ask(follow).http_response.json(), "data")
        new = [one for one in (thing(one, "id") for one in page["data"]) if one["id"] not in seen]
        if not new:
            return
        yield new
        if page.get("has_more") is False:
            return
        seen.update(str(one["id"]) for one in new)
        follow = {"after": str(new[-1]["id"])}


def models(client: Client, *, now: Callable[[], datetime]) -> list[Json]:
    """All models of an account; the API has no pages of them."""
    with translated("list-models", now=now):
        answer = thing(client.get().models.with_raw_response.list().http_response.json(), "data")
        return [thing(one, "id") for one in answer["data"]]


def thing(answer: object, *needed: str) -> Json:
    """An answer that is a JSON object and has what it needs to be one of its kind. Raises ValueError."""
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - what is wrong is the answer, not a type of ours
    found = cast("dict[str, Any]", answer)
    if missing := [key for key in needed if found.get(key) is None]:
        raise ValueError(f"{', '.join(missing)} missing")
    return found
