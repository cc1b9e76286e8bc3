"""When something was last called, from metrics that count calls by the hour: at the end of the last such hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from providers.errors import ProviderError
from providers.ports import ConnectionCheck, Deployments

HOUR = timedelta(hours=1)
LAG = timedelta(minutes=15)
"""How late a call may show. Azure Monitor and CloudWatch speak of a few minutes; both promise nothing."""


def check(deployments: Deployments, *, now: datetime) -> ConnectionCheck:
    """Whether they can be read. Passed either way, because nothing needs them."""
    try:
        deployments.last_used({"tenure-connection-test": now})
    except ProviderError as error:
        detail = f"optional, and not read, so that idle_delete sees only calls through Tenure: {error.message}"
    else:
        detail = "idle_delete sees calls past Tenure, too"
    return ConnectionCheck(name="metrics", passed=True, detail=detail)


def begin(since: Iterable[datetime], *, now: datetime, kept: timedelta) -> datetime:
    """From which full hour to ask, where metrics are `kept` for so long."""
    first = max(min(since), now - kept)
    return first.replace(minute=0, second=0, microsecond=0)


def last_use(since: datetime, *, asked_from: datetime, hours: Iterable[datetime]) -> datetime:
    """`hours`: the beginnings of those in which it was called since `asked_from`. What was before, nobody knows."""
    return max(since, asked_from, *(hour + HOUR for hour in hours))
