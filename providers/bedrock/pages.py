"""Lists of Bedrock, page by page: none is taken for whole that is not, because what a list lacks is believed gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from providers.errors import RejectedError

PAGE = 1000
PAGES_MAX = 10_000
"""A page may hold a single item, or none and a token all the same."""


def items_of(call: Callable[..., dict[str, Any]], key: str, **query: str) -> list[dict[str, Any]]:
    """What a list shows under `key`, which AWS may leave out of a page where there is nothing.

    Raises RejectedError where the pages do not end.
    """
    found: list[dict[str, Any]] = []
    follow: dict[str, str] = {}
    for _ in range(PAGES_MAX):
        page = call(maxResults=PAGE, **query, **follow)
        found += page.get(key) or []
        token = page.get("nextToken")
        if not token:
            return found
        if follow.get("nextToken") == token:
            break
        follow = {"nextToken": token}
    raise RejectedError(f"{key}: the list's pages do not end", operation="list")
