"""A bill from a file: FOCUS, AWS CUR and CUR 2.0, Azure's cost export, OpenAI's costs; CSV or Parquet, read by DuckDB.

Which it is, is told by its columns, whatever their case. Lines are added up by resource in DuckDB: a bill may be large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from registry.application.bills import Bill, BillLine
from registry.domain.errors import BadInputError
from registry.store.interrupts import interruptible


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """`columns`: which column holds what, the first that is there. `sign`: columns that only this format has."""

    name: str
    sign: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    provider: str | None = None


FORMATS = (
    _Format(
        name="FOCUS",
        sign=("billedcost", "chargeperiodstart", "billingcurrency"),
        columns={
            "cost": ("billedcost",),
            "currency": ("billingcurrency",),
            "start": ("chargeperiodstart",),
            "stop": ("chargeperiodend",),
            "resource": ("resourceid",),
            "name": ("resourcename",),
            "service": ("servicename",),
            "tags": ("tags",),
            "seller": ("serviceprovidername", "providername"),
        },
    ),
    _Format(
        name="AWS CUR",
        sign=("lineitem/unblendedcost", "lineitem/usagestartdate"),
        provider="bedrock",
        columns={
            "cost": ("lineitem/unblendedcost",),
            "currency": ("lineitem/currencycode",),
            "start": ("lineitem/usagestartdate",),
            "stop": ("lineitem/usageenddate",),
            "resource": ("lineitem/resourceid",),
            "service": ("lineitem/productcode", "product/productname"),
            "tags": ("resourcetags/user:tenure-deployment",),
        },
    ),
    _Format(
        name="AWS CUR 2.0",
        sign=("line_item_unblended_cost", "line_item_usage_start_date"),
        provider="bedrock",
        columns={
            "cost": ("line_item_unblended_cost",),
            "currency": ("line_item_currency_code",),
            "start": ("line_item_usage_start_date",),
            "stop": ("line_item_usage_end_date",),
            "resource": ("line_item_resource_id",),
            "service": ("line_item_product_code", "product_servicecode"),
            "tags": ("resource_tags",),
        },
    ),
    _Format(
        name="Azure cost export",
        sign=("metercategory", "resourceid", "date"),
        provider="azure-openai",
        columns={
            "cost": ("costinbillingcurrency", "pretaxcost", "cost"),
            "currency": ("billingcurrency", "billingcurrencycode", "currency"),
            "start": ("date",),
            "resource": ("resourceid",),
            "name": ("resourcename",),
            "service": ("metercategory",),
            "tags": ("tags",),
        },
    ),
    _Format(
        name="OpenAI costs",
        sign=("amount_value", "line_item"),
        provider="openai",
        columns={
            "cost": ("amount_value",),
            "currency": ("amount_currency",),
            "start": ("start_time_iso", "start_time"),
            "stop": ("end_time_iso", "end_time"),
            "resource": ("line_item",),
            "name": ("project_name",),
        },
    ),
)
SELLERS = {
    "microsoft": "azure-openai",
    "azure": "azure-openai",
    "aws": "bedrock",
    "amazon": "bedrock",
    "openai": "openai",
    "self-hosted": "huggingface",
}
"""Part of a seller's name in FOCUS -> the provider."""


def read_bill(path: Path) -> Bill:
    """Raises BadInputError naming the file and what is wrong with it."""
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file", field="--reconcile")
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    with duckdb.connect(":memory:", config=config) as connection, interruptible(connection):
        try:
            return _read(connection, path)
        except duckdb.Error as error:
            message = str(error).partition("\n")[0]
            raise BadInputError(f"{path} cannot be read as CSV or Parquet: {message}", field="--reconcile") from error


def _read(connection: duckdb.DuckDBPyConnection, path: Path) -> Bill:
    name = _quoted(path)
    source = (
        f"read_parquet({name})" if path.suffix == ".parquet" else f"read_csv({name}, header=true, all_varchar=true)"
    )
    connection.execute(f"CREATE VIEW file AS SELECT * FROM {source}")  # noqa: S608 -- a view takes no parameters
    found = {name.lower(): name for name, *_ in connection.execute("DESCRIBE file").fetchall()}
    form = next((one for one in FORMATS if all(name in found for name in one.sign)), None)
    if form is None:
        raise BadInputError(
            f"{path} is no bill that is known here: its columns are {', '.join(list(found.values())[:8])} …",
            field="--reconcile",
            hint=f"known: {', '.join(one.name for one in FORMATS)}; CSV or Parquet",
        )
    rows = connection.execute(_summed(form, found)).fetchall()
    sellers = {str(row[8] or "").lower() for row in rows}
    starts, ends = [row[6] for row in rows if row[6]], [row[7] for row in rows if row[7]]
    if not starts:
        raise BadInputError(f"{path} has no line with a date that can be read", field="--reconcile")
    return Bill(
        format=form.name,
        providers=frozenset({form.provider} if form.provider else _providers(sellers)),
        from_=_aware(min(starts)),
        to=_aware(max(ends)),
        lines=tuple(_line(row) for row in rows),
    )


def _summed(form: _Format, found: Mapping[str, str]) -> str:
    def column(key: str) -> str:
        name = next((found[name] for name in form.columns.get(key, ()) if name in found), None)
        if name is None:
            return "NULL::VARCHAR"
        quoted = name.replace('"', '""')
        return f"nullif(trim(\"{quoted}\"::VARCHAR), '')"

    start, stop = _time(column("start")), _time(column("stop"))
    return f"""
    SELECT {column("resource")}, {column("name")}, {column("service")}, {column("tags")},
      upper(coalesce({column("currency")}, 'USD')), sum({column("cost")}::DECIMAL(38, 12)),
      min({start}), max(coalesce({stop}, {start} + INTERVAL 1 DAY)), {column("seller")}, count(*)
    FROM file GROUP BY ALL"""  # noqa: S608 -- names of the file's own columns, quoted


def _time(text: str) -> str:
    """ISO 8601, a date as Azure writes it, or seconds since 1970."""
    return (
        f"coalesce(try_cast({text} AS TIMESTAMP), try_strptime({text}, ['%m/%d/%Y', '%m/%d/%Y %H:%M']), "
        f"make_timestamp(try_cast({text} AS BIGINT) * 1000000))"
    )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _providers(sellers: set[str]) -> set[str]:
    return {provider for word, provider in SELLERS.items() for seller in sellers if word in seller}


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC)


def _line(row: Any) -> BillLine:  # noqa: ANN401 -- DuckDB's
    resource, name, service, tags, currency, cost, _, _, _, lines = row
    return BillLine(
        resource=resource,
        name=name,
        service=service,
        tags=tags,
        currency=currency,
        cost=cost or Decimal(0),
        lines=lines,
    )
