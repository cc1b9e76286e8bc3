"""What an hour of a deployment and a training cost: the user's own entries, then the price book that comes along.

Every entry has a source and a date; pages of providers contradict each other, so a price is data that says where it is
from. The newest entry in force wins among those that fit best; where there is none the price is unknown, never zero.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import cast

from registry.application.focus import SERVICES
from registry.domain.errors import BadInputError
from registry.domain.events import Json, Price, Rate, UnitPrice
from registry.domain.ledger import NANO, rate_at
from registry.domain.policy import amount
from registry.domain.states import ConnectionState, DeploymentState

PRICE_KEYS = ("provider", "sku", "unit", "price", "currency", "source", "effective", "region", "model")
_CURRENCY = re.compile("[A-Z]{3}")
UNITS = ("hour", "model-unit-hour", "1M-tokens", "month")
TRAINING = "training"
"""The `sku` of an hourly price that is for training alone."""
PROVISIONED = "provisioned-throughput"
HOURS_PER_MONTH = Decimal(730)
"""A price by the month is charged by the hour, 8760 hours a year, as AWS reckons."""
BOOK = Path(__file__).with_name("price_book.toml")


def check_price(entry: Mapping[str, object]) -> Json:
    """One [[prices]] table as it is kept. Raises BadInputError naming the key."""
    for key in entry:
        if key not in PRICE_KEYS:
            raise BadInputError(f"{key!r} is not a price key; known: {', '.join(PRICE_KEYS)}", field=key)
    for key in ("provider", "unit", "price", "currency", "source"):
        if key not in entry:
            raise BadInputError(f"a price needs {key!r}", field=key)
    if entry["unit"] not in UNITS:
        raise BadInputError(f"unit = {entry['unit']!r} is not one of {', '.join(UNITS)}", field="unit")
    if entry["provider"] not in SERVICES:
        known = ", ".join(SERVICES)
        raise BadInputError(f"provider = {entry['provider']!r} is not one of {known}", field="provider")
    amount(entry["price"], "price")
    if not isinstance(entry["currency"], str) or _CURRENCY.fullmatch(entry["currency"]) is None:
        message = f"currency = {entry['currency']!r} is not a code of ISO 4217: write USD"
        raise BadInputError(message, field="currency")
    for key in ("sku", "source", "region", "model"):
        if not isinstance(entry.get(key, ""), str):
            raise BadInputError(f"{key} = {entry[key]!r} is not a text", field=key)
    return {**entry, "effective": _effective(entry["effective"])} if "effective" in entry else dict(entry)


def _effective(written: object) -> str:
    """Entries are ordered by this text, so a day is always written in one way."""
    try:
        day = written if isinstance(written, date) else date.fromisoformat(str(written))
    except ValueError:
        day = None
    if day is None or isinstance(day, datetime):
        raise BadInputError(f"effective = {written!r} is not a date: write 2026-10-01", field="effective")
    return day.isoformat()


@cache
def price_book() -> tuple[Json, ...]:
    """The prices that come along, read once; checked as the user's are."""
    document = tomllib.loads(BOOK.read_text("utf-8"))
    return tuple(check_price(entry) for entry in cast("list[Json]", document["prices"]))


def hourly_price(
    prices: Sequence[Json],
    *,
    provider: str,
    sku: str | None,
    units: Decimal,
    now: datetime,
    model: str | None = None,
    region: str | None = None,
) -> Price:
    """What an hour of a deployment costs from now on. `prices`: the user's own; `model`: the base model."""
    entries = _serving(prices, provider)
    wanted = {"sku": sku, "model": model, "region": region}
    entry = _best(entries, wanted, _day(now))
    if entry is None:
        return Price(hourly=None, currency="USD", source="unknown", units=units, sku=sku)
    currency, hourly = str(entry["currency"]), _hourly(entry, units)
    later: list[Rate] = []
    for day in sorted({str(one.get("effective", "")) for _, one in entries}):
        then = _best(entries, wanted, day)
        if day <= _day(now) or then is None or then["currency"] != currency:
            continue
        if _hourly(then, units) != (later[-1].hourly if later else hourly):
            later.append(Rate(from_=datetime.fromisoformat(day).replace(tzinfo=UTC), hourly=_hourly(then, units)))
    return Price(hourly=hourly, currency=currency, source=_source(entry), units=units, sku=sku, later=tuple(later))


