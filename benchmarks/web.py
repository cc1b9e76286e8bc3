"""The pages of a registry of 100,000 versions: rendered by a real server, painted by Chromium.

`python -m benchmarks.web --versions 5000` takes fewer.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.rest import DATA, MODEL, says, serving, tell
from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, deployment_stream, model_stream, version_stream
from registry.store.duckdb_log import open_log
from registry.system import TimeOrderedIds, now

VERSIONS = 100_000
OTHERS = 99
"""Models beside the large one, which has half of all versions."""
LIVE = 100
DEPLOYED_EVERY = 20
RUNS = 15
YEARS = timedelta(days=730)
EVENTS_PER_BATCH = 200
PRICE = ev.Price(hourly=Decimal("1.70"), currency="USD", source="price list")

PAGES = {
    "overview": ("/", "<= 150"),
    "models": ("/models", None),
    "model": (f"/models/{MODEL}", "<= 150"),
    "version": (f"/models/{MODEL}/20", "<= 150"),
    "its training": (f"/models/{MODEL}/20/training", None),
    "its cost": (f"/models/{MODEL}/20/cost", None),
    "deployments": ("/deployments", None),
    "audit": ("/audit", None),
    "lifecycle": ("/lifecycle", None),
    "version's deployments over REST": (f"/api/v1/models/{MODEL}/versions/20/deployments", None),
}
"""What is called how: its address, and what it may take on the server, in milliseconds."""
PAINTED = ("overview", "model", "version")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    versions = parser.parse_args().versions
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), versions)
        with serving(Path(folder)) as (host, port):
            of = f"of {versions:,} versions"
            for name, (path, target) in PAGES.items():
                tell(f"page: {name}, {of}", rendered(host, port, path), "ms", target or "")
            for name, milliseconds in painted(f"http://{host}:{port}"):
                tell(f"page: {name}, {of}, first contentful paint", milliseconds, "ms", "<= 1000")


def rendered(host: str, port: int, path: str) -> float:
    """From the request until the last byte; the first time is left out."""
    connection = HTTPConnection(host, port)
    times: list[float] = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, (path, answer.status)
    return statistics.median(times[1:])


def painted(url: str) -> Iterator[tuple[str, float]]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for name in PAINTED:
            paints: list[float] = []
            for _ in range(5):
                context = browser.new_context(base_url=url)
                page = context.new_page()
                page.goto(PAGES[name][0])
                paints.append(
                    page.evaluate(
                        "new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))"
                        ".observe({type: 'paint', buffered: true}))"
                    )
                )
                context.close()
            yield name, statistics.median(paints)
        browser.close()


class Clock:
    """Two years in which versions came one by one."""

    def __init__(self) -> None:
        self.time = now() - YEARS

    def __call__(self) -> datetime:
        return self.time


def fill(home: Path, versions: int) -> None:
    clock = Clock()
    log = open_log(home, clock=clock, ids=TimeOrderedIds())
    try:
        events = history(versions, clock)
        while batch := list(islice(events, EVENTS_PER_BATCH)):
            log.append(batch, expected={})
    finally:
        log.close()


def history(versions: int, clock: Clock) -> Iterator[NewEvent]:
    """Half of the versions are of one model; one in twenty was deployed, and so many still are."""
    names = [MODEL, *(f"model-{number}" for number in range(OTHERS))]
    for name in names:
        yield says(model_stream(name), ev.ModelDeclared(model=name))
    numbers = dict.fromkeys(names, 0)
    for index in range(versions):
        clock.time += YEARS / (versions + 1)
        name = MODEL if index % 2 else names[1 + index // 2 % OTHERS]
        numbers[name] += 1
        ref = VersionRef(name, numbers[name])
        yield says(model_stream(name), ev.VersionNumbered(model=name, version=ref.number))
        yield from trained(ref)
        if ref.number % DEPLOYED_EVERY == 0:
            yield from deployed(
                ref, index, clock.time, live=index >= versions - LIVE * 2 * DEPLOYED_EVERY and name == MODEL
            )


def trained(ref: VersionRef) -> Iterator[NewEvent]:
    asked = ev.FineTuneRequested(
        model=ref.model, version=ref.number, connection="one", provider="openai", base_model="gpt-4.1",
        method="supervised", train=DATA,
    )  # fmt: skip
    started = ev.TrainingStarted(attempt=1, job=ev.JobRef(id=f"ftjob-{ref}", name="n", status="running"))
    done = ev.VersionTrained(
        artifact=ev.ArtifactRef(id=f"ft:{ref}"), job_status="succeeded", metrics={"valid_loss": 0.84}
    )
    return (says(version_stream(ref), one) for one in (asked, started, done))


def deployed(ref: VersionRef, index: int, began: datetime, *, live: bool) -> Iterator[NewEvent]:
    key = f"dep_{index:016x}"
    asked = ev.DeploymentRequested(
        deployment=key, model=ref.model, version=ref.number, connection="one", provider="openai", name=key,
        token=key, attempt=1, artifact=ev.ArtifactRef(id=f"ft:{ref}"), price=PRICE, purpose="standby",
    )  # fmt: skip
    there = (ev.DeploymentAccepted(provider_id=f"srv-{index}", billed_from=began), ev.DeploymentServing())
    gone = (
        ev.DeploymentDeletionRequested(deployment=key),
        ev.DeploymentDeletionAccepted(),
        ev.DeploymentDeleted(billed_to=began + timedelta(hours=3), reads=3),
    )
    return (says(deployment_stream(key), one) for one in (asked, *there, *(() if live else gone)))


if __name__ == "__main__":
    main()
