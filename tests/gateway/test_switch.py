"""The active version is switched under load: no request and no stream is dropped, and streams end where they began."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field

import aiohttp

from tests.gateway.conftest import Door
from tests.gateway.upstream import Call, Upstream, answer, events, refusing
from tests.stage import BOT, Stage

CALLERS = 8
STREAMS = 10
SWITCHES = 4
EVENT_S = 0.02


@dataclass(slots=True)
class Seen:
    """`failed`: what went wrong, in words. `versions`: which answered, in the order of coming."""

    failed: list[str] = field(default_factory=list[str])
    versions: list[str] = field(default_factory=list[str])
    streams: int = 0


def test_a_switch_under_load_drops_nothing(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.policy(superseded_grace="0s")
    versions = [stage.active(), stage.trained()]
    gone = refusing(404, "DeploymentNotFound")

    async def serve(call: Call) -> None:
        """As a cloud does: what is deleted answers no more, and its streams are cut."""
        name = str(call.json["model"])
        if stage.cloud().named(name) is None:
            await gone(call)
            return
        if not call.json.get("stream"):
            await answer(call)
            return
        await call.start(content_type="text/event-stream")
        for event in events(name):
            await asyncio.sleep(EVENT_S)
            if stage.cloud().named(name) is None:
                await call.leaving()
                return
            await call.write(event)
        await call.write(b"", more=False)

    upstream.behave_always(serve)
    stop = threading.Event()
    seen = Seen()
    load = threading.Thread(target=lambda: asyncio.run(_load(door.url, stop, seen)))
    load.start()
    try:
        for number in range(SWITCHES):
            enough = len(seen.versions) + 50
            while len(seen.versions) < enough and not seen.failed and load.is_alive():
                stop.wait(0.01)
            stage.activate(versions[(number + 1) % 2])
            for _ in range(20):
                stage.run()
                stage.clock.advance(seconds=20)
                stop.wait(0.005)
    finally:
        stop.set()
        load.join()
    assert seen.failed == []
    assert set(seen.versions) == {"bot@1", "bot@2"}
    assert seen.streams >= STREAMS
    assert stage.cloud().count("delete") >= 1, "what was superseded is deleted, though requests never stop"


async def _load(url: str, stop: threading.Event, seen: Seen) -> None:
    async with aiohttp.ClientSession(base_url=url) as session:
        callers = [_ask(session, stop, seen, stream=number >= CALLERS) for number in range(CALLERS + STREAMS)]
        await asyncio.gather(*callers)


async def _ask(session: aiohttp.ClientSession, stop: threading.Event, seen: Seen, *, stream: bool) -> None:
    while not stop.is_set() and not seen.failed:
        try:
            async with session.post("/v1/chat/completions", json={"model": BOT, "stream": stream}) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            seen.failed.append(repr(error))
            return
        if response.status != 200:
            seen.failed.append(f"{response.status} {body.decode()}")
            return
        seen.versions.append(response.headers["tenure-version"])
        if stream:
            names = {json.loads(line[6:])["model"] for line in body.decode().split("\n\n")[:-2]}
            seen.streams += 1
            if len(names) != 1 or not body.endswith(b"data: [DONE]\n\n"):
                seen.failed.append(f"a stream of {names} ended with {body[-100:]!r}")
        else:
            await asyncio.sleep(0.01)
