"""The accounts of a year: their prices, which change as price lists do, and their own meters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.ports import DeploymentRequest
from registry.domain.states import ConnectionState
from tests.cloud import Deployed, Job
from tests.fakes import FakeProvider
from tests.simulation.meter import Meter, Tariff
from tests.simulation.sky import Sky, StormyCloud, StormyProviders

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
COMMITMENT = timedelta(days=30)
ANNOUNCED, DEARER = datetime(2027, 5, 20, tzinfo=UTC), datetime(2027, 7, 1, tzinfo=UTC)
LONG_H = (1.0, 40.0)
"""How long a training takes whose end nobody waits for."""
BARGAIN = datetime(2027, 9, 17, tzinfo=UTC)
"""On this day a price falls at once."""


def price(provider: str, unit: str, amount: str, currency: str, **more: object) -> dict[str, object]:
    told = {"provider": provider, "unit": unit, "price": amount, "currency": currency}
    return {**told, "source": "the year's price list", **more}


PRICES = (
    price("azure-openai", "hour", "1.80", "USD", sku="Standard"),
    price("azure-openai", "1M-tokens", "25.50", "USD"),
    price("openai", "1M-tokens", "3.10", "USD"),
    price("bedrock", "model-unit-hour", "21.18", "EUR"),
    price("bedrock", "1M-tokens", "8", "EUR"),
)
LATER = (*PRICES, price("azure-openai", "hour", "2.125", "USD", sku="Standard", effective=DEARER.date()))
LESS = (*PRICES[1:], price("azure-openai", "hour", "1.95", "USD", sku="Standard"))
DOCUMENT = {
    "connections": {
        "cloud": {"provider": "azure-openai", "sku": "Standard"},
        "alone": {"provider": "openai"},
        "aws": {"provider": "bedrock", "region": "eu-central-1", "model_units": 2},
    },
    "models": {
        "bot": {"policy": {"superseded_grace": "10m", "orphans": "adopt"}},
        "desk": {"policy": {"superseded_grace": "2h", "idle_delete": "4d"}},
    },
    "policy": {"orphans": "delete"},
    "scheduler": {"poll": "15s"},
    "prices": PRICES,
}


def tariffs() -> dict[str, Tariff]:
    return {
        "cloud": Tariff("USD", [(BEGIN, Decimal("1.80")), (DEARER, Decimal("2.125"))], Decimal("25.50")),
        "alone": Tariff("USD", [(BEGIN, Decimal(0))], Decimal("3.10")),
        "aws": Tariff("EUR", [(BEGIN, Decimal("42.36"))], Decimal(8)),
    }


class BillingCloud(StormyCloud):
    """It meters itself. Trainings take so many tokens as they take, and some of them hours, so that they end unseen,
    also in another month; now and then somebody commits to a month.
    """

    def __init__(self, name: str, sky: Sky, tariff: Tariff) -> None:
        super().__init__(name, sky, serving="none" if name == "alone" else "deployment")
        self.meter = Meter(self, tariff)

    def next_id(self, kind: str) -> str:
        """No two accounts have one id: a bill may be of several."""
        return f"{self.name}-{super().next_id(kind)}"

    def _job(self, request: Any) -> Job:
        job = super()._job(request)
        job.tokens = self.sky.random.randint(10_000, 4_000_000)
        if self.sky.random.random() < 0.25:
            job.finished_at = self.clock.time + timedelta(hours=self.sky.random.uniform(*LONG_H))
        return job

    def progress(self, job: Job) -> None:
        if job.finished_at is not None and self.clock.time < job.finished_at:
            return
        before = job.outcome
        super().progress(job)
        if job.outcome != before and job.outcome == "succeeded":
            assert job.finished_at is not None
            self.meter.training(job, job.finished_at)

    def create(self, request: DeploymentRequest) -> Deployed:
        known = len(self.bills)
        one = super().create(request)
        if len(self.bills) > known and self.name == "aws" and self.sky.random.random() < 0.4:
            self.bills[-1].committed_until = one.committed_until = one.created_at + COMMITMENT
        return one


class BillingProviders(StormyProviders):
    def __init__(self, sky: Sky) -> None:
        super().__init__(sky)
        for name, tariff in tariffs().items():
            self.clouds[name] = BillingCloud(name, sky, tariff)

    def of(self, connection: ConnectionState) -> FakeProvider:
        return FakeProvider(self.clouds[connection.name])

    def metered(self) -> Sequence[BillingCloud]:
        return [cloud for cloud in self.clouds.values() if isinstance(cloud, BillingCloud)]
