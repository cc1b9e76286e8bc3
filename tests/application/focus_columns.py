"""What FOCUS 1.2 says of its mandatory columns, and the two that 1.3 adds, as a validator.

https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2, specification/columns and attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

Row = Mapping[str, str]

_DECIMAL = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_CURRENCY = re.compile(r"[A-Z]{3}")
_OWN = re.compile(r"x_[A-Z][A-Za-z0-9]*")
CATEGORIES = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
SERVICES = {
    *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools"),
    *("Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration"),
    *("Mobile", "Networking", "Security", "Storage", "Web", "Other"),
}


@dataclass(frozen=True)
class Column:
    type: str
    null: bool = False
    allowed: frozenset[str] = frozenset()


MANDATORY: Mapping[str, Column] = {
    "BilledCost": Column("decimal"),
    "BillingAccountId": Column("string"),
    "BillingAccountName": Column("string", null=True),
    "BillingCurrency": Column("currency"),
    "BillingPeriodEnd": Column("time"),
    "BillingPeriodStart": Column("time"),
    "ChargeCategory": Column("string", allowed=frozenset(CATEGORIES)),
    "ChargeClass": Column("string", null=True, allowed=frozenset({"Correction"})),
    "ChargeDescription": Column("string", null=True),
    "ChargePeriodEnd": Column("time"),
    "ChargePeriodStart": Column("time"),
    "ContractedCost": Column("decimal"),
    "EffectiveCost": Column("decimal"),
    "InvoiceIssuerName": Column("string"),
    "ListCost": Column("decimal"),
    "PricingQuantity": Column("decimal", null=True),
    "PricingUnit": Column("string", null=True),
    "ProviderName": Column("string"),
    "PublisherName": Column("string"),
    "ServiceCategory": Column("string", allowed=frozenset(SERVICES)),
    "ServiceName": Column("string"),
}
ADDED_IN_1_3: Mapping[str, Column] = {"ServiceProviderName": Column("string"), "HostProviderName": Column("string")}
OPTIONAL: Mapping[str, Column] = {
    "ChargeFrequency": Column("string", allowed=frozenset({"One-Time", "Recurring", "Usage-Based"})),
    "ConsumedQuantity": Column("decimal", null=True),
    "ConsumedUnit": Column("string", null=True),
    "ContractedUnitPrice": Column("decimal", null=True),
    "ListUnitPrice": Column("decimal", null=True),
    "PricingCategory": Column("string", null=True, allowed=frozenset({"Standard", "Dynamic", "Committed", "Other"})),
    "ResourceId": Column("string", null=True),
    "ResourceName": Column("string", null=True),
    "ResourceType": Column("string", null=True),
    "ServiceSubcategory": Column("string"),
    "Tags": Column("json", null=True),
}
"""Of the conditional and recommended columns, those that are written here."""


def faults(header: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """What is wrong with a file, one sentence each; an empty text is null."""
    known = {**MANDATORY, **ADDED_IN_1_3, **OPTIONAL}
    found = [f"{name} is missing" for name in (*MANDATORY, *ADDED_IN_1_3) if name not in header]
    found += [f"{name} is not a column's name" for name in header if name not in known and not _OWN.match(name)]
    own = [name in known for name in header]
    found += [] if own == sorted(own, reverse=True) else ["custom columns stand between FOCUS's"]
    for number, row in enumerate(rows, 1):
        found += [f"row {number}: {fault}" for fault in _row_faults(row, known)]
    return found


def _row_faults(row: Row, known: Mapping[str, Column]) -> list[str]:
    found = [fault for name, column in known.items() if name in row and (fault := _fault(name, row[name], column))]
    return found or _relations(row)


def _fault(name: str, value: str, column: Column) -> str | None:
    if value == "":
        return None if column.null else f"{name} is null"
    pattern = {"decimal": _DECIMAL, "time": _TIME, "currency": _CURRENCY}.get(column.type)
    if pattern is not None and pattern.fullmatch(value) is None:
        return f"{name} = {value!r} is not a {column.type}"
    if column.allowed and value not in column.allowed:
        return f"{name} = {value!r} is not allowed"
    return None


def _relations(row: Row) -> list[str]:
    found: list[str] = []
    if not row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]:
        found.append("the charge period does not lie in the billing period")
    if row["ChargePeriodStart"] >= row["BillingPeriodEnd"]:
        found.append("the charge begins after its billing period")
    if row["ChargeCategory"] == "Usage" and not row["ChargeClass"] and not row["PricingQuantity"]:
        found.append("PricingQuantity is null for usage")
    if bool(row["PricingQuantity"]) != bool(row["PricingUnit"]):
        found.append("PricingQuantity without PricingUnit, or the other way round")
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        if row.get(price) and abs(Decimal(row[price]) * Decimal(row["PricingQuantity"]) - Decimal(row[cost])) > Decimal(
            "0.00001"
        ):
            found.append(f"{price} x PricingQuantity is not {cost}")
    if row.get("ResourceId") and not row.get("ResourceType"):
        found.append("ResourceId without ResourceType")
    return found