def changed_price(deployment: DeploymentState, price: Price, now: datetime) -> bool:
    """Whether a deployment that is there is to cost something else from now on.

    It keeps what it costs where no price is known any more, and where the new one is in another currency: a deployment
    has one currency.
    """
    known = rate_at(deployment, now)
    if price.hourly is None or (known is not None and price.currency != deployment.currency):
        return False
    later = tuple(one for one in deployment.rates if one.from_ is not None and one.from_ > now)
    return (known, later) != (price.hourly, price.later)


def training_price(
    prices: Sequence[Json],
    *,
    provider: str,
    sku: str | None,
    now: datetime,
    model: str | None = None,
    region: str | None = None,
) -> UnitPrice | None:
    """What training costs from now on: by the token, or by the hour of the device. None where no price is known."""
    entry = _best(_training(prices, provider), {"sku": sku, "model": model, "region": region}, _day(now))
    if entry is None:
        return None
    unit = "1M-tokens" if entry["unit"] == "1M-tokens" else "hour"
    price = amount(entry["price"], "price")
    return UnitPrice(amount=price, unit=unit, currency=str(entry["currency"]), source=_source(entry))


def serving_sku(connection: ConnectionState) -> tuple[str | None, Decimal]:
    """What a new deployment at a connection is billed as, and how many units of it."""
    settings = connection.settings
    match connection.provider:
        case "azure-openai":
            return str(settings.get("sku", "Standard")), Decimal(str(settings.get("capacity", 1)))
        case "bedrock":
            return str(settings.get("serving", PROVISIONED)), Decimal(str(settings.get("model_units", 1)))
        case _:
            return None, Decimal(1)


def training_sku(connection: ConnectionState) -> str | None:
    if connection.provider != "azure-openai":
        return None
    return str(connection.settings.get("training_type", "GlobalStandard"))


def region_of(connection: ConnectionState) -> str | None:
    region = connection.settings.get("region")
    return None if region is None else str(region)


Ranked = tuple[bool, Json]
"""Whether it is the user's own, and the entry."""


def _of(prices: Sequence[Json], provider: str) -> list[Ranked]:
    every = [*((True, one) for one in prices), *((False, one) for one in price_book())]
    return [(own, one) for own, one in every if one["provider"] == provider]


def _serving(prices: Sequence[Json], provider: str) -> list[Ranked]:
    """A model unit is one of provisioned throughput, also where its price does not say so."""
    return [
        (own, {"sku": PROVISIONED, **one} if provider == "bedrock" and one["unit"] == "model-unit-hour" else one)
        for own, one in _of(prices, provider)
        if one["unit"] != "1M-tokens" and one.get("sku") != TRAINING
    ]


def _training(prices: Sequence[Json], provider: str) -> list[Ranked]:
    """Tokens; hours only where they say that they are for training, or where serving and training are one device."""
    local = provider == "huggingface"
    return [
        (own, {**one, "sku": None} if one.get("sku") == TRAINING else one)
        for own, one in _of(prices, provider)
        if one["unit"] == "1M-tokens" or (one["unit"] == "hour" and (one.get("sku") == TRAINING or local))
    ]


def _best(entries: Iterable[Ranked], wanted: Mapping[str, str | None], day: str) -> Json | None:
    """In force on a day, and for nothing else than what is wanted: one's own first, the closest, the newest."""
    fitting = [
        (own, sum(entry.get(key) is not None for key in wanted), str(entry.get("effective", "")), entry)
        for own, entry in entries
        if all(entry.get(key) in {None, value} for key, value in wanted.items())
        and str(entry.get("effective", "")) <= day
    ]
    return max(fitting, key=lambda one: one[:3])[3] if fitting else None


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()


def _hourly(entry: Json, units: Decimal) -> Decimal:
    price = amount(entry["price"], "price") * units
    return (price / HOURS_PER_MONTH).quantize(NANO) if entry["unit"] == "month" else price


def _source(entry: Json) -> str:
    effective = entry.get("effective")
    return f"{entry['source']}, {effective}" if effective else str(entry["source"])
