"""How long a provider asks to be left alone: Retry-After in every form that the clouds send it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

WAIT_S_MAX = 3600.0
"""A provider that asks for more is asked again after this."""


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds, at least 0 and at most an hour; None where the answer does not say.

    Milliseconds (OpenAI, Azure) come before seconds, because they are the finer of the two where both are sent. A date
    is held against the answer's own Date, if it has one, so that a clock that is wrong on either side cancels out.
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    for name, scale in (("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3), ("retry-after", 1.0)):
        if (seconds := _number(named.get(name))) is not None:
            return _bounded(seconds * scale)
    due = _date(named.get("retry-after"))
    if due is None:
        return None
    return _bounded((due - (_date(named.get("date")) or now)).total_seconds())


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), WAIT_S_MAX)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _date(text: str | None) -> datetime | None:
    try:
        found = None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
