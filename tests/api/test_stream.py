"""Watching the log: server-sent events that go on where one left off, one waiter for all who watch."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from registry.domain.errors import UnavailableError
from registry.store.tokens import TokenFile
from registry.transport.services import Services
from registry.transport.watch import Notice, Watch, model_of
from tests.api.conftest import WAIT_S, Live, Mint, bearer
from tests.api.test_rest import BOTS
from tests.stage import ANA, BOT, Stage

STREAM = "/api/v1/events/stream"
Event = tuple[int, dict[str, Any]]


def frames(answer: httpx2.Response) -> Iterator[Event]:
    position = 0
    for line in answer.iter_lines():
        if line.startswith("id: "):
            position = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            yield position, json.loads(line.removeprefix("data: "))


def watch(live: Live, count: int, query: str = "", **headers: str) -> list[Event]:
    """So many events of a stream, then leave."""
    with httpx2.stream("GET", f"{live.url}{STREAM}{query}", headers=headers, timeout=WAIT_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = frames(answer)
        return [next(found) for _ in range(count)]


def test_the_stream_is_the_log_and_an_events_id_is_its_position(live: Live, stage: Stage) -> None:
    stage.trained()
    head = stage.log.head()
    whole = watch(live, head)
    assert [position for position, _ in whole] == list(range(1, head + 1))
    assert [event for _, event in whole] == httpx2.get(f"{live.url}/api/v1/events?limit=1000").json()["items"]


def test_it_goes_on_after_the_last_event_id(live: Live, stage: Stage) -> None:
    stage.trained()
    head = stage.log.head()
    assert [at for at, _ in watch(live, 2, **{"Last-Event-ID": str(head - 2)})] == [head - 1, head]
    assert [at for at, _ in watch(live, 1, f"?after={head - 1}")] == [head]
    wrong = httpx2.get(f"{live.url}{STREAM}", headers={"Last-Event-ID": "last"})
    assert wrong.status_code == 422
    assert httpx2.get(f"{live.url}{STREAM}", headers={"Last-Event-ID": "9" * 19}).status_code == 422


def test_events_come_as_they_happen_to_everyone_who_watches(live: Live, stage: Stage, services: Services) -> None:
    head = stage.log.head()
    seen: list[list[Event]] = []

    def look() -> None:
        seen.append(watch(live, 2, f"?after={head}"))

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    limit = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if services.watch.watchers == len(threads):
            break
        limit.wait(0.01)
    stage.fine_tune()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(seen) == len(threads)
    assert all(one == seen[0] for one in seen)
    assert [at for at, _ in seen[0]] == [head + 1, head + 2]


def test_a_stream_ends_when_the_server_stops(live: Live, services: Services) -> None:
    with httpx2.stream("GET", f"{live.url}{STREAM}?after=99999", timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        live.server.servers[0].get_loop().call_soon_threadsafe(services.watch.close)
        assert list(lines) == [""]
    assert httpx2.get(f"{live.url}/readyz").status_code == 503


def test_one_sees_the_events_of_models_that_one_may_see(guarded: Services, stage: Stage, mint: Mint) -> None:
    stage.active("other")
    stage.active()
    live = Live(guarded)
    try:
        token = mint("viewer:other")
        seen = watch(live, 5, **bearer(token))
        assert {event["stream"].partition(":")[2].partition("@")[0] for _, event in seen} == {"other"}
        refused = httpx2.get(f"{live.url}{STREAM}", headers=bearer(mint("user")))
        assert refused.status_code == 403
        assert httpx2.get(f"{live.url}{BOTS}/events", headers=bearer(token)).status_code == 403
    finally:
        guarded.watch._stopped.set()
        live.stop()


@pytest.mark.parametrize("by", ["its token is revoked", "somebody signs out"])
def test_a_stream_ends_before_more_is_told_when(
    by: str, guarded: Services, stage: Stage, mint: Mint, tokens: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.api.events.AGAIN_S", 0.0)
    stage.trained()
    live = Live(guarded)
    try:
        with httpx2.Client(base_url=live.url, timeout=WAIT_S) as client:
            client.post("/session", data={"token": mint("viewer")})
            with client.stream("GET", STREAM) as answer:
                seen = frames(answer)
                next(seen)
                if by == "somebody signs out":
                    guarded.gate.sign_out(client.cookies["tenure_session"])
                else:
                    tokens.revoke(tokens.all()[0].id, stage.clock())
                stage.active("other")
                for _, event in seen:
                    assert event["stream"] != "model:other"
    finally:
        guarded.watch._stopped.set()
        live.stop()


# The waiter itself


def test_who_is_far_behind_reads_for_itself_until_it_has_caught_up(stage: Stage) -> None:
    async def look() -> list[int]:
        watch = Watch(stage.log)
        try:
            await watch.head_after(0, 0.01)
            stage.fine_tune()
            found: list[int] = []
            async for notice in watch.events(0, WAIT_S):
                assert isinstance(notice, Notice)
                found.append(notice.position)
                if len(found) == stage.log.head():
                    break
            return found
        finally:
            watch.close()
            watch.join()

    assert asyncio.run(look()) == list(range(1, stage.log.head() + 1))


def test_who_hears_nothing_is_told_so_now_and_then(stage: Stage) -> None:
    async def look() -> object:
        watch = Watch(stage.log)
        try:
            async for notice in watch.events(stage.log.head(), 0.01):
                return notice
        finally:
            watch.close()
            watch.join()

    assert asyncio.run(look()) is None


def test_what_was_recent_is_forgotten_and_read_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.transport import watch as module

    monkeypatch.setattr(module, "RECENT_MAX", 2)

    async def look() -> list[int]:
        watch = Watch(stage.log)
        try:
            begin = await watch.head_after(0, 0.01)
            for _ in range(3):
                stage.fine_tune()
            assert await watch.head_after(stage.log.head() - 1, WAIT_S) == stage.log.head()
            found: list[int] = []
            async for notice in watch.events(begin, WAIT_S):
                assert notice is not None
                found.append(notice.position - begin)
                if notice.position == stage.log.head():
                    break
            return found
        finally:
            watch.close()
            watch.join()

    assert asyncio.run(look()) == list(range(1, 7))


def test_a_log_that_cannot_be_read_for_a_moment_is_read_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from registry.transport import watch as module

    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    read = stage.log.read
    failures = [UnavailableError("busy")]

    def sometimes(**given: Any) -> Iterator[Any]:
        if failures:
            raise failures.pop()
        return read(**given)

    async def look() -> int:
        watch = Watch(stage.log)
        try:
            head = await watch.head_after(0, 0.01)
            monkeypatch.setattr(stage.log, "read", sometimes)
            stage.registry.declaring.apply({"models": {"another": {}}}, ANA, plan=False)
            return await watch.head_after(head, WAIT_S) - head
        finally:
            watch.close()
            watch.join()

    assert asyncio.run(look()) == 1
    assert "watchers hear nothing new" in caplog.text


def test_a_stream_belongs_to_a_model_or_to_none(stage: Stage) -> None:
    stage.active()
    (deployment,) = stage.deployments()
    found = [model_of(stage.log, f"{name}") for name in ("model:bot", "version:bot@1", f"deployment:{deployment.id}")]
    assert found == [BOT, BOT, BOT]
    assert model_of(stage.log, "connection:cloud") is None
    assert model_of(stage.log, "deployment:dep_gone") is None
