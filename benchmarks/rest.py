"""REST over a real server process: reads, appends, commands from many clients, and a thousand watchers of the log.

`python -m benchmarks.rest`; `--small` a tenth of it, to try the benchmark itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import uvloop

from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, model_stream, version_stream
from registry.remote.finding import SERVER_FILE
from registry.store.duckdb_log import open_log
from registry.system import TimeOrderedIds, now

CLIENTS = 64
VERSIONS = 10_000
START_S_MAX = 60.0
MODEL = "support-bot"
DATA = ev.DataRef(sha256="0" * 64, rows=800, tokens=90_000, name="train.csv", path="data/0.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rest", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of it")
    scale = 10 if parser.parse_args().small else 1
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), VERSIONS // scale)
        with serving(Path(folder)) as (host, port):
            server = psutil.Process(json.loads((Path(folder) / SERVER_FILE).read_text())["pid"])
            uvloop.run(measure(host, port, server, VERSIONS // scale, scale))


async def measure(host: str, port: int, server: psutil.Process, versions: int, scale: int) -> None:
    read = f"/api/v1/models/{MODEL}/versions/{versions}"
    one = await Client.open(host, port)
    for _ in range(50):
        await one.ask("GET", read)
    reads = [await one.timed("GET", read) for _ in range(2_000 // scale)]
    tell("REST: read a version, p50", statistics.median(reads) * 1000, "ms", "<= 3")
    tell("REST: read a version, p99", quantile(reads, 99) * 1000, "ms")
    appends = [await one.timed("POST", "/api/v1/models", declared("one", n)) for n in range(2_000 // scale)]
    tell("REST: append, p50", statistics.median(appends) * 1000, "ms", "<= 6")
    tell("REST: append, p99", quantile(appends, 99) * 1000, "ms")
    for keyed in (False, True):
        await commands(host, port, server, 10_000 // scale, keyed=keyed)
    await watchers(host, port, 1_000 // scale)


async def commands(host: str, port: int, server: psutil.Process, count: int, *, keyed: bool) -> None:
    """Beside the rate, which this client's share of the machine and whatever else runs take from, what a command costs
    the server in processor time: its inverse is what a core of its own could do. `keyed`: each with an Idempotency-Key.
    """
    clients = [await Client.open(host, port) for _ in range(CLIENTS)]
    each = count // CLIENTS

    async def work(number: int) -> None:
        for n in range(each):
            name = f"{'keyed' if keyed else 'many'}-{number}"
            key = f"{name}-{n}-0b6a8c1e5d" if keyed else None
            await clients[number].ask("POST", "/api/v1/models", declared(name, n), key=key)

    began, spent = time.perf_counter(), cpu_s(server)
    await asyncio.gather(*(work(number) for number in range(CLIENTS)))
    taken, spent = time.perf_counter() - began, cpu_s(server) - spent
    how = ", each with a key" if keyed else ""
    tell(f"REST: commands from {CLIENTS} clients{how}", CLIENTS * each / taken, "1/s", "" if keyed else ">= 2000")
    cost = spent / (CLIENTS * each) * 1000
    tell(f"REST: the server's processor time for a command{how}", cost, "ms", "" if keyed else "<= 0.5")


async def watchers(host: str, port: int, count: int) -> None:
    """From a command's answer until the last of all watchers has its event."""
    one = await Client.open(host, port)
    head = json.loads(await one.ask("POST", "/api/v1/log/verify", b""))["events"]
    watching = [await Client.open(host, port) for _ in range(count)]
    for client in watching:
        await client.watch(head)
    await asyncio.sleep(1)
    began = time.perf_counter()
    heard = asyncio.gather(*(client.heard() for client in watching))
    await one.ask("POST", "/api/v1/models", declared("watched", 0))
    await asyncio.wait_for(heard, START_S_MAX)
    tell(f"REST: {count} watchers have heard of an event", (time.perf_counter() - began) * 1000, "ms")


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def declared(prefix: str, number: int) -> bytes:
    return json.dumps({"model": f"{prefix}-{number}"}).encode()


@dataclass(slots=True)
class Client:
    """One kept connection, with no more HTTP than the server speaks."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        return cls(*await asyncio.open_connection(host, port))

    async def ask(self, method: str, path: str, body: bytes = b"", *, key: str | None = None) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        if key is not None:
            head += f"idempotency-key: {key}\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        content = await self.reader.readexactly(length)
        assert answer[9:10] == b"2", content
        return content

    async def timed(self, method: str, path: str, body: bytes = b"") -> float:
        began = time.perf_counter()
        await self.ask(method, path, body)
        return time.perf_counter() - began

    async def watch(self, after: int) -> None:
        self.writer.write(f"GET /api/v1/events/stream?after={after} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        await self.reader.readuntil(b"retry:")

    async def heard(self) -> None:
        await self.reader.readuntil(b"data: ")


def fill(home: Path, versions: int) -> None:
    log = open_log(home, clock=now, ids=TimeOrderedIds())
    try:
        batch = [says(model_stream(MODEL), ev.ModelDeclared(model=MODEL))]
        for number in range(1, versions + 1):
            begun = ev.FineTuneRequested(
                model=MODEL,
                version=number,
                connection="one",
                provider="openai",
                base_model="gpt-4.1",
                method="supervised",
                train=DATA,
                validation=None,
                hyperparameters={"n_epochs": 2},
                code=None,
                activate=False,
            )
            started = ev.TrainingStarted(attempt=1, job=ev.JobRef(id=f"ftjob-{number}", name="n", status="running"))
            trained = ev.VersionTrained(
                artifact=ev.ArtifactRef(id=f"ft:{number}"), job_status="succeeded", metrics={"valid_loss": 0.84}
            )
            batch += [says(model_stream(MODEL), ev.VersionNumbered(model=MODEL, version=number))]
            batch += [says(version_stream(VersionRef(MODEL, number)), one) for one in (begun, started, trained)]
            if number % 500 == 0:
                log.append(batch, expected={})
                batch = []
        if batch:
            log.append(batch, expected={})
    finally:
        log.close()


def says(stream: str, payload: ev.DomainEvent) -> NewEvent:
    return NewEvent(stream=stream, payload=payload, actor="user:ana", reason=None)


@contextmanager
def serving(home: Path, **beside: str) -> Generator[tuple[str, int]]:
    """`beside`: variables that its connections refer to."""
    command = [
        sys.executable,
        "-c",
        "import sys; from registry.cli import main; sys.exit(main())",
        "serve",
        "--port",
        "0",
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "TENURE_HOME": str(home),
        "TENURE_LOG": "WARNING",
        "USER": "bench",
        **beside,
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            url: str = server.stdout.readline().split()[-1]
            host, _, port = url.rpartition("/")[2].partition(":")
            yield host, int(port)
        finally:
            server.terminate()


def quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def tell(name: str, value: float, unit: str, target: str = "") -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()
