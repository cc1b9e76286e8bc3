"""What the gateway costs beside asking the provider directly, and beside other gateways.

A provider that answers at once, each gateway (ours is a real `tenure serve`) and the callers are a process each.
Whoever is compared is asked in turn, round after round; figures are medians of the rounds.

    python -m benchmarks.gateway            ours, and a switch of the active version under load; about four minutes
    python -m benchmarks.gateway --rivals   ours beside LiteLLM's proxy and Portkey's gateway; about six minutes
    --quick                                 whether it works; figures mean little

The other gateways are installed when they are first asked for: see `benchmarks.gateway_rivals`.
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
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import uvloop

import registry
from benchmarks.gateway_load import Endpoint, Load, check, percentile
from benchmarks.gateway_rivals import RIVALS

MODEL = "support-bot"
OURS = "gateway"
RATE = 200.0
LOW_RATE = 50.0
"""What every gateway that is compared can keep up with."""
CONNECTIONS = 32
MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int = 4
    seconds: float = 5.0
    firsts: int = 40
    requests: int = 10_000
    streams: int = 200
    switch_every_s: float = 5.0


QUICK = Size(rounds=2, seconds=1.0, firsts=10, requests=300, streams=20, switch_every_s=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Of one endpoint: seconds, requests a second. `low`: at `LOW_RATE`. `failed`: of all that was asked."""

    low_p50: float
    p50: float
    p99: float
    first: float
    rate: float
    failed: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is measured; the process that answers, None for the provider itself."""

    endpoint: Endpoint
    pid: int | None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", action="store_true", help="beside other gateways, instead of the switch")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; figures mean little")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(_upstream())
        tenure, pid, url = stack.enter_context(_tenure(upstream))
        direct = Endpoint(name="directly", url=f"{upstream}/v1/chat/completions", model="upstream", headers={})
        asked = [Asked(direct, None), Asked(tenure, pid)]
        for rival in RIVALS if arguments.rivals else ():
            try:
                asked.append(Asked(*stack.enter_context(rival(upstream))))
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{rival.__name__} cannot be had here: {error}", file=sys.stderr)
        _table(asked, size)
        if not arguments.rivals:
            uvloop.run(switch(tenure, url, size))


def _table(asked: Sequence[Asked], size: Size) -> None:
    for one in asked:
        check(one.endpoint)
    rounds: dict[str, list[Round]] = {one.endpoint.name: [] for one in asked}
    for number in range(size.rounds):
        for one in asked:
            rounds[one.endpoint.name].append(uvloop.run(_round(one.endpoint, size)))
        print(f"round {number + 1} of {size.rounds}", file=sys.stderr)
    direct = rounds[asked[0].endpoint.name]
    for one in asked[1:]:
        assert one.pid is not None
        _show(one.endpoint.name, direct, rounds[one.endpoint.name], _memory(one.pid))


def _show(name: str, direct: Sequence[Round], through: Sequence[Round], memory: int) -> None:
    """Targets are for ours alone."""
    ours = name == OURS

    def added_ms(what: str) -> float:
        before, after = ([getattr(one, what) for one in rounds] for rounds in (direct, through))
        return (statistics.median(after) - statistics.median(before)) * 1e3

    rate = statistics.median(one.rate for one in through)
    show(f"{name}: added at {LOW_RATE:g} req/s, p50", added_ms("low_p50"), "ms")
    show(f"{name}: added at {RATE:g} req/s, p50", added_ms("p50"), "ms", "<= 1" if ours else "")
    show(f"{name}: added at {RATE:g} req/s, p99", added_ms("p99"), "ms", "<= 5" if ours else "")
    show(f"{name}: added time to first token, p50", added_ms("first"), "ms", "<= 1.5" if ours else "")
    show(f"{name}: requests from {CONNECTIONS} connections", rate, "req/s", ">= 1000" if ours else "")
    show(f"{name}: memory of the whole server", memory / MB, "MB", "<= 200" if ours else "")
    show(f"{name}: failed", sum(one.failed for one in through), "requests", "<= 0" if ours else "")


async def _round(endpoint: Endpoint, size: Size) -> Round:
    warm = Load(endpoint)
    await warm.paced(rate=LOW_RATE, seconds=0.5)
    await warm.one(stream=True)
    low, paced, firsts, flat = Load(endpoint), Load(endpoint), Load(endpoint), Load(endpoint)
    await low.paced(rate=LOW_RATE, seconds=size.seconds / 2)
    for _ in range(size.firsts):
        await firsts.one(stream=True)
    await paced.paced(rate=RATE, seconds=size.seconds)
    rate = await flat.flat_out(connections=CONNECTIONS, seconds=size.seconds)
    loads = (warm, low, paced, firsts, flat)
    for load in loads:
        load.close()
    for failure in {one for load in loads for one in load.failed}:
        print(f"{endpoint.name}: {failure}", file=sys.stderr)
    return Round(
        low_p50=percentile([one.whole_s for one in low.told], 0.5),
        p50=percentile([one.whole_s for one in paced.told], 0.5),
        p99=percentile([one.whole_s for one in paced.told], 0.99),
        first=percentile([one.first_s for one in firsts.told], 0.5),
        rate=rate,
        failed=sum(len(load.failed) for load in loads),
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
            yield Endpoint(name=OURS, url=f"{url}/v1/chat/completions", model=MODEL, headers={}), pid, url


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
