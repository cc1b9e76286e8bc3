"""A key that was recorded is known at every moment; one that was not costs no look-up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from registry.application.ports import Idempotency
from registry.domain.errors import IdempotencyConflictError
from registry.store import keys
from registry.store.database import Database
from registry.store.duckdb_log import DuckDBLog, open_log
from registry.store.keys import Keys, Sieve
from tests.store.samples import Counting, Ticking, requested, status


class Table:
    """The table of keys, as `Keys` asks the database for it. `meanwhile` is called between two slices of it."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.looked_up: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self._left: Iterator[str] = iter(())

    def query(self, sql: str, parameters: Sequence[str] = ()) -> list[Any]:
        if "count" in sql:
            return [(len(self.names),)]
        (key,) = parameters
        self.looked_up.append(key)
        return [("f", json.dumps({"of": key}))] if key in self.names else []

    def asked(self, question: Callable[[Any], None]) -> None:
        question(self)

    def execute(self, _: str) -> Table:
        self._left = iter(tuple(self.names))
        return self

    def fetchmany(self, _: int) -> list[tuple[str]]:
        self.meanwhile()
        return [(name,) for name in itertools.islice(self._left, 2)]


def known(table: Table) -> Keys:
    return Keys(cast("Database", table))


def kept(name: str) -> Idempotency:
    return Idempotency(key=name, fingerprint="f", answer={"of": name})


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sieve is filled with the first look-up, and next to nothing is held."""
    monkeypatch.setattr(keys, "LOOK_UPS_MAX", 0)
    monkeypatch.setattr(keys, "HELD_MAX", 2)


def test_the_sieve_holds_back_all_that_was_added_and_few_others_at_some_bytes_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "KEYS_MIN", 1 << 10)
    count = 10_000
    for sieve in (Sieve(), Sieve(count)):
        for number in range(count):
            sieve.add(f"key-{number}")
        assert all(f"key-{number}" in sieve for number in range(count))
        assert sum(f"other-{number}" in sieve for number in range(count)) < count / 50
        assert sieve.size_bytes <= 7 * count


@pytest.mark.usefixtures("filled")
def test_a_new_key_is_not_looked_up_and_an_old_one_is_found() -> None:
    table = Table("old", "older")
    mine = known(table)
    assert mine.find("old") == kept("old")
    table.looked_up.clear()
    new = [f"new-{number}" for number in range(200)]
    assert not any(mine.find(name) or mine.taken(name) for name in new)
    assert len(table.looked_up) < 10
    assert mine.taken("older")
    assert table.looked_up[-1] == "older"


def test_few_keys_are_looked_up_and_many_fill_the_sieve() -> None:
    table = Table()
    mine = known(table)
    for number in range(3 * keys.LOOK_UPS_MAX):
        assert mine.find(f"new-{number}") is None
    assert len(table.looked_up) == keys.LOOK_UPS_MAX + 1


@pytest.mark.usefixtures("filled")
def test_what_is_recorded_while_the_sieve_is_filled_is_known() -> None:
    table = Table(*(f"old-{number}" for number in range(7)))
    mine = known(table)
    mine.recorded(1, [kept("before")])
    came: list[str] = []

    def meanwhile() -> None:
        batch = len(came) + 2
        came.append(f"came-{batch}")
        mine.recorded(batch, [kept(came[-1])])
        assert mine.find("before"), "the sieve is not asked before it is filled"
        assert mine.find("old-6")
        table.names.extend(name for name in ("before", *came) if name not in table.names)
        mine.applied_to(batch)

    table.meanwhile = meanwhile
    mine.find("anything")
    assert len(came) > 3
    assert all(mine.find(name) and mine.taken(name) for name in ["before", *came, *table.names])


@pytest.mark.usefixtures("filled")
def test_a_key_that_has_not_been_applied_stays_in_memory_however_many_come() -> None:
    table = Table()
    mine = known(table)
    mine.find("anything")
    for batch in range(1, 9):
        mine.recorded(batch, [kept(f"k{batch}")])
    mine.applied_to(3)
    table.names += ["k1", "k2", "k3"]
    assert all(mine.find(f"k{batch}") == kept(f"k{batch}") for batch in range(1, 9))
    assert table.looked_up[-3:] == ["k1", "k2", "k3"]


def test_a_sieve_that_could_not_be_filled_is_filled_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOOK_UPS_MAX", 0)
    table = Table("old")
    mine = known(table)

    def broken() -> None:
        raise OSError

    table.meanwhile = broken
    with pytest.raises(OSError):  # noqa: PT011 -- ours, from above
        mine.find("new")
    table.meanwhile = lambda: None
    assert mine.find("old")
    table.looked_up.clear()
    assert mine.find("new") is None
    assert not table.looked_up


def opened(home: Path) -> DuckDBLog:
    return open_log(home, clock=Ticking(), ids=Counting())


@pytest.mark.parametrize("look_ups", [0, 1_000])
def test_a_key_is_known_and_taken_after_a_restart(home: Path, monkeypatch: pytest.MonkeyPatch, look_ups: int) -> None:
    monkeypatch.setattr(keys, "LOOK_UPS_MAX", look_ups)
    log = opened(home)
    log.append([requested("a", 1)], expected={}, idempotency=kept("k"))
    log.close()
    log = opened(home)
    try:
        with pytest.raises(IdempotencyConflictError):
            log.append([status("a", 1)], expected={}, idempotency=kept("k"))
        assert log.answered("new") is None
        assert log.answered("k") == kept("k")
        with pytest.raises(IdempotencyConflictError):
            log.append([status("a", 1)], expected={}, idempotency=kept("k"))
        assert log.head() == 1
    finally:
        log.close()


@pytest.mark.usefixtures("filled")
def test_whoever_was_answered_finds_the_key_and_nobody_takes_it_twice(home: Path) -> None:
    log = opened(home)

    def work(number: int) -> int:
        done = 0
        for turn in range(60):
            key = kept(f"{number % 4}-{turn}")
            try:
                log.append([], expected={}, idempotency=key)
                done += 1
            except IdempotencyConflictError:
                pass
            assert log.answered(key.key) == key
            assert log.answered(f"never-{number}-{turn}") is None
        return done

    try:
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) == 4 * 60
    finally:
        log.close()
