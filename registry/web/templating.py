"""Jinja2 with everything escaped, and how times, money and figures are written on a page."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from registry.application.views import TrainingCostView, to_json
from registry.web import words

MINUTE, HOUR, DAY = 60, 3600, 86400
CENTS = Decimal("0.01")
NONE = "\N{EN DASH}"
STATIC = ("tenure.css", "tenure.js", "icon.svg")


@cache
def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("registry.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (ago, day, exact, lasting, machine, loss, money, pretty, rate, number, quantity)
    named: dict[str, Any] = {one.__name__: one for one in filters}
    env.filters.update(**named, for_=lasted, tone=words.tone)
    env.globals.update(asset=asset, sentence=words.sentence)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return env


@cache
def asset(name: str) -> str:
    """The address of a static file, with its digest: it may be cached for ever."""
    content = (files("registry.web") / "static" / name).read_bytes()
    return f"/static/{name}?{hashlib.sha256(content).hexdigest()[:12]}"


def machine(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def exact(time: datetime | None) -> str:
    """`22 Nov 2026, 20:10:03 UTC`"""
    return f"{time.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC" if time else "not known"


def day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%-d %b %Y}"


def ago(time: datetime | None, now: datetime) -> Markup:
    """How long before `now`, with the exact time for whoever asks."""
    if time is None:
        return Markup('<span class="none">not known</span>')
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine(time), exact(time), _since(time, now))


def lasting(time: datetime | None, now: datetime) -> Markup:
    """For how long it has lasted, with when it began for whoever asks."""
    if time is None:
        return Markup('<span class="none">not known</span>')
    span = lasted(max((now - time).total_seconds(), 0.0))
    return Markup('<time datetime="{}" title="{}" data-lasting>{}</time>').format(machine(time), exact(time), span)


def _since(time: datetime, now: datetime) -> str:
    seconds = (now - time).total_seconds()
    if seconds < 0:
        return f"in {lasted(-seconds)}"
    return "just now" if seconds < MINUTE / 12 else f"{lasted(seconds)} ago"


def lasted(span: timedelta | float | None) -> str:
    """`40 s`, `12 min`, `3 h 5 min`, `12 d 4 h`"""
    if span is None:
        return "not known"
    seconds = int(span.total_seconds() if isinstance(span, timedelta) else span)
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min"
    if seconds < DAY:
        minutes = seconds % HOUR // MINUTE
        return f"{seconds // HOUR} h" + (f" {minutes} min" if minutes else "")
    hours = seconds % DAY // HOUR
    return f"{seconds // DAY} d" + (f" {hours} h" if hours and seconds < 100 * DAY else "")


def money(amount: Decimal | str | None, currency: str | None = "USD") -> Markup:
    """To the cent; less than a cent that is not nothing is told with what it has."""
    if amount is None:
        return Markup('<span class="none">price unknown</span>')
    value = Decimal(amount)
    text = f"{value:,.4f}" if value and abs(value) < CENTS else f"{value:,.2f}"
    return Markup('<span class="money">{}&nbsp;<small>{}</small></span>').format(text, currency or "USD")


def rate(amount: Decimal | str | None, currency: str | None = "USD") -> Markup:
    if amount is None:
        return Markup('<span class="none">price unknown</span>')
    return Markup('<span class="money">{}<small class="per">/h</small></span>').format(money(amount, currency))


def loss(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else NONE


def number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | Decimal) else NONE if value is None else str(value)


def quantity(cost: TrainingCostView) -> str:
    """`1,200,000 tokens`; of a device, for how long: `21 min`"""
    if cost.quantity is None:
        return "not known"
    if cost.unit == "1M-tokens":
        return f"{cost.quantity * 1_000_000:,.0f} tokens"
    return lasted(float(cost.quantity) * HOUR)


def pretty(value: object) -> str:
    """JSON as people read it."""
    return json.dumps(to_json(value), indent=2, ensure_ascii=False)
