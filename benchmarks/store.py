"""How fast the event log is: appends, history, lists, opening, rebuilding. Real files, medians, one process.

`python -m benchmarks.store` takes a log of one million events; `--full` takes ten million for the history.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from registry.application.ports import VersionQuery
from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, model_stream, version_stream
from registry.store.duckdb_log import DuckDBLog, open_log
from registry.system import TimeOrderedIds

BATCH = 2_000
"""Events in one append while a log is filled."""
HISTORY = 20
"""Events of one version."""
THREADS = 64
STORED_VERSIONS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--full", action="store_true", help="ten million events instead of one million")
    events = 10_000_000 if parser.parse_args().full else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        appends(Path(folder) / "appends")
        large(Path(folder) / "large", events)
        lists(Path(folder) / "lists")


def appends(home: Path) -> None:
    with_log(home, one_client)
    with_log(home, many_clients)


def one_client(log: DuckDBLog) -> None:
    def append(number: int) -> None:
        log.append([status("one", 1, number)], expected={})

    times = [seconds(lambda number=number: append(number)) for number in range(500)]
    show("one durable append, one client, p50", statistics.median(times) * 1e3, "ms", "<= 2")


def many_clients(log: DuckDBLog) -> None:
    """64 clients, each with a version of its own, one event an append, each waiting for its acknowledgement."""
    each = 600
    rates: list[float] = []
    for round_number in range(3):
        clients = [
            threading.Thread(target=_client, args=(log, f"m{round_number}-{number}", each)) for number in range(THREADS)
        ]
        started = time.perf_counter()
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        rates.append(THREADS * each / (time.perf_counter() - started))
    show(f"durable appends, {THREADS} threads", statistics.median(rates), "events/s", ">= 15000")


def _client(log: DuckDBLog, model: str, count: int) -> None:
    for number in range(count):
        log.append([status(model, 1, number)], expected={version_stream(VersionRef(model, 1)): number})


def large(home: Path, events: int) -> None:
    versions = events // HISTORY

    def fill(log: DuckDBLog) -> None:
        batch: list[NewEvent] = []
        for number in range(versions):
            model, version = f"model-{number % 100}", number // 100 + 1
            batch += [queued(model, version), *(status(model, version, step) for step in range(HISTORY - 1))]
            if len(batch) >= BATCH:
                log.append(batch, expected={})
                batch = []
        log.append(batch, expected={})

    with_log(home, fill)
    opening = [_open_and_ask(home) for _ in range(5)]
    show(f"opening a log of {events:,} events until the first answer", statistics.median(opening), "s", "<= 1")
    with_log(home, lambda log: history(log, versions, events))
    with_log(home, lambda log: rebuild(log, events))


def _open_and_ask(home: Path) -> float:
    started = time.perf_counter()
    log = open_log(home, clock=now, ids=TimeOrderedIds())
    log.version(VersionRef("model-7", 1))
    taken = time.perf_counter() - started
    log.close()
    return taken


def history(log: DuckDBLog, versions: int, events: int) -> None:
    def ask(number: int) -> None:
        stream = version_stream(VersionRef(f"model-{number % 100}", number // 100 + 1))
        assert len(list(log.read(stream=stream))) == HISTORY

    chosen = [versions * one // 300 for one in range(300)]
    name = f"history of one version, {HISTORY} events decoded, in {events:,}"
    for when in ("first read of each after opening", "read again"):
        times = [seconds(lambda number=number: ask(number)) for number in chosen]
        show(f"{name}, {when}", statistics.median(times) * 1e3, "ms", "<= 3")


def rebuild(log: DuckDBLog, events: int) -> None:
    taken = seconds(log.rebuild)
    show("rebuild of the read models", events / taken, "events/s", ">= 200000")


def lists(home: Path) -> None:
    def fill(log: DuckDBLog) -> None:
        for start in range(1, STORED_VERSIONS + 1, BATCH):
            batch = [imported("model-1", number) for number in range(start, start + BATCH)]
            log.append(batch, expected={})
        declared = ev.ModelDeclared(model="model-1")
        moved = ev.ActiveVersionChanged(model="model-1", version=7, previous=None)
        log.append([new(model_stream("model-1"), declared), new(model_stream("model-1"), moved)], expected={})

    def ask(log: DuckDBLog) -> None:
        query = VersionQuery(model="model-1", states=frozenset({"trained"}), order="newest", limit=50)
        times = [seconds(lambda: log.versions(query)) for _ in range(100)]
        name = f"first page of 50 of {STORED_VERSIONS:,} versions, filtered and ordered"
        show(name, statistics.median(times) * 1e3, "ms", "<= 10")
        times = [seconds(lambda: log.model("model-1")) for _ in range(200)]
        show("the active version of a model", statistics.median(times) * 1e3, "ms", "<= 0.5")
        then = log.head() - STORED_VERSIONS // 10
        show("that page as of an earlier position", seconds(lambda: log.versions(query, at=then)), "s", "<= 3")
        times = [seconds(lambda: log.versions(query, at=then)) for _ in range(10)]
        show("that page as of a position that was just asked about", statistics.median(times) * 1e3, "ms", "<= 200")

    with_log(home, fill)
    with_log(home, ask)


def with_log(home: Path, use: Callable[[DuckDBLog], None]) -> None:
    log = open_log(home, clock=now, ids=TimeOrderedIds())
    try:
        use(log)
    finally:
        log.close()


def queued(model: str, version: int) -> NewEvent:
    payload = ev.FineTuneRequested(
        model=model,
        version=version,
        connection="local",
        provider="huggingface",
        base_model="smollm2-135m-instruct",
        method="supervised",
        train=ev.DataRef(sha256="0" * 64, rows=800, tokens=40_000, name="train.csv"),
    )
    return new(version_stream(VersionRef(model, version)), payload)


def imported(model: str, version: int) -> NewEvent:
    payload = ev.VersionImported(
        model=model,
        version=version,
        connection="local",
        provider="huggingface",
        base_model=None,
        artifact=ev.ArtifactRef(id=f"/models/{version}"),
    )
    return new(version_stream(VersionRef(model, version)), payload)


def status(model: str, version: int, number: int) -> NewEvent:
    return new(version_stream(VersionRef(model, version)), ev.JobStatusChanged(status=f"running-{number}"))


def new(stream: str, payload: ev.DomainEvent) -> NewEvent:
    return NewEvent(stream=stream, payload=payload, actor="user:bench")


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def show(name: str, value: float, unit: str, target: str) -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()
