"""How fast a large registry is planned: 100,000 versions, 1,000 deployments; and how much of it is looked at again.

`python -m benchmarks.planning` takes a real DuckDB log; `--small` a hundredth of it, to try the benchmark itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from registry.application.ports import EventLog
from registry.domain import events as ev
from registry.domain.events import DomainEvent, NewEvent
from registry.domain.ids import VersionRef, deployment_stream, model_stream, version_stream
from registry.domain.states import ConnectionState
from registry.reconciler.planning import Planning
from registry.reconciler.using import Uses
from registry.store.duckdb_log import open_log
from registry.system import TimeOrderedIds, now

MODELS = 499
"""A prime, so that deployments are spread over all of them."""
BATCH = 2_000
ARTIFACT = ev.ArtifactRef(id="ft:one")
PRICE = ev.Price(hourly=Decimal("1.70"), currency="USD", source="list")
KEPT = 50
POLICY = {"idle_delete": "7d", "keep_artifacts": KEPT, "max_monthly_cost": "2000.00"}


class NoProviders:
    """Planning asks only whether a connection needs deployments; without an account it does."""

    def of(self, connection: ConnectionState) -> object:
        from registry.domain.errors import BadInputError

        raise BadInputError(f"{connection.name} is not opened here")

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--small", action="store_true", help="1,000 versions and 10 deployments")
    scale = 100 if parser.parse_args().small else 1
    versions, deployments, models = 100_000 // scale, 1_000 // scale, MODELS // scale
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(Path(folder), clock=now, ids=TimeOrderedIds())
        try:
            fill(log, versions, deployments, models)
            measure(log, versions, deployments)
        finally:
            log.close()


def measure(log: EventLog, versions: int, deployments: int) -> None:
    what = f"{versions:,} versions, {deployments:,} deployments"
    cold = [seconds(lambda: new_planning(log).steps()) for _ in range(3)]
    show(f"the first plan of {what}", statistics.median(cold) * 1e3, "ms", "<= 100")
    planning = new_planning(log)
    steps = planning.steps()
    assert sum(step.action.value == "watch deployment" for step in steps) == deployments
    show("again, nothing changed", statistics.median(repeated(planning.steps, 20)) * 1e3, "ms", "<= 100")
    times: list[float] = []
    before = planning.replanned
    for number in range(20):
        status = ev.JobStatusChanged(status=f"step {number}")
        log.append([says(version_stream(VersionRef("model-0", 1)), status)], expected={})
        log.motion()  # until the append can be read, which is the log's time
        times.append(seconds(planning.steps))
    show(f"a plan of {what}, after one event", statistics.median(times) * 1e3, "ms", "<= 100")
    standbys = sum(step.actor == "policy:delete-idle" for step in steps)
    show("models planned again after one event", (planning.replanned - before) / 20 - standbys, "models", "<= 1")


def new_planning(log: EventLog) -> Planning:
    return Planning(log, NoProviders(), Uses(log, now))  # pyright: ignore[reportArgumentType] - see NoProviders


def repeated(what: Callable[[], object], times: int) -> list[float]:
    return [seconds(what) for _ in range(times)]


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def fill(log: EventLog, versions: int, deployments: int, models: int) -> None:
    """Every version was active once. Each hundredth has a deployment that serves it still, active; the others are
    retired, and of those the newest of each model are kept and the older ones deleted, as their policy says.
    """
    batch: list[NewEvent] = [
        says("registry:tenure", ev.RegistryCreated(registry="bench1")),
        says("connection:cloud", ev.ConnectionDeclared(connection="cloud", provider="azure-openai", settings={})),
    ]
    every = versions // max(deployments, 1)
    for number in range(versions):
        batch += history(
            f"model-{number % models}",
            number // models + 1,
            serves=deployments > 0 and number % every == 0,
            new=number < models,
            kept=number >= versions - KEPT * models,
        )
        if len(batch) >= BATCH:
            log.append(batch, expected={})
            batch = []
    log.append(batch, expected={})


def history(model: str, number: int, *, serves: bool, new: bool, kept: bool) -> Iterator[NewEvent]:
    stream = version_stream(VersionRef(model, number))
    if new:
        yield says(model_stream(model), ev.ModelDeclared(model=model))
        yield says(model_stream(model), ev.PolicyChanged(model=model, policy=POLICY))
    imported = ev.VersionImported(
        model=model, version=number, connection="cloud", provider="azure-openai", base_model=None, artifact=ARTIFACT
    )
    yield says(stream, imported)
    yield says(stream, ev.VersionActivated(model=model, version=number, deployment=None, replaced=None))
    if not serves:
        yield says(stream, ev.VersionRetired(model=model, version=number, replaced_by=None))
        if not kept:
            yield says(stream, ev.VersionDeleted(model=model, version=number))
        return
    found = f"dep_{model}_{number}"
    requested = ev.DeploymentRequested(
        deployment=found,
        model=model,
        version=number,
        connection="cloud",
        provider="azure-openai",
        name=found,
        token=found,
        attempt=1,
        artifact=ARTIFACT,
        price=PRICE,
        purpose="activation",
    )
    yield says(deployment_stream(found), requested)
    since = datetime.now(UTC) - timedelta(hours=1)  # noqa: TID251 - a benchmark is its own clock
    yield says(deployment_stream(found), ev.DeploymentAccepted(provider_id=found, billed_from=since))
    yield says(deployment_stream(found), ev.DeploymentServing())


def says(stream: str, payload: DomainEvent) -> NewEvent:
    return NewEvent(stream=stream, payload=payload, actor="user:bench")


def show(name: str, value: float, unit: str, target: str) -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()
