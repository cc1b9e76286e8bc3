"""What was billed, from what is known of each deployment: spans, rates, cost. Pure; money is Decimal, counted exactly.

A deployment is billed from the moment it may have been (the accepted create, or the create whose outcome nobody knows)
to the moment it was seen gone, or to the end of its commitment where that is later. Spans in which nobody knows are
marked, and counted as billed.

Cost is a running sum over a deployment's whole life, in integers, and rounded where it is read: what a span costs is
the difference of the rounded sums at its ends. So spans, days and months add up to the whole, whatever they are cut at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from registry.domain.events import UnitPrice, VersionTrained
from registry.domain.states import DeploymentState

RATE_PLACES = 9
"""Decimal places of an hourly rate: a billionth of the currency's unit."""
COST_PLACES = 6
"""Decimal places of a cost; cents are for whoever shows it."""
DIVISOR = 3_600_000_000 * 10 ** (RATE_PLACES - COST_PLACES)
"""(billionths an hour) x microseconds / DIVISOR = millionths."""
MICROSECOND = timedelta(microseconds=1)
TOKENS_PER_UNIT = Decimal(1_000_000)
SECONDS_PER_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A billed span at one rate. `known`: somebody has seen that it is there; `hourly` None: the price is unknown."""

    from_: datetime
    to: datetime
    known: bool
    hourly: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a span costs. `cost` is None where its price is unknown."""

    from_: datetime
    to: datetime
    known: bool
    hourly: Decimal | None
    cost: Decimal | None


def billed_since(deployment: DeploymentState) -> datetime | None:
    """Since when it may be billed; None for one that never was."""
    if deployment.maybe_billed_from is None or deployment.billed_from is None:
        return deployment.maybe_billed_from or deployment.billed_from
    return min(deployment.maybe_billed_from, deployment.billed_from)


def billed_until(deployment: DeploymentState) -> datetime | None:
    """When it stops being billed; None while nobody can say. A commitment is billed to its end, whatever is deleted."""
    if deployment.billed_to is None or deployment.committed_until is None:
        return deployment.billed_to
    return max(deployment.billed_to, deployment.committed_until)


def billed_now(deployment: DeploymentState, now: datetime) -> bool:
    """Whether it may be billed at a moment which is not before the last thing that is known of it."""
    if billed_since(deployment) is None or _never_was(deployment):
        return False
    until = billed_until(deployment)
    return until is None or until > now


def intervals(deployment: DeploymentState, *, from_: datetime, to: datetime) -> list[Interval]:
    """The billed spans within [from_, to), in order, without gaps of their own; `to` is not after now."""
    if _never_was(deployment):
        return []
    end = billed_until(deployment) or to
    pieces = [rated for span in _spans(deployment, end) for rated in _rated(span, deployment)]
    clipped = (_clip(one, from_, to) for one in pieces)
    return [one for one in clipped if one.from_ < one.to]


