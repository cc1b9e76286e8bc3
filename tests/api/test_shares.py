"""What one person can have of the server at once, before an application that answers when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
from starlette.types import Receive, Scope, Send

from registry.application.access import Grant, Principal, everything
from registry.transport.gate import Gate
from registry.transport.guard import EVENTS, Guard

SHARE = 7
WAIT_S = 10.0


class Slow:
    """Answers everybody when it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        who = scope["state"]["principal"].actor
        self.under_way[who] += 1
        await self.let_go.wait()
        self.under_way[who] -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def has(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.under_way.total() < count:  # noqa: ASYNC110 - a few rounds of one loop
                await asyncio.sleep(0)


class ByName(Gate):
    """Takes everybody for whom they say they are."""

    def principal(self, headers: object, cookies: object, address: object) -> Principal:
        del cookies, address
        assert isinstance(headers, dict)
        name = str(headers["tenure-actor"])  # pyright: ignore[reportUnknownArgumentType]
        if name == "user:here":
            return everything(name)
        return Principal(actor=name, grants=frozenset({Grant("admin")}))


@asynccontextmanager
async def guarded(app: Slow) -> AsyncGenerator[httpx2.AsyncClient]:
    guard = Guard(app, gate=ByName(open_to=None), threads=8, connections=8)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guard), base_url="http://localhost") as client:
        yield client


def ask(client: httpx2.AsyncClient, who: str, path: str = "/api/v1/models") -> asyncio.Task[httpx2.Response]:
    return asyncio.create_task(client.get(path, headers={"tenure-actor": who}))


def test_one_person_has_a_share_of_the_threads_and_what_is_more_waits_while_others_pass() -> None:
    async def story() -> None:
        app = Slow()
        async with guarded(app) as client:
            mine = [ask(client, "user:ana") for _ in range(SHARE + 5)]
            await app.has(SHARE)
            other = ask(client, "user:ben")
            await app.has(SHARE + 1)
            assert app.under_way == {"user:ana": SHARE, "user:ben": 1}
            app.let_go.set()
            answers = await asyncio.wait_for(asyncio.gather(*mine, other), WAIT_S)
            assert {one.status_code for one in answers} == {200}

    asyncio.run(story())


def test_one_person_cannot_hold_all_connections_with_streams_and_chats() -> None:
    async def story() -> None:
        app = Slow()
        async with guarded(app) as client:
            held = [ask(client, "user:ana", EVENTS) for _ in range(SHARE)]
            await app.has(SHARE)
            refused = await asyncio.wait_for(ask(client, "user:ana", EVENTS), WAIT_S)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/problem+json"
            assert "user:ana has 7 requests under way" in refused.json()["detail"]
            chat = await asyncio.wait_for(ask(client, "user:ana", "/v1/chat/completions"), WAIT_S)
            assert chat.status_code == 429
            assert chat.headers["retry-after"] == "1"
            assert "7 requests under way" in json.loads(chat.content)["error"]["message"]
            other = ask(client, "user:ben", EVENTS)
            await app.has(SHARE + 1)
            app.let_go.set()
            await asyncio.wait_for(asyncio.gather(*held, other), WAIT_S)
            again = await asyncio.wait_for(ask(client, "user:ana", EVENTS), WAIT_S)
            assert again.status_code == 200

    asyncio.run(story())


def test_whoever_sits_at_the_machine_has_all_of_it() -> None:
    async def story() -> None:
        app = Slow()
        async with guarded(app) as client:
            mine = [ask(client, "user:here", path) for path in ("/api/v1/models", EVENTS) for _ in range(20)]
            await app.has(40)
            app.let_go.set()
            answers = await asyncio.wait_for(asyncio.gather(*mine), WAIT_S)
            assert {one.status_code for one in answers} == {200}

    asyncio.run(story())
