"""How fast the audit of a year is: a log of one million events, ten thousand deployments that were billed.

Real files, medians of several runs in one process. `python -m benchmarks.audit --events 100000` takes a smaller year.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from registry.application.auditing import Auditing
from registry.application.reading import Reading
from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, deployment_stream, version_stream
from registry.store.duckdb_log import DuckDBLog, open_log
from registry.system import TimeOrderedIds

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
BATCH = 2_000
RUNS = 7
MODELS = 100
DEPLOYMENT_EVENTS = 6
VERSION_EVENTS = 94
"""Of each version that is deployed, most of them changes of its job's status."""
ARTIFACT = ev.ArtifactRef(id="ft:gpt-4.1:acme::abc123")
PRICE = ev.Price(hourly=Decimal("1.70"), currency="USD", source="price list")
TRAINING = ev.UnitPrice(amount=Decimal("2.00"), unit="1M-tokens", currency="USD", source="price list")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        log = open_log(Path(folder), clock=clock, ids=TimeOrderedIds())
        try:
            fill(log, clock, events)
            measure(log, clock, events)
        finally:
            log.close()


class Clock:
    def __init__(self) -> None:
        self.now = YEAR

    def __call__(self) -> datetime:
        return self.now


def fill(log: DuckDBLog, clock: Clock, events: int) -> None:
    """Every version is trained and deployed, from an hour to a quarter of the year; one in fifty still is."""
    count = events // (DEPLOYMENT_EVENTS + VERSION_EVENTS)
    batch: list[NewEvent] = []
    for number in range(count):
        clock.now = YEAR + (END - YEAR) * number / count
        batch += [*version(number), *deployment(number, clock.now)]
        if len(batch) >= BATCH or number == count - 1:
            log.append(batch, expected={})
            batch = []
    clock.now = END


def version(number: int) -> list[NewEvent]:
    ref = VersionRef(f"model-{number % MODELS}", number // MODELS + 1)
    asked = ev.FineTuneRequested(
        model=ref.model,
        version=ref.number,
        connection="azure-prod",
        provider="azure-openai",
        base_model="gpt-4.1-2025-04-14",
        method="supervised",
        train=ev.DataRef(sha256="a" * 64, rows=800),
    )
    trained = ev.VersionTrained(
        artifact=ARTIFACT,
        job_status="succeeded",
        trained_tokens=1_234_567,
        cost=Decimal("2.469134"),
        currency="USD",
        price=TRAINING,
    )
    changes = [ev.JobStatusChanged(status=f"status-{step}") for step in range(VERSION_EVENTS - 2)]
    stream = version_stream(ref)
    return [NewEvent(stream=stream, payload=one, actor="user:ana") for one in (asked, *changes, trained)]


def deployment(number: int, now: datetime) -> list[NewEvent]:
    key = f"dep_{number:016x}"
    asked = ev.DeploymentRequested(
        deployment=key,
        model=f"model-{number % MODELS}",
        version=number // MODELS + 1,
        connection="azure-prod",
        provider="azure-openai",
        name=f"tenure-{key}",
        token=key,
        attempt=1,
        artifact=ARTIFACT,
        price=PRICE,
        purpose="standby",
    )
    lived = timedelta(hours=1 + number * 7919 % 2160)
    there = [ev.DeploymentAccepted(provider_id=f"/subscriptions/s/{key}", billed_from=now), ev.DeploymentServing()]
    gone = [
        ev.DeploymentDeletionRequested(deployment=key),
        ev.DeploymentDeletionAccepted(),
        ev.DeploymentDeleted(billed_to=now + lived, reads=3),
    ]
    events = [asked, *there, *(gone if number % 50 else ())]
    return [NewEvent(stream=deployment_stream(key), payload=one, actor="user:ana") for one in events]


def measure(log: DuckDBLog, clock: Clock, events: int) -> None:
    auditing = Auditing(log, clock, Reading(log, clock))
    deployments = len(auditing.audit().deployments)
    of = f"a year of {events:,} events and {deployments:,} deployments"
    show(f"audit of {of}", median(lambda: auditing.audit(from_=YEAR, to=END)), "<= 500")
    show(f"audit by day of {of}", median(lambda: auditing.audit(from_=YEAR, to=END, by="day")), None)
    month = YEAR.replace(month=6), YEAR.replace(month=7)
    show("audit of one month of it", median(lambda: auditing.audit(from_=month[0], to=month[1])), None)
    middle = iter(range(log.head() // 2, log.head()))
    show("audit of it as of its middle", median(lambda: auditing.audit(as_of=next(middle)), runs=3), None)
    show(
        "audit as of a position that was asked about before",
        median(lambda: auditing.audit(as_of=log.head() // 2), runs=3),
        None,
    )


def median(action: Callable[[], object], runs: int = RUNS) -> float:
    times: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def show(name: str, value: float, target: str | None) -> None:
    print(json.dumps({"name": name, "value": value, "unit": "ms", "target": target}), flush=True)


if __name__ == "__main__":
    main()
