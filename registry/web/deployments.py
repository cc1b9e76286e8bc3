"""What exists at the providers, and what it has cost: the registry's word beside the provider's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, cast

from starlette.responses import Response

from registry.application.views import (
    AuditView,
    BilledDeploymentView,
    ConnectionView,
    DeploymentView,
    OrphanJobView,
    SideBySideView,
)
from registry.domain import ledger
from registry.domain.errors import BadInputError
from registry.domain.events import Json
from registry.web import serving
from registry.web.charts import Bar, bars, columns, days_between, time_marks
from registry.web.page import Page, asked_time, written

LIVE_SHOWN = 200
"""Of the deployments that are there, the dearest first, unless all are asked for."""
ROWS_SHOWN = 60
"""Of the billed intervals that are drawn, the dearest first; the downloads hold all."""
TRAINING_SHOWN = 60
DAYS_MAX = 100
"""More days than these are not drawn as columns, which would be too thin to see."""
SHARES = ("model", "provider", "connection")


def deployments(page: Page) -> Response:
    """What the log says; and with `look`, what the providers show at this moment beside it.

    What belongs to no model is for whoever may see every model.
    """
    every = page.visible(serving.live(page))
    live = every if page.query("all") else every[:LIVE_SHOWN]
    looked = page.query("look") is not None and not page.past
    shown = page.registry.comparing.side_by_side() if looked else []
    audit = page.registry.auditing.audit(from_=page.now - ledger.MICROSECOND, to=page.now, as_of=page.as_of)
    strays: list[Stray] = []
    jobs: list[tuple[ConnectionView, OrphanJobView]] = []
    if page.principal.may("read"):
        strays = _strays(shown, audit) if looked else [_foreign(one) for one in audit.foreign]
        jobs = [(at, one) for at in page.registry.reading.connections(page.as_of) for one in at.orphan_jobs]
    return page.html(
        "deployments.html",
        live=live,
        gone=page.visible(serving.gone_lately(page)),
        rates=serving.rates(one for one in every if one.billed),
        total=len(every),
        unknown={str(one["deployment"]): str(one["why"]) for one in audit.unknown},
        looked=looked,
        provider={one.deployment.id: one for one in shown if one.deployment is not None},
        strays=strays,
        against=_against(page, live, every),
        jobs=jobs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Something at a provider that the registry has no deployment for."""

    name: str
    connection: str
    status: str
    words: str
    kind: Literal["orphan", "foreign", "unknown"]


def _strays(shown: Iterable[SideBySideView], audit: AuditView) -> list[Stray]:
    known = {str(one["provider_id"]) for one in audit.foreign}
    return [
        Stray(
            name=str(one.value("name") or one.value("provider_id") or "whatever it has"),
            connection=str(one.value("connection")),
            status=one.provider_status or "does not answer",
            words=one.difference or "",
            kind=_kind(one, known),
        )
        for one in shown
        if one.deployment is None
    ]


def _kind(one: SideBySideView, foreign: Container[str]) -> Literal["orphan", "foreign", "unknown"]:
    if one.value("provider_id") is None:
        return "unknown"
    ours = str(one.value("provider_id")) not in foreign and "orphan" in (one.difference or "")
    return "orphan" if ours else "foreign"


def _foreign(one: Json) -> Stray:
    return Stray(
        name=str(one["name"] or one["provider_id"]), connection=str(one["connection"]), status=str(one["status"]),
        words="foreign: not provably ours, never touched", kind="foreign",
    )  # fmt: skip


def _against(page: Page, shown: Sequence[DeploymentView], live: Sequence[DeploymentView]) -> dict[str, str | None]:
    """By deployment: why it cannot be deleted from here; None where it can."""
    active = {f"{one.name}@{one.active}" for one in page.registry.log.models(at=page.at) if one.active is not None}
    serving_of = Counter(one.ref for one in live if one.state == "serving")

    def why(one: DeploymentView) -> str | None:
        asked = page.against("develop", one.model or None)
        if asked is not None:
            return asked
        if one.state == "deleting":
            return "it is being deleted"
        only = one.state == "serving" and serving_of[one.ref] == 1
        return f"it serves {one.ref}, which is active" if only and one.ref in active else None

    return {one.id: why(one) for one in shown}


