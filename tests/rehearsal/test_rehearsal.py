"""The rehearsal as a whole: its clock, its server, its connections."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import openai
import pytest

from providers.rehearsal import Limits, Pace, Rehearsal, faults
from providers.rehearsal.clock import VirtualClock
from tests.rehearsal.conftest import NOON
from tests.rehearsal.sdks import openai_client

BELOW_EPHEMERAL = range(20_000, 32_000, 100)
"""Ports that no connection of another test gets by chance."""


def test_the_clock_is_real_until_it_is_told_otherwise() -> None:
    clock = VirtualClock()
    assert abs((clock.now() - datetime.fromtimestamp(time.time(), UTC)).total_seconds()) < 5
    clock.freeze()
    assert clock() == clock()
    before = clock.now()
    assert clock.advance(90) == before + timedelta(seconds=90)
    clock.set(before + timedelta(hours=1))
    assert clock.now() == before + timedelta(hours=1)
    clock.run(speed=1e6)
    time.sleep(0.002)
    assert clock.now() > before + timedelta(hours=1)


def test_the_clock_goes_back_only_in_what_it_tells() -> None:
    clock = VirtualClock(NOON, speed=0.0)
    with pytest.raises(ValueError, match="jump"):
        clock.set(NOON - timedelta(seconds=1))
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1)
    clock.jump(-3600)
    assert clock.now() == NOON
    assert clock.told() == NOON - timedelta(hours=1)


def test_it_starts_and_stops_at_once_also_while_callers_wait() -> None:
    began = time.monotonic()
    rehearsal = Rehearsal(pace=Pace(training_s=1), limits=Limits(azure_jobs=1)).start()
    rehearsal.faults.inject("openai.list_models", faults.timeout(after_effect=False), times=None)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            openai_client(rehearsal).models.list()
        except openai.APIConnectionError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not rehearsal.faults.struck:
        time.sleep(0.001)
    rehearsal.close()
    waiting.join()
    assert len(caught) == 1
    assert time.monotonic() - began < 0.9
    assert not [thread for thread in threading.enumerate() if thread.name == "rehearsal"]


def test_closing_may_be_repeated_and_needs_no_start() -> None:
    rehearsal = Rehearsal()
    rehearsal.close()
    rehearsal.close()


def test_a_port_can_be_asked_for_and_the_others_follow() -> None:
    port, rehearsal = _in_a_row(BELOW_EPHEMERAL)
    with rehearsal:
        ports = [urlsplit(url).port for url in (rehearsal.openai_url, rehearsal.azure_url, rehearsal.arm_url)]
    assert ports == [port, port + 1, port + 2]


def _in_a_row(ports: Iterable[int]) -> tuple[int, Rehearsal]:
    """A rehearsal on the first port from which on as many are free as it needs."""
    for port in ports:
        with suppress(OSError):
            return port, Rehearsal(port=port)
    raise AssertionError("no free ports in a row")


def test_the_connections_are_declared_with_references_and_no_secret(rehearsal: Rehearsal) -> None:
    connections = rehearsal.connections()
    assert {str(table["provider"]) for table in connections.values()} == {"openai", "azure-openai", "bedrock"}
    written = str(connections)
    assert not any(secret in written for name, secret in rehearsal.environment().items() if "DISABLED" not in name)


def test_what_is_gone_stays_in_the_record(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    file = client.files.create(file=("a.jsonl", b"x"), purpose="fine-tune").id
    rehearsal.clock.advance(1)
    rehearsal.truth.vanish(file)
    assert rehearsal.truth.things() == []
    assert [thing.id for thing in rehearsal.truth.ever()] == [file]
    assert [thing.id for thing in rehearsal.truth.things(at=NOON)] == [file]
    assert rehearsal.truth.one(file).billed_intervals() == ()
    with pytest.raises(KeyError):
        rehearsal.truth.one("nothing")


def test_requests_in_chunks_are_read_and_nonsense_is_hung_up_on(rehearsal: Rehearsal) -> None:
    address = urlsplit(rehearsal.openai_url)
    key = rehearsal.environment()["REHEARSAL_API_KEY"]
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    body = iter([b'{"model": "gpt-4.1-2025-04-14", ', b'"messages": [{"role": "user", "content": "hi"}]}'])
    headers = {"authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", body, headers, encode_chunked=True)
    assert connection.getresponse().read().startswith(b'{"id"')
    connection.request("POST", "/v1/files", b"not a form", headers)
    assert b"multipart" in connection.getresponse().read()
    form = {**headers, "content-type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/v1/files", b"--b--", form)
    assert b"'file'" in connection.getresponse().read()
    connection.close()
    connection.request("POST", "/v1/files", b"", {**headers, "content-length": str(10**12)})
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
