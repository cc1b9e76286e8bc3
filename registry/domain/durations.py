"""Durations as people write them: `200ms`, `15s`, `10m`, `6h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

from registry.domain.errors import BadInputError

DURATION_MAX = timedelta(days=36_500)
"""So that a duration can be added to any time of day without leaving the calendar."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: object, key: str) -> timedelta:
    """Raises BadInputError naming the key."""
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadInputError(f"{key} = {text!r} is not a duration: write 200ms, 15s, 10m, 6h or 7d", field=key)
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > DURATION_MAX.total_seconds():
        raise BadInputError(f"{key} = {text!r} is longer than {DURATION_MAX.days}d", field=key)
    return timedelta(seconds=seconds)