def charges(deployment: DeploymentState, *, from_: datetime, to: datetime) -> list[Charge]:
    """The billed spans within [from_, to) with what each costs; they add up, however a time is cut into spans."""
    since = billed_since(deployment)
    if since is None or since >= to:
        return []
    found: list[Charge] = []
    total = 0
    for one in intervals(deployment, from_=since, to=to):
        rate = nano(one.hourly)
        clip = _clip(one, from_, to)
        if clip.from_ < clip.to:
            before, after = (total + rate * ((at - one.from_) // MICROSECOND) for at in (clip.from_, clip.to))
            cost = None if one.hourly is None else micro(rounded(after) - rounded(before))
            found.append(Charge(from_=clip.from_, to=clip.to, known=one.known, hourly=one.hourly, cost=cost))
        total += rate * ((one.to - one.from_) // MICROSECOND)
    return found


def rate_at(deployment: DeploymentState, time: datetime) -> Decimal | None:
    """What an hour of it costs at a moment; None where the price is unknown."""
    if not deployment.rates:
        return deployment.hourly
    return next((rate for since, rate in reversed(_rates(deployment)) if since is None or since <= time), None)


def total(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, or None as soon as one of them is unknown."""
    known = Decimal(0)
    for one in costs:
        if one is None:
            return None
        known += one
    return known


def by_day(deployment: DeploymentState, *, from_: datetime, to: datetime) -> list[tuple[str, Charge]]:
    """The charges within [from_, to), cut at midnight UTC; they add up to what they were."""
    found: list[tuple[str, Charge]] = []
    for one in charges(deployment, from_=from_, to=to):
        at = one.from_.astimezone(UTC)
        while at < one.to:
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            cut = charges(deployment, from_=at, to=min(midnight, one.to))
            found += [(at.date().isoformat(), piece) for piece in cut]
            at = midnight
    return found


def trained_at(payload: VersionTrained, recorded_at: datetime) -> datetime:
    """The moment that a training's cost is of: when its job ended, or when that was recorded where nobody tells."""
    return min(payload.finished_at or recorded_at, recorded_at)


def training_cost(price: UnitPrice | None, *, tokens: int | None, duration_s: float | None) -> Decimal | None:
    """Tokens times price, or hours of the device; None where the price or the quantity is unknown.

    What is free costs nothing, however much of it there is.
    """
    if price is None or price.amount is None:
        return None
    quantity = training_quantity(price.unit, tokens=tokens, duration_s=duration_s)
    if quantity is None and not price.amount:
        quantity = Decimal(0)
    return None if quantity is None else (price.amount * quantity).quantize(Decimal(1).scaleb(-COST_PLACES))


def training_quantity(unit: str, *, tokens: int | None, duration_s: float | None) -> Decimal | None:
    """Millions of tokens, or hours."""
    if unit == "1M-tokens":
        return None if tokens is None else Decimal(tokens) / TOKENS_PER_UNIT
    return None if duration_s is None else (Decimal(str(round(duration_s, 3))) / SECONDS_PER_HOUR).quantize(NANO)


NANO = Decimal(1).scaleb(-RATE_PLACES)


def nano(hourly: Decimal | None) -> int:
    """A rate in billionths; 0 for one that is unknown, which costs nothing that can be counted."""
    return 0 if hourly is None else int((hourly * 10**RATE_PLACES).to_integral_value())


def rounded(amount: int) -> int:
    """Billionths an hour x microseconds -> millionths, half up."""
    return (amount + DIVISOR // 2) // DIVISOR


def micro(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-COST_PLACES)


def _never_was(deployment: DeploymentState) -> bool:
    return deployment.state == "deleted" and deployment.billed_to is None


def _spans(deployment: DeploymentState, end: datetime) -> list[Interval]:
    """Its life, cut where what is known of it changes; some may be empty."""
    unsure, sure = deployment.maybe_billed_from, deployment.billed_from
    spans: list[Interval] = []
    if unsure is not None:
        spans.append(Interval(from_=unsure, to=min(sure or end, end), known=False))
    if sure is not None:
        spans += _in_doubt(deployment, sure, end)
    return spans


def _in_doubt(deployment: DeploymentState, from_: datetime, end: datetime) -> Iterable[Interval]:
    """What is billed for sure, but for the times in which nobody knows."""
    for doubt in deployment.doubts:
        yield Interval(from_=from_, to=min(doubt.from_, end), known=True)
        from_ = max(from_, doubt.from_)
        yield Interval(from_=from_, to=min(doubt.to, end), known=False)
        from_ = max(from_, doubt.to)
    yield Interval(from_=from_, to=end, known=True)


def _rated(span: Interval, deployment: DeploymentState) -> list[Interval]:
    """A span, cut where the price changes."""
    rates = _rates(deployment)
    ends = [since for since, _ in rates[1:]] + [None]
    return [
        Interval(
            from_=span.from_ if since is None else max(span.from_, since),
            to=span.to if until is None else min(span.to, until),
            known=span.known,
            hourly=hourly,
        )
        for (since, hourly), until in zip(rates, ends, strict=True)
    ]


def _rates(deployment: DeploymentState) -> list[tuple[datetime | None, Decimal | None]]:
    """(since when, rate), in order; the first holds from the beginning."""
    if not deployment.rates:
        return [(None, deployment.hourly)]
    return [(one.from_, one.hourly) for one in deployment.rates]


def _clip(one: Interval, from_: datetime, to: datetime) -> Interval:
    return Interval(from_=max(one.from_, from_), to=min(one.to, to), known=one.known, hourly=one.hourly)
