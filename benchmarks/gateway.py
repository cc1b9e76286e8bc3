"""What the gateway costs beside asking the provider directly, and beside other gateways.

A provider that answers at once, the gateway (a real `tenure serve`) and the callers are a process each. Whoever is
compared is asked in turn, round after round; figures are medians of the rounds. `python -m benchmarks.gateway --alone`
leaves other gateways out, `--quick` looks whether it works.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import uvloop

import registry
from benchmarks.gateway_load import Endpoint, Load, percentile
from benchmarks.gateway_rivals import RIVALS

MODEL = "support-bot"
RATE = 200.0
CONNECTIONS = 32
MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 5.0
    firsts: int = 100
    requests: int = 10_000
    streams: int = 200
    switch_every_s: float = 5.0


QUICK = Size(rounds=2, seconds=1.0, firsts=20, requests=300, streams=20, switch_every_s=0.5)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one endpoint: seconds, requests a second, bytes. `failed`: of all that was asked."""

    p50: float
    p99: float
    first: float
    rate: float
    memory: int
    failed: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--alone", action="store_true", help="without other gateways")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; figures mean little")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size()
    with _upstream() as upstream, _tenure(upstream) as (tenure, pid, url):
        direct = Endpoint(name="directly", url=f"{upstream}/v1/chat/completions", model="upstream", headers={})
        own(_measured(direct, tenure, pid, size))
        uvloop.run(switch(tenure, url, size))
        for rival in () if arguments.alone else RIVALS:
            try:
                with rival(upstream) as (endpoint, its_pid):
                    beside(endpoint.name, _measured(direct, endpoint, its_pid, size))
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{rival.__name__} cannot be had here: {error}", file=sys.stderr)


def own(pair: tuple[Figures, Figures]) -> None:
    direct, ours = pair
    show(f"gateway: added at {RATE:g} req/s, p50", (ours.p50 - direct.p50) * 1e3, "ms", "<= 1")
    show(f"gateway: added at {RATE:g} req/s, p99", (ours.p99 - direct.p99) * 1e3, "ms", "<= 5")
    show("gateway: added time to first token, p50", (ours.first - direct.first) * 1e3, "ms", "<= 1.5")
    show(f"gateway: requests from {CONNECTIONS} connections", ours.rate, "req/s", ">= 1000")
    show("gateway: memory of the whole server", ours.memory / MB, "MB", "<= 200")
    show("gateway: failed", ours.failed, "requests", "<= 0")


def beside(name: str, pair: tuple[Figures, Figures]) -> None:
    direct, theirs = pair
    show(f"{name}: added at {RATE:g} req/s, p50", (theirs.p50 - direct.p50) * 1e3, "ms")
    show(f"{name}: added at {RATE:g} req/s, p99", (theirs.p99 - direct.p99) * 1e3, "ms")
    show(f"{name}: added time to first token, p50", (theirs.first - direct.first) * 1e3, "ms")
    show(f"{name}: requests from {CONNECTIONS} connections", theirs.rate, "req/s")
    show(f"{name}: memory", theirs.memory / MB, "MB")
    show(f"{name}: failed", theirs.failed, "requests")


def _measured(direct: Endpoint, through: Endpoint, pid: int, size: Size) -> tuple[Figures, Figures]:
    """Both in turn."""
    found: dict[str, list[tuple[float, float, float, float, int]]] = {direct.name: [], through.name: []}
    for _ in range(size.rounds):
        for endpoint in (direct, through):
            found[endpoint.name].append(uvloop.run(_round(endpoint, size)))
    memory = _memory(pid)

    def figures(name: str) -> Figures:
        p50, p99, first, rate, failed = zip(*found[name], strict=True)
        middle = statistics.median
        return Figures(middle(p50), middle(p99), middle(first), middle(rate), memory, sum(failed))

    return figures(direct.name), figures(through.name)


