"""Retry-After in every form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.waits import retry_after_s

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "86400"}, 3600.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 13:00:09 GMT", "date": "Fri, 20 Nov 2026 13:00:00 GMT"}, 9.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:09 -0000"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_understood_however_it_is_told(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, now=NOON) == wait_s
