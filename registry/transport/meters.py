"""What is counted for Prometheus. Each shell makes its own counters on `registry`; states are read when scraped."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from registry.composition import Registry
from statemachine import VERSION

K = TypeVar("K", bound="str | tuple[str, str]")
V = TypeVar("V", int, Decimal)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
APPEND_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
STATES_KEPT_S = 10.0
"""How long the states that were read for one scrape do for the next, in seconds."""


class Meters:
    def __init__(self, registry: Registry) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.append = Histogram(
            "tenure_append_seconds",
            "From a command's decision to its events being durable",
            buckets=APPEND_S,
            registry=self.registry,
        )
        self.registry.register(States(registry))

    def text(self) -> bytes:
        """May block: it reads the log's read models."""
        return generate_latest(self.registry)


class States:
    """Gauges that are answered from the registry when somebody asks."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._billed: set[str] = set()
        self._rates: set[tuple[str, str]] = set()
        self._kept: tuple[float, list[Metric]] = (-STATES_KEPT_S, [])

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._kept[0] >= STATES_KEPT_S:
                self._kept = (time.monotonic(), [*self._versions(), *self._deployments(), *self._work()])
            yield from self._kept[1]

    def _versions(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily("tenure_versions", "Versions by state", labels=["state"])
        counts = self._registry.log.version_counts()
        for state in VERSION.states:
            gauge.add_metric([state], counts.get(state, 0))
        yield gauge

    def _deployments(self) -> Iterator[Metric]:
        views = self._registry.reading.deployments(billed=True)
        count = GaugeMetricFamily(
            "tenure_deployments_billed", "Deployments that may be billed now", labels=["provider"]
        )
        for provider, number in sorted(_again(self._billed, Tally(one.provider for one in views), 0).items()):
            count.add_metric([provider], number)
        yield count
        rates: dict[tuple[str, str], Decimal] = {}
        unpriced = 0
        for one in views:
            if one.hourly_rate is None:
                unpriced += 1
            else:
                key = (one.provider, one.currency)
                rates[key] = rates.get(key, Decimal(0)) + one.hourly_rate
        labels = ["provider", "currency"]
        rate = GaugeMetricFamily("tenure_billed_rate_per_hour", "What is billed now, an hour", labels=labels)
        for (provider, currency), amount in sorted(_again(self._rates, rates, Decimal(0)).items()):
            rate.add_metric([provider, currency], float(amount))
        yield rate
        yield _gauge("tenure_deployments_unpriced", "Billed deployments whose price is unknown", unpriced)

    def _work(self) -> Iterator[Metric]:
        overdue = self._registry.reconciler.poll_lag().total_seconds()
        yield _gauge("tenure_poll_lag_seconds", "How long the next look at a provider is overdue", max(0.0, overdue))
        yield _gauge("tenure_log_position", "The position of the newest event", self._registry.log.head())
        orphans = len(self._registry.auditing.audit(from_=self._registry.clock()).unknown)
        yield _gauge(
            "tenure_orphans",
            "What providers have of ours, deployments and jobs, that the log cannot account for",
            orphans,
        )


def _again(told: set[K], now: Mapping[K, V], nothing: V) -> dict[K, V]:
    """With those that were told before and are none now: a series that ends would stay at its last value."""
    told.update(now)
    return {key: now.get(key, nothing) for key in told}


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def timed(histogram: Histogram) -> Callable[[float], None]:
    return histogram.observe
