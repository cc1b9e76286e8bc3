"""The parts of the gateway by themselves: names in bodies, tokens in answers, turns in queues."""

from __future__ import annotations

import asyncio
import json

import pytest

from registry.gateway.asking import parse
from registry.gateway.backends import proxy_of
from registry.gateway.counting import TAIL_BYTES, Tail
from registry.gateway.limits import Admission, Limits
from registry.gateway.refusal import RefusalError

# Names


def test_only_the_name_is_replaced_where_it_stands_once() -> None:
    raw = b'{ "messages":[{"content":"the \\"model\\" of support-bot"}],\n "model" :  "support-bot","x":1.50}'
    assert parse(raw).naming('ft:gpt-4.1:"x"\\1') == raw.replace(b'"support-bot"', rb'"ft:gpt-4.1:\"x\"\\1"')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"private","model":"bot"}',
        b'{"\\u006dodel":"private","model":"bot"}',
        b'{"model":"bot","metadata":{"model":"bot"}}',
        b'{"model":"b\\u006ft","n":1}',
        '{"model":"bot","messages":"\u00e9"}'.encode("utf-16"),
    ],
)
def test_a_body_in_which_another_reader_might_find_another_name_is_written_anew(raw: bytes) -> None:
    """A name that was allowed is the only one that goes out."""
    ask = parse(raw)
    assert ask.model == "bot"
    out = ask.naming("theirs")
    pairs = json.loads(out, object_pairs_hook=lambda found: found)
    assert [value for name, value in pairs if name == "model"] == ["theirs"]
    assert b"private" not in out
    assert json.loads(out) == {**ask.parsed, "model": "theirs"}


# Tokens


@pytest.mark.parametrize(
    ("end", "tokens"),
    [
        (b'"usage": {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {}}}', (3, 4)),
        (b'"usage":{"completion_tokens":4,"prompt_tokens":3}}', (3, 4)),
        (b'"usage":{"prompt_tokens":3}}', (3, 0)),
        (b'"usage":null}', None),
        (b'"content":"\\"usage\\": {\\"prompt_tokens\\": 9, \\"completion_tokens\\": 9}"}', None),
        (b"}", None),
        (b'"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: {"usage":null}\n\ndata: [DONE]\n\n', (3, 4)),
    ],
)
def test_tokens_are_read_from_the_end_of_an_answer_however_it_is_cut(
    end: bytes, tokens: tuple[int, int] | None
) -> None:
    whole = b'{"choices":[' + b'"x",' * TAIL_BYTES + b"]," + end
    for size in (len(whole), 1000, 7):
        tail = Tail()
        for at in range(0, len(whole), size):
            tail.feed(whole[at : at + size])
        assert tail.tokens() == tokens


# Turns


def test_turns_are_given_in_the_order_of_coming() -> None:
    async def story() -> list[int]:
        admission = Admission(Limits(running_max=1, waiting_max=5))
        served: list[int] = []

        async def one(number: int) -> None:
            await admission.enter(None)
            await asyncio.sleep(0)
            served.append(number)
            admission.leave(None)

        await asyncio.gather(*(one(number) for number in range(5)))
        assert admission.in_flight == 0
        return served

    assert asyncio.run(story()) == [0, 1, 2, 3, 4]


def test_more_than_may_wait_are_refused_at_once_and_whoever_leaves_makes_room() -> None:
    async def story() -> None:
        admission = Admission(Limits(running_max=1, waiting_max=1))
        await admission.enter(None)
        waiting = asyncio.create_task(admission.enter(None))
        await asyncio.sleep(0)
        with pytest.raises(RefusalError, match="too many"):
            await admission.enter(None)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert admission.in_flight == 1
        next_one = asyncio.create_task(admission.enter(None))
        await asyncio.sleep(0)
        admission.leave(None)
        await next_one
        assert admission.in_flight == 1

    asyncio.run(story())


def test_a_turn_that_comes_as_its_caller_leaves_is_not_lost() -> None:
    async def story() -> None:
        admission = Admission(Limits(running_max=1, waiting_max=2))
        await admission.enter(None)
        leaving = asyncio.create_task(admission.enter(None))
        waiting = asyncio.create_task(admission.enter(None))
        await asyncio.sleep(0)
        admission.leave(None)
        leaving.cancel()
        await asyncio.wait({leaving})
        await asyncio.wait_for(waiting, 5)
        assert admission.in_flight == 1

    asyncio.run(story())


def test_one_person_leaves_room_for_others_and_waits_in_a_line_of_their_own() -> None:
    async def story() -> list[str]:
        admission = Admission(Limits(running_max=8))
        for _ in range(7):
            await admission.enter("user:ana")
        order: list[str] = []

        async def one(who: str) -> None:
            await admission.enter(who)
            order.append(who)

        mine = asyncio.create_task(one("user:ana"))
        await asyncio.sleep(0)
        await asyncio.wait_for(one("user:ben"), 5)
        assert admission.in_flight == 9
        admission.leave("user:ana")
        await asyncio.wait_for(mine, 5)
        for who in (*["user:ana"] * 7, "user:ben"):
            admission.leave(who)
        assert admission.in_flight == 0
        return order

    assert asyncio.run(story()) == ["user:ben", "user:ana"]


def test_more_of_one_person_than_may_wait_are_told_to_come_back() -> None:
    async def story() -> RefusalError:
        admission = Admission(Limits(running_max=8, waiting_max=0))
        for _ in range(7):
            await admission.enter("user:ana")
        with pytest.raises(RefusalError) as refused:
            await admission.enter("user:ana")
        await admission.enter("user:ben")
        with pytest.raises(RefusalError, match="too many requests wait for this deployment"):
            await admission.enter("user:cid")
        admission.leave("user:ben")
        await admission.enter("user:cid")
        return refused.value

    refused = asyncio.run(story())
    assert refused.status == 429
    assert (b"retry-after", b"1") in refused.headers()


def test_work_that_outlives_its_caller_keeps_the_callers_share() -> None:
    async def story() -> None:
        admission = Admission(Limits(running_max=8, waiting_max=0))
        for _ in range(7):
            await admission.enter("user:ana")
            admission.keep("user:ana")
            admission.leave("user:ana")
        with pytest.raises(RefusalError, match="7 requests under way"):
            await admission.enter("user:ana")
        await admission.enter("user:ben")

    asyncio.run(story())


# Proxies


def test_a_proxy_is_used_as_the_environment_says_and_never_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://api.openai.com/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    assert proxy_of("https://api.openai.com/v1") == "http://proxy:3128"
    assert proxy_of("https://internal.example/v1") is None
    assert proxy_of("https://127.0.0.1:1/v1") is None