async def _round(endpoint: Endpoint, size: Size) -> tuple[float, float, float, float, int]:
    """p50, p99, time to first token, rate, failures."""
    warm = Load(endpoint)
    await warm.paced(rate=RATE / 4, seconds=0.5)
    await warm.one(stream=True)
    paced, firsts, flat = Load(endpoint), Load(endpoint), Load(endpoint)
    await paced.paced(rate=RATE, seconds=size.seconds)
    for _ in range(size.firsts):
        await firsts.one(stream=True)
    rate = await flat.flat_out(connections=CONNECTIONS, seconds=size.seconds)
    loads = (warm, paced, firsts, flat)
    for load in loads:
        load.close()
    for failure in {one for load in loads for one in load.failed}:
        print(f"{endpoint.name}: {failure}", file=sys.stderr)
    return (
        percentile([one.whole_s for one in paced.told], 0.5),
        percentile([one.whole_s for one in paced.told], 0.99),
        percentile([one.first_s for one in firsts.told], 0.5),
        rate,
        sum(len(load.failed) for load in loads),
    )


async def switch(tenure: Endpoint, url: str, size: Size) -> None:
    """The active version changes back and forth while requests and streams run at 100 a second."""
    requests, streams = Load(tenure), Load(tenure)
    rate, seconds = 100.0, size.requests / 100.0
    over = asyncio.Event()
    switches = asyncio.create_task(_switching(url, over, size.switch_every_s))
    await asyncio.gather(
        requests.paced(rate=rate, seconds=seconds),
        streams.paced(rate=size.streams / seconds, seconds=seconds, stream=True),
    )
    over.set()
    count = await switches
    versions = {one.version for one in (*requests.told, *streams.told)}
    assert len(versions) == 2, f"{count} switches, and only {versions} answered"
    failed = [*requests.failed, *streams.failed]
    for failure in set(failed):
        print(f"switch: {failure}", file=sys.stderr)
    show(f"failed of {size.requests:,} requests and {size.streams} streams, {count} switches", len(failed), "", "<= 0")
    requests.close()
    streams.close()


async def _switching(url: str, over: asyncio.Event, every_s: float) -> int:
    count = 0
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every_s)
            answer = await client.put(f"/api/v1/models/{MODEL}/active", json={"version": count % 2 + 1})
            answer.raise_for_status()
            count += 1
    return count


def _memory(pid: int) -> int:
    """Of a process and those that it started."""
    leader = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (leader, *leader.children(recursive=True)))


@contextlib.contextmanager
def _upstream() -> Generator[str]:
    with _started([sys.executable, "-m", "benchmarks.gateway_upstream"], dict(os.environ)) as (_, said):
        yield said.strip()


@contextlib.contextmanager
def _tenure(upstream: str) -> Generator[tuple[Endpoint, int, str]]:
    """A server with two versions of one model at an OpenAI connection; the second is active."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCHMARK_KEY"] = "none"
        settings = {"provider": "openai", "base_url": f"{upstream}/v1", "api_key_env": "BENCHMARK_KEY"}
        with registry.open(folder, background=False) as tenure:
            tenure.apply({"connections": {"fast": settings}})
            for number in (1, 2):
                version = tenure.import_version(MODEL, connection="fast", artifact=f"ft:tuned-{number}")
            tenure.activate(version).wait(30)  # pyright: ignore[reportPossiblyUnboundVariable] - of two
        program = str(Path(sys.executable).with_name("tenure"))
        environment = {**os.environ, "TENURE_HOME": folder}
        with _started([program, "serve", "--port", "0"], environment) as (pid, said):
            url = said.split()[-1]
            yield Endpoint(name="gateway", url=f"{url}/v1/chat/completions", model=MODEL, headers={}), pid, url


@contextlib.contextmanager
def _started(words: list[str], environment: dict[str, str]) -> Generator[tuple[int, str]]:
    """A process, and the first line that it prints."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as it:
        try:
            assert it.stdout is not None
            yield it.pid, it.stdout.readline()
        finally:
            it.terminate()
            it.wait(60)


def show(name: str, value: float, unit: str, target: str = "") -> None:
    if math.isnan(value):
        print(f"{name}: no answer", file=sys.stderr)
        return
    print(json.dumps({"name": name, "value": value, "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()
