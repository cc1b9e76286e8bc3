"""The threads in which requests wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from registry.transport.threads import Threads

WAIT_S = 10.0


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2)
    yield made
    made.close()


def run(what: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(what, WAIT_S))


def test_a_call_answers_or_raises_where_it_is_awaited(threads: Threads) -> None:
    def fail() -> None:
        raise LookupError("none")

    assert run(threads.run(lambda: 3)) == 3
    with pytest.raises(LookupError, match="none"):
        run(threads.run(fail))


def test_calls_see_the_context_of_whoever_asks(threads: Threads) -> None:
    word: ContextVar[str] = ContextVar("word")

    async def ask(value: str) -> str:
        word.set(value)
        return await threads.run(word.get)

    async def both() -> tuple[str, str]:
        first, second = await asyncio.gather(ask("a"), ask("b"))
        return first, second

    assert run(both()) == ("a", "b")


def test_no_more_than_so_many_run_at_once_and_the_others_follow(threads: Threads) -> None:
    together, alone, names = threading.Barrier(2), threading.Semaphore(2), set[str]()

    def call() -> None:
        assert alone.acquire(blocking=False)
        together.wait(WAIT_S)
        names.add(threading.current_thread().name)
        alone.release()
        together.wait(WAIT_S)

    async def many() -> None:
        await asyncio.gather(*(threads.run(call) for _ in range(6)))

    run(many())
    assert len(names) == 2


def test_one_that_nobody_waits_for_any_more_goes_on_and_closing_waits_for_it(threads: Threads) -> None:
    going, ended = threading.Event(), threading.Event()

    def call() -> None:
        going.wait(WAIT_S)
        ended.set()

    async def give_up() -> None:
        asking = asyncio.ensure_future(threads.run(call))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    run(give_up())
    assert not ended.is_set()
    going.set()
    threads.close()
    assert ended.is_set()


def test_a_call_that_does_not_end_keeps_nobody_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.transport.threads.CLOSE_S_MAX", 0.05)
    threads, never, begun = Threads(2), threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        never.wait()

    async def give_up() -> None:
        waiting = asyncio.ensure_future(threads.run(stuck))
        await asyncio.to_thread(begun.wait, WAIT_S)
        waiting.cancel()

    run(give_up())
    closing = threading.Thread(target=threads.close, daemon=True)
    closing.start()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    never.set()
