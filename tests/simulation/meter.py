"""An account's own bill: from what it accepted until it was gone, at its own prices. Nothing here is the registry's."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tests.cloud import Job
from tests.simulation.sky import StormyCloud

MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_PER_HOUR = Decimal(3_600_000_000)
FOCUS = (
    *("BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargePeriodEnd", "ResourceId", "ResourceName"),
    *("ServiceName", "ServiceProviderName", "Tags"),
)
CUR = (
    *("line_item_unblended_cost", "line_item_currency_code", "line_item_usage_start_date", "line_item_usage_end_date"),
    *("line_item_resource_id", "line_item_product_code", "resource_tags"),
)


@dataclass(slots=True)
class Tariff:
    """`hourly`: what an hour costs, since when, the earliest first. `tokens`: what a million of them costs."""

    currency: str
    hourly: list[tuple[datetime, Decimal]]
    tokens: Decimal


@dataclass(frozen=True, slots=True)
class Trained:
    ref: str
    at: datetime
    cost: Decimal


@dataclass(slots=True)
class Meter:
    cloud: StormyCloud
    tariff: Tariff
    trained: list[Trained] = field(default_factory=list[Trained])

    def training(self, job: Job, at: datetime) -> None:
        """A job has ended well."""
        ref = f"{job.request.model}@{job.request.version}"
        self.trained.append(Trained(ref, at, self.tariff.tokens * job.tokens / 1_000_000))

    def serving(self, from_: datetime, to: datetime) -> Mapping[str, Decimal]:
        """What each deployment has cost within [from_, to), by the account's id for it."""
        costs: dict[str, Decimal] = {}
        for id_, spans in self._spans(to).items():
            cost = sum((self._cost(max(start, from_), min(end, to)) for start, end in spans), Decimal(0))
            if cost:
                costs[id_] = cost
        return costs

    def rate(self, at: datetime) -> Decimal:
        return next(hourly for since, hourly in reversed(self.tariff.hourly) if since <= at)

    def _spans(self, now: datetime) -> Mapping[str, Sequence[tuple[datetime, datetime]]]:
        """No moment is billed twice, though one was gone and came back, or was committed to."""
        spans: dict[str, list[tuple[datetime, datetime]]] = {}
        for bill in self.cloud.bills:
            end = bill.to or now
            if bill.committed_until is not None:
                end = max(end, bill.committed_until)
            spans.setdefault(bill.id, []).append((bill.from_, end))
        return {id_: _apart(many) for id_, many in spans.items()}

    def _cost(self, from_: datetime, to: datetime) -> Decimal:
        changes = [since for since, _ in self.tariff.hourly if from_ < since < to]
        cost = Decimal(0)
        for start, end in zip([from_, *changes], [*changes, to], strict=True):
            if start < end:
                cost += self.rate(start) * ((end - start) // MICROSECOND) / MICROSECONDS_PER_HOUR
        return cost

    # As files

    def write(self, path: Path, from_: datetime, to: datetime) -> Path:
        """The bill of a time, as such an account's owner gets it: by the day, and AWS's in AWS's form."""
        aws = self.cloud.name == "aws"
        rows = list(self._aws(from_, to) if aws else self._focus(from_, to))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CUR if aws else FOCUS)
            writer.writerows(rows)
        return path

    def _focus(self, from_: datetime, to: datetime) -> Iterable[Sequence[object]]:
        seller = {"cloud": ("Azure OpenAI", "Microsoft"), "alone": ("OpenAI API", "OpenAI")}[self.cloud.name]
        names = {bill.id: bill.name for bill in self.cloud.bills}
        for start, end, id_, cost in self._by_day(from_, to):
            yield (_exact(cost), self.tariff.currency, *_ends(start, end), id_, names[id_], *seller, "")
        for one in self._trainings(from_, to):
            times = _ends(*_day(one.at))
            yield (_exact(one.cost), self.tariff.currency, *times, one.ref, "", *seller, "")

    def _aws(self, from_: datetime, to: datetime) -> Iterable[Sequence[object]]:
        for start, end, id_, cost in self._by_day(from_, to):
            tags = json.dumps({"tenure": "test12"})
            yield (_exact(cost), self.tariff.currency, *_ends(start, end), id_, "AmazonBedrock", tags)
        for one in self._trainings(from_, to):
            times = _ends(*_day(one.at))
            yield (_exact(one.cost), self.tariff.currency, *times, one.ref, "AmazonBedrock", "")

    def _by_day(self, from_: datetime, to: datetime) -> Iterable[tuple[datetime, datetime, str, Decimal]]:
        while from_ < to:
            end = min(from_ + timedelta(days=1), to)
            yield from ((from_, end, id_, cost) for id_, cost in self.serving(from_, end).items())
            from_ = end

    def _trainings(self, from_: datetime, to: datetime) -> Iterable[Trained]:
        return (one for one in self.trained if from_ <= one.at < to)


def _apart(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    apart: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _day(at: datetime) -> tuple[datetime, datetime]:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight, midnight + timedelta(days=1)


def _exact(cost: Decimal) -> str:
    return format(cost.quantize(Decimal("1e-10")), "f")


def _ends(from_: datetime, to: datetime) -> tuple[str, str]:
    return from_.strftime("%Y-%m-%dT%H:%M:%SZ"), to.strftime("%Y-%m-%dT%H:%M:%SZ")
