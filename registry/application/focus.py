"""The audit as FOCUS 1.2 rows (FinOps Open Cost and Usage Specification), with the two names that 1.3 adds.

https://focus.finops.org/focus-specification/v1-2/. One row for each month, deployment and price; one for each training.
FOCUS allows no cost that is null and no zero in its place, so what has no known price has no row, and is counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from registry.application.ports import Billed, Trained
from registry.domain.ledger import MICROSECOND, NANO, Charge, training_quantity
from registry.domain.states import ConnectionState

SECOND = timedelta(seconds=1)
MICROSECONDS_PER_HOUR = Decimal(3_600_000_000)
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "Tags",
    "x_Connection",
    "x_Deployment",
    "x_Known",
    "x_Model",
    "x_Reason",
    "x_RequestedBy",
    "x_Version",
)
"""FOCUS's own in alphabetical order, then ours."""

SERVICES: Mapping[str, tuple[str, str]] = {
    "azure-openai": ("Microsoft", "Azure OpenAI"),
    "bedrock": ("AWS", "Amazon Bedrock"),
    "openai": ("OpenAI", "OpenAI API"),
    "huggingface": ("Self-hosted", "Own hardware"),
}
"""Provider -> who sells and hosts it, and under what name."""

Row = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """`unpriced`: how many charges have no row, because their price is unknown."""

    rows: Sequence[Row]
    unpriced: int

    @classmethod
    def of_csv(cls, text: str, *, unpriced: int) -> Focus:
        rows = csv.DictReader(io.StringIO(text))
        return cls(rows=[{name: value or None for name, value in row.items()} for row in rows], unpriced=unpriced)

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row.get(column) for column in COLUMNS] for row in self.rows)
        return out.getvalue()


def month_of(time: datetime) -> tuple[datetime, datetime]:
    """The calendar month in UTC: its first moment, and the next one's."""
    start = time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)


def serving_rows(billed: Billed, connection: ConnectionState | None) -> Iterable[Row]:
    """`billed`: within one month."""
    for charge in billed.charges:
        if charge.cost is not None and charge.hourly is not None:
            yield _serving(billed, charge, charge.cost, charge.hourly, connection)


def _serving(billed: Billed, charge: Charge, cost: Decimal, hourly: Decimal, connection: ConnectionState | None) -> Row:
    one = billed.deployment
    ref = f"{one.model}@{one.version}" if one.model else None
    hours = (Decimal((charge.to - charge.from_) // MICROSECOND) / MICROSECONDS_PER_HOUR).quantize(NANO)
    unsure = "" if charge.known else "; not known whether it was there"
    return {
        **_seller(one.provider, one.connection, connection, one.provider_id),
        **_costs(cost, one.currency, hourly, hours, "Hours"),
        **_times(charge.from_, charge.to),
        "ChargeDescription": f"Hosting of {ref or 'an unclaimed deployment'}{unsure}",
        "ConsumedQuantity": _number(hours),
        "ConsumedUnit": "Hours",
        "ResourceId": one.provider_id or one.id,
        "ResourceName": one.name or one.id,
        "ResourceType": "Model deployment",
        "Tags": _tags(one.model, one.version, one.id),
        "x_Connection": one.connection,
        "x_Deployment": one.id,
        "x_Known": "true" if charge.known else "false",
        "x_Model": one.model or None,
        "x_Reason": one.reason,
        "x_RequestedBy": one.requested_by,
        "x_Version": ref,
    }


def training_row(one: Trained, connection: ConnectionState | None) -> Row | None:
    """None where it has no known cost."""
    if one.cost is None or one.price is None or one.price.amount is None:
        return None
    by_token = one.price.unit == "1M-tokens"
    priced = training_quantity(one.price.unit, tokens=one.tokens or 0, duration_s=one.duration_s or 0.0)
    assert priced is not None
    quantity = Decimal(one.tokens or 0) if by_token else priced
    model, _, version = one.ref.rpartition("@")
    took = max(timedelta(seconds=one.duration_s or 0), SECOND)
    return {
        **_seller(one.provider, one.connection, connection, None),
        **_costs(one.cost, one.price.currency, one.price.amount, priced, "1000000 Tokens" if by_token else "Hours"),
        **_times(max(one.trained_at - took, month_of(one.trained_at)[0]), one.trained_at + SECOND),
        "ChargeDescription": f"Training of {one.ref}",
        "ConsumedQuantity": _number(quantity),
        "ConsumedUnit": "Tokens" if by_token else "Hours",
        "ResourceId": one.ref,
        "ResourceName": one.ref,
        "ResourceType": "Model version",
        "Tags": _tags(model, int(version), None),
        "x_Connection": one.connection,
        "x_Known": "true",
        "x_Model": model,
        "x_Version": one.ref,
    }


def _seller(provider: str, name: str, connection: ConnectionState | None, resource: str | None) -> dict[str, str]:
    company, service = SERVICES.get(provider, (provider, provider))
    return {
        "BillingAccountId": _account(name, connection, resource),
        "BillingAccountName": name,
        "HostProviderName": company,
        "InvoiceIssuerName": company,
        "ProviderName": company,
        "PublisherName": company,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": service,
        "ServiceProviderName": company,
        "ServiceSubcategory": "Generative AI",
    }


def _account(name: str, connection: ConnectionState | None, resource: str | None) -> str:
    """The provider's own account, as far as it is known here: the subscription, or the account of an ARN."""
    parts = (resource or "").split(":")
    if parts[0] == "arn" and len(parts) > 4 and parts[4]:  # noqa: PLR2004 -- arn:aws:bedrock:region:account:…
        return parts[4]
    subscription = connection.settings.get("subscription_id") if connection else None
    return str(subscription) if subscription else name


def _costs(cost: Decimal, currency: str, price: Decimal, quantity: Decimal, unit: str) -> dict[str, str]:
    money = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), _number(cost))
    prices = dict.fromkeys(("ContractedUnitPrice", "ListUnitPrice"), _number(price))
    return {
        **money,
        **prices,
        "BillingCurrency": currency,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
        "PricingQuantity": _number(quantity),
        "PricingUnit": unit,
    }


def _times(from_: datetime, to: datetime) -> dict[str, str]:
    """To the second, as FOCUS writes times: the seconds that it touches."""
    start, end = (time.astimezone(UTC).replace(microsecond=0) for time in (from_, to - MICROSECOND))
    month, next_month = month_of(start)
    return {
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time(next_month),
        "ChargePeriodStart": _time(start),
        "ChargePeriodEnd": _time(end + SECOND),
    }


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: Decimal) -> str:
    return format(value.quantize(NANO).normalize(), "f")


def _tags(model: str, version: int, deployment: str | None) -> str:
    tags = {"tenure-model": model, "tenure-version": f"{model}@{version}", "tenure-deployment": deployment}
    return json.dumps({key: value for key, value in tags.items() if value and model}, separators=(",", ":"))
