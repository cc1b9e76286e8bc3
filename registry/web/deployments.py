"""What exists at the providers, and what it has cost: the registry's word beside the provider's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

from starlette.responses import Response

from registry.application.reading import GROUPS
from registry.application.views import AuditView, DeploymentView, VersionView
from registry.domain.deploying import GONE
from registry.domain.errors import BadInputError, TenureError
from registry.domain.events import Json
from registry.domain.ids import VersionRef
from registry.web.charts import Column, columns, days_between, spans, time_marks
from registry.web.overview import rates
from registry.web.page import Page, asked_time, written

GONE_SHOWN = 30
ROWS_SHOWN = 60
"""Of the billed intervals that are drawn, the dearest first; the downloads hold all."""
DAYS_MAX = 62
"""More days than these are not drawn as columns, which would be too thin to see."""


def deployments(page: Page) -> Response:
    page.principal.check("read")
    reading = page.registry.reading
    every = reading.deployments(as_of=page.as_of)
    live = [one for one in every if one.state not in GONE]
    audit = page.registry.auditing.audit(from_=page.now, to=page.now, as_of=page.as_of) if not page.past else None
    return page.html(
        "deployments.html",
        live=sorted(live, key=lambda one: (not one.billed, -(one.hourly_rate or Decimal(0)))),
        gone=list(reversed([one for one in every if one.state in GONE]))[:GONE_SHOWN],
        gone_total=len(every) - len(live),
        rates=rates([one for one in every if one.billed]),
        unknown=audit.unknown if audit else (),
        foreign=audit.foreign if audit else (),
        against={one.id: _against(page, one) for one in live},
    )


def _against(page: Page, one: DeploymentView) -> str | None:
    """Why it cannot be deleted from here; None where it can."""
    asked = page.against("develop", one.model)
    if asked is not None:
        return asked
    if one.state == "deleting":
        return "it is being deleted"
    version = _version(page, one)
    serving = [other for other in (version.deployments if version else ()) if other != one.id]
    if version is not None and version.state == "active" and one.state == "serving" and not serving:
        return f"it serves {one.ref}, which is active"
    return None


def _version(page: Page, one: DeploymentView) -> VersionView | None:
    try:
        return page.registry.reading.version(VersionRef(one.model, one.version), page.as_of)
    except TenureError:
        return None


def audit(page: Page) -> Response:
    page.principal.check("read")
    start, end = period(page)
    auditing = page.registry.auditing
    by = {key: auditing.audit(from_=start, to=end, by=key, as_of=page.as_of) for key in GROUPS}
    whole = by["day"]
    start = whole.from_
    rows = sorted(whole.deployments, key=lambda one: (one.cost is None, -(one.cost or Decimal(0))))[:ROWS_SHOWN]
    return page.html(
        "audit.html",
        audit=whole,
        start=start,
        end=end,
        serving=_sum([one.cost for one in whole.deployments]),
        trained=_sum([one.cost for one in whole.training]),
        rows=[(one, spans(one.intervals, start, end)) for one in rows],
        axis=time_marks(start, end),
        days=_days(whole),
        top=max((_amount(one, "cost") for one in whole.groups), default=Decimal(0)),
        shares=[(key, _shares(by[key].groups, key)) for key in ("model", "provider", "connection")],
        periods=_periods(page),
        span={"from": written(start), "to": written(end)},
    )


def _sum(costs: Sequence[Decimal | None]) -> Decimal:
    return sum((one for one in costs if one is not None), Decimal(0))


def period(page: Page) -> tuple[datetime | None, datetime]:
    """What the address asks for, at most until the time that is shown; by default this month."""
    given_from, given_to = asked_time(page.query("from")), asked_time(page.query("to"))
    end = min(datetime.fromisoformat(given_to), page.now) if given_to else page.now
    if page.query("from") == "":
        return None, end
    start = datetime.fromisoformat(given_from) if given_from else _month(page.now)
    if start > end:
        raise BadInputError(f"from {written(start)} is after to {written(end)}", field="from")
    return start, end


def _month(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _periods(page: Page) -> list[tuple[str, str, str]]:
    """(words, from, to)"""
    month = _month(page.now)
    last = _month(month - timedelta(days=1))
    return [
        ("This month", written(month), written(page.now)),
        ("Last month", written(last), written(month)),
        ("Last 24 hours", written(page.now - timedelta(days=1)), written(page.now)),
        ("Last 90 days", written(page.now - timedelta(days=90)), written(page.now)),
    ]


def _days(audit: AuditView) -> list[Column]:
    groups = [(str(one["day"]), _amount(one, "serving"), _amount(one, "training")) for one in audit.groups]
    filled = days_between(groups)
    return columns(filled, audit.currency) if len(filled) <= DAYS_MAX else []


def _shares(groups: Sequence[Json], key: str) -> list[tuple[str, Decimal, float, int]]:
    """(name, cost, per cent of the largest, how many have no price), the dearest first."""
    costs = [(str(one[key]), _amount(one, "cost"), int(str(one["unpriced"]))) for one in groups]
    top = max((cost for _, cost, _ in costs), default=Decimal(0))
    shares = [(name, cost, round(float(cost / top * 100), 2) if top else 0.0, none) for name, cost, none in costs]
    return sorted(shares, key=lambda one: -one[1])


def _amount(group: Json, key: str) -> Decimal:
    return cast("Decimal", group[key])