# What it has cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A deployment with its billed spans as bars."""

    deployment: DeploymentView
    cost: Decimal | None
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One model's, provider's or connection's part; `per_cent` of the largest."""

    name: str
    cost: Decimal
    per_cent: float
    unpriced: int


def audit(page: Page) -> Response:
    page.principal.check("read")
    asked, end = period(page)
    found = page.registry.auditing.audit(from_=asked, to=end, by="day", as_of=page.as_of)
    start = found.from_
    currency = found.currency or max(found.totals, key=lambda one: found.totals[one])
    days = _days(found, currency)
    return page.html(
        "audit.html",
        audit=found,
        currency=currency,
        start=start,
        end=end,
        serving=_sums((one.deployment.currency, one.cost) for one in found.deployments),
        trained=_sums((one.currency, one.cost) for one in found.training),
        rows=[_row(one, start, end) for one in _dearest(found.deployments)],
        axis=time_marks(start, end),
        days=columns(days, currency) if len(days) <= DAYS_MAX else [],
        top=max((serving + training for _, serving, training in days), default=Decimal(0)),
        shares=[(key, _shares(found, key, currency)) for key in SHARES],
        periods=_periods(page),
        span={"from": written(start), "to": written(end)},
        training=found.training[-TRAINING_SHOWN:],
    )


def _dearest(entries: Sequence[BilledDeploymentView]) -> list[BilledDeploymentView]:
    return sorted(entries, key=lambda one: (one.cost is None, -(one.cost or Decimal(0))))[:ROWS_SHOWN]


def _row(one: BilledDeploymentView, start: datetime, end: datetime) -> Row:
    return Row(deployment=one.deployment, cost=one.cost, bars=tuple(bars(one.intervals, start, end)))


def _sums(amounts: Iterable[tuple[str, Decimal | None]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for currency, amount in amounts:
        if amount is not None:
            sums[currency] = sums.get(currency, Decimal(0)) + amount
    return sums


def period(page: Page) -> tuple[datetime, datetime]:
    """What the address asks for, at most until the time that is shown; by default this month.

    It ends with a whole second, as addresses are written: so the downloads are of what is shown.
    """
    now = page.now.replace(microsecond=0)
    given_from, given_to = asked_time(page.query("from")), asked_time(page.query("to"))
    end = min(_given(given_to, "to"), now) if given_to else now
    start = _given(given_from, "from") if given_from else _month(end)
    if start > end:
        raise BadInputError(f"from {written(start)} is after to {written(end)}", field="from")
    return start, end


def _given(text: str, name: str) -> datetime:
    """A position is for `as_of` alone."""
    if text.isdigit():
        raise BadInputError(f"{name} = {text} is not an ISO 8601 time", field=name)
    return datetime.fromisoformat(text)


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


def _days(found: AuditView, currency: str) -> list[tuple[str, Decimal, Decimal]]:
    """(day, serving, training), in one currency, with the days on which nothing was billed: of the whole time where all
    its days can be drawn.
    """
    groups = [
        (str(one["day"]), cast("Decimal", one["serving"]), cast("Decimal", one["training"]))
        for one in found.groups
        if one["currency"] == currency
    ]
    whole = (found.to - found.from_).days < DAYS_MAX
    return days_between(groups, found.from_, found.to) if whole else days_between(groups)


def _shares(found: AuditView, key: str, currency: str) -> list[Share]:
    """The dearest first."""
    parts = [
        (str(getattr(one.deployment, key)) or "of no version", one.cost)
        for one in found.deployments
        if one.deployment.currency == currency
    ]
    parts += [
        (one.version.rpartition("@")[0] if key == "model" else str(getattr(one, key)), one.cost)
        for one in found.training
        if one.currency == currency
    ]
    sums: dict[str, Decimal] = {}
    unpriced: dict[str, int] = {}
    for name, cost in parts:
        sums[name] = sums.get(name, Decimal(0)) + (cost or Decimal(0))
        unpriced[name] = unpriced.get(name, 0) + (cost is None)
    top = max(sums.values(), default=Decimal(0))
    shares = [
        Share(name=name, cost=cost, per_cent=round(float(cost / top * 100), 2) if top else 0, unpriced=unpriced[name])
        for name, cost in sums.items()
    ]
    return sorted(shares, key=lambda one: (-one.cost, one.name))
