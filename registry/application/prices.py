"""What an hour of a deployment costs, from the price book: entries with a source and a date, the user's own first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal

from registry.domain.errors import BadInputError
from registry.domain.events import Json, Price
from registry.domain.policy import amount

PRICE_KEYS = ("provider", "sku", "unit", "price", "currency", "source", "effective", "region", "model")
UNITS = ("hour", "model-unit-hour", "1M-tokens", "month")
LOCAL = Price(hourly=Decimal("0.00"), currency="USD", source="runs on this machine")


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
    amount(entry["price"], "price")
    effective = entry.get("effective")
    if effective is not None and not isinstance(effective, date):
        try:
            date.fromisoformat(str(effective))
        except ValueError as error:
            message = f"effective = {effective!r} is not a date: write 2026-10-01"
            raise BadInputError(message, field="effective") from error
    return {key: value.isoformat() if isinstance(value, date) else value for key, value in entry.items()}


def hourly_price(prices: Iterable[Json], *, provider: str, sku: str | None, units: Decimal, now: datetime) -> Price:
    """The newest entry in force for an hour of this; `hourly` None where there is none: unknown, never zero."""
    if provider == "huggingface":
        return LOCAL
    fitting = [
        entry
        for entry in prices
        if entry["provider"] == provider
        and entry["unit"] in {"hour", "model-unit-hour"}
        and entry.get("sku") in {None, sku}
        and str(entry.get("effective", "")) <= now.date().isoformat()
    ]
    if not fitting:
        return Price(hourly=None, currency="USD", source="unknown", units=units)
    newest = max(fitting, key=lambda entry: (entry.get("sku") == sku, str(entry.get("effective", ""))))
    return Price(
        hourly=amount(newest["price"], "price") * units,
        currency=str(newest["currency"]),
        source=str(newest["source"]),
        units=units,
    )
