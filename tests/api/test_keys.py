"""Idempotency keys over a real log: one effect and one answer, through restarts, deaths, crowds and other people."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry.domain.errors import UnavailableError
from registry.server import create_app
from registry.store import keys
from registry.store.duckdb_log import DuckDBLog, open_log
from registry.system import TimeOrderedIds
from registry.transport.gate import Gate
from registry.transport.services import Services
from tests.api.conftest import Mint, bearer
from tests.api.test_rest import BOTS, CSV
from tests.clock import FakeClock
from tests.stage import ANA, Stage

Answer = tuple[int, str, str | None]


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sieve is in use from the second key on, and answers leave memory soon."""
    monkeypatch.setattr(keys, "LOOK_UPS_MAX", 1)
    monkeypatch.setattr(keys, "HELD_MAX", 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(tmp_path: Path, clock: FakeClock) -> Iterator[DuckDBLog]:
    log = open_log(tmp_path / "log", clock=clock, ids=TimeOrderedIds())
    yield log
    log.close()


@pytest.fixture
def stage(tmp_path: Path, clock: FakeClock, log: DuckDBLog) -> Stage:
    return Stage(tmp_path, clock=clock, log=log)


@contextmanager
def again_over(stage: Stage, home: Path) -> Generator[TestClient]:
    """A new server over a log's home, as after a restart; the clouds are what they were."""
    log = open_log(home, clock=stage.clock, ids=TimeOrderedIds())
    try:
        stage.log = log
        services = Services(registry=stage.restart(), gate=Gate(open_to=ANA.actor, clock=stage.clock))
        with TestClient(create_app(services, shells=["registry.api"])) as client:
            yield client
    finally:
        log.close()


def begin(rest: TestClient, key: str, *, token: str | None = None, **more: object) -> Answer:
    who = bearer(token) if token else {}
    train = rest.post("/api/v1/datasets?name=t.csv", content=CSV, headers=who).json()["id"]
    body = {"connection": "cloud", "base_model": "base", "train": train, **more}
    answer = rest.post(f"{BOTS}/versions", json=body, headers={"Idempotency-Key": key, **who})
    return answer.status_code, answer.text, answer.headers.get("etag")


def test_the_same_answer_is_given_after_a_restart_and_another_body_is_a_conflict(
    rest: TestClient, stage: Stage, log: DuckDBLog
) -> None:
    first = begin(rest, "k1")
    assert begin(rest, "k2")[0] == 202
    stage.settle()
    assert begin(rest, "k1") == first
    log.close()
    with again_over(stage, log.home.path) as later:
        assert later.get(f"{BOTS}/versions/1").json()["state"] == "trained"
        assert begin(later, "k1") == first, "byte for byte, though things have moved on"
        assert begin(later, "k1", method="dpo")[0] == 409
        assert later.post("/api/v1/models", json={"model": "a"}, headers={"Idempotency-Key": "k1"}).status_code == 409
        assert len(later.get(f"{BOTS}/versions").json()["items"]) == 2


def test_an_answer_that_was_given_is_durable(rest: TestClient, stage: Stage, log: DuckDBLog, tmp_path: Path) -> None:
    """Killed right after it: what the journal holds at that moment is enough to give the same answer."""
    first = begin(rest, "k1")
    shutil.copytree(log.home.path, tmp_path / "killed")
    stage.settle()
    with again_over(stage, tmp_path / "killed") as later:
        stage.settle()
        assert later.get(f"{BOTS}/versions/1").json()["state"] == "trained"
        assert begin(later, "k1") == first
        assert len(later.get(f"{BOTS}/versions").json()["items"]) == 1


def test_a_server_that_died_between_effect_and_answer_acts_once_and_answers_with_how_things_stand(
    rest: TestClient, stage: Stage, log: DuckDBLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = log.append

    def dies_before_the_answer(*arguments: Any, **options: Any) -> Any:
        record = options.get("idempotency")
        if record is not None and record.key.startswith("http:"):
            raise UnavailableError("killed")
        return append(*arguments, **options)

    monkeypatch.setattr(log, "append", dies_before_the_answer)
    assert begin(rest, "k1")[0] == 503
    shutil.copytree(log.home.path, tmp_path / "killed")
    with again_over(stage, tmp_path / "killed") as later:
        stage.settle()
        again = begin(later, "k1")
        assert (again[0], '"state":"trained"' in again[1]) == (202, True)
        assert begin(later, "k1") == again
        assert begin(later, "k1", method="dpo")[0] == 409
        assert len(later.get(f"{BOTS}/versions").json()["items"]) == 1


def test_the_same_key_of_somebody_else_is_another_key(locked: TestClient, mint: Mint) -> None:
    ana, ben = mint("developer", actor="user:ana"), mint("developer", actor="user:ben")
    first, other = begin(locked, "k", token=ana), begin(locked, "k", token=ben, method="dpo")
    assert (first[0], other[0]) == (202, 202)
    assert begin(locked, "k", token=ana) == first
    assert begin(locked, "k", token=ben, method="dpo") == other
    assert begin(locked, "k", token=ben)[0] == 409
    assert len(locked.get(f"{BOTS}/versions", headers=bearer(ana)).json()["items"]) == 2


def test_sent_at_once_the_same_is_done_once_and_something_else_is_a_conflict(rest: TestClient) -> None:
    train = rest.post("/api/v1/datasets?name=t.csv", content=CSV).json()["id"]

    def send(number: int) -> Answer:
        body = {"connection": "cloud", "base_model": "base", "train": train}
        body |= {"method": "dpo"} if number % 4 == 3 else {}
        answer = rest.post(f"{BOTS}/versions", json=body, headers={"Idempotency-Key": f"k{number // 8}"})
        return answer.status_code, answer.text, answer.headers.get("etag")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(48)))
    for start in range(0, 48, 8):
        crowd = answers[start : start + 8]
        same, other = [one for n, one in enumerate(crowd) if n % 4 != 3], [crowd[3], crowd[7]]
        done, refused = (same, other) if same[0][0] == 202 else (other, same)
        assert (len(set(done)), done[0][0]) == (1, 202)
        assert {status for status, *_ in refused} == {409}
    assert len(rest.get(f"{BOTS}/versions").json()["items"]) == 6
