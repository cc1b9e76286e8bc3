"""Whatever is asked about a position is what its events, folded by hand, say: at once, later, and asked again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import TypeVar, cast

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.application.ports import DeploymentQuery, VersionPage, VersionQuery
from registry.domain import apply
from registry.domain.errors import CorruptLogError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.domain.states import (
    ConnectionState,
    DeploymentState,
    ModelState,
    RegistryState,
    State,
    VersionState,
)
from registry.store import memory_ledger
from registry.store.database import Database
from registry.store.duckdb_log import open_log
from registry.store.past import Past
from registry.store.reads import Reads
from registry.store.selection import select_deployments, select_versions
from tests.store.samples import (
    EVERY_EVENT,
    START,
    Counting,
    Log,
    Ticking,
    add,
    deployment,
    fill,
    own_stream,
    requested,
    status,
    trained,
)

A = TypeVar("A")
S = TypeVar("S", bound=State)

MODELS = st.sampled_from(["a", "support", "support-bot"])
NUMBERS = st.integers(1, 3)


def deployed(model: str, number: int) -> NewEvent:
    return deployment(f"dep_{number}", model, number)


HISTORIES = st.lists(
    st.one_of(
        st.builds(requested, MODELS, NUMBERS),
        st.builds(status, MODELS, NUMBERS),
        st.builds(trained, MODELS, NUMBERS),
        st.builds(deployed, MODELS, NUMBERS),
        st.sampled_from(EVERY_EVENT).map(own_stream),
    ),
    min_size=1,
    max_size=10,
)
QUERIES = (
    VersionQuery(),
    VersionQuery(order="oldest", limit=2),
    VersionQuery(model="support-bot"),
    VersionQuery(model="support", states=frozenset({"queued"})),
)
DEPLOYMENTS = (DeploymentQuery(), DeploymentQuery(live=True), DeploymentQuery(model="support-bot"))
WEEK = START - timedelta(days=3), START + timedelta(days=4)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORIES)
def test_every_question_about_every_position_is_answered_by_the_fold_of_the_events_up_to_it(
    history: list[NewEvent],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = cast("Log", open_log(Path(folder) / "home", clock=Ticking(), ids=Counting()))
        try:
            for event in history:
                assert log.versions(VersionQuery(), at=add(log, event)) == log.versions(VersionQuery())
            for at in (*range(log.head() + 1), log.head() + 5):
                _check(log, at)
        finally:
            log.close()


def _check(log: Log, at: int) -> None:
    streams = {event.stream for event in log.read(until=at)}
    folds = [apply.fold(stream, log.read(stream=stream, until=at)) for stream in streams]
    versions, deployments = _of(folds, VersionState), _of(folds, DeploymentState)
    for query in QUERIES:
        assert _asked_twice(lambda query=query: log.versions(query, at=at)) == select_versions(versions, query)
    for query in DEPLOYMENTS:
        found = _asked_twice(lambda query=query: log.deployments(query, at=at))
        assert found == select_deployments(deployments, query)
    by_name = attrgetter("name")
    assert _asked_twice(lambda: log.models(at=at)) == sorted(_of(folds, ModelState), key=by_name)
    assert _asked_twice(lambda: log.connections(at=at)) == sorted(_of(folds, ConnectionState), key=by_name)
    for one in versions:
        assert _asked_twice(lambda one=one: log.version(VersionRef(one.model, one.version), at=at)) == one
    for one in deployments:
        assert _asked_twice(lambda one=one: log.deployment(one.id, at=at)) == one
    assert log.registry(at=at) == next(iter(_of(folds, RegistryState)), RegistryState())
    from_, to = WEEK
    ordered = select_deployments(deployments, DeploymentQuery())
    assert log.billed(from_=from_, to=to, at=at) == memory_ledger.billed(ordered, from_=from_, to=to)
    assert log.billed_by_day(from_=from_, to=to, at=at) == memory_ledger.by_day(ordered, from_=from_, to=to)


def _of(folds: list[State], kind: type[S]) -> list[S]:
    return [one for one in folds if isinstance(one, kind)]


def _asked_twice(ask: Callable[[], A]) -> A:
    """Whoever gets an answer may change it, and the next one does not see that."""
    first = ask()
    answered: object = first.items if isinstance(first, VersionPage) else first
    for state in cast("Sequence[State]", answered if isinstance(answered, (list, tuple)) else [answered]):
        state.stream_version = -1
    return ask()


class CountedDatabase(Database):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asks = 0

    def asked(self, question: Callable[[duckdb.DuckDBPyConnection], A]) -> A:
        self.asks += 1
        return super().asked(question)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CountedDatabase]:
    """Of `fill`: 5 versions and 3 deployments."""
    home = tmp_path / "home"
    log = cast("Log", open_log(home, clock=Ticking(), ids=Counting()))
    fill(log)
    log.close()
    database = CountedDatabase(home / "tenure.duckdb")
    yield database
    database.close()


def test_a_kind_is_folded_once_for_all_questions_about_a_position(database: CountedDatabase) -> None:
    past = Past(database, Reads(database))
    assert len(past.versions(VersionQuery(), 13).items) == 4
    assert len(past.versions(VersionQuery(model="support-bot"), 13).items) == 3
    assert past.state("version:support-bot@2", 13) is not None
    assert past.state("version:support-bot@9", 13) is None
    assert database.asks == 1
    assert past.deployments(DeploymentQuery(live=True), 18) == past.deployments(DeploymentQuery(), 18)
    assert len(past.deployments(DeploymentQuery(model="support-bot"), 18)) == 2
    assert database.asks == 2


def test_older_folds_are_forgotten_when_there_are_too_many_and_the_last_one_never(database: CountedDatabase) -> None:
    past = Past(database, Reads(database), states_max=5)
    for at, asks in ((6, 1), (8, 2), (8, 2), (6, 2), (10, 3), (6, 3), (8, 4)):
        past.versions(VersionQuery(), at)
        assert database.asks == asks
    small = Past(database, Reads(database), states_max=0)
    small.versions(VersionQuery(), 14)
    small.versions(VersionQuery(), 14)
    assert database.asks == 5


def test_what_was_folded_is_given_back_a_while_after_the_last_question(database: CountedDatabase) -> None:
    past = Past(database, Reads(database), kept_s=0.01)
    deadline = time.monotonic() + 30
    while database.asks < 2 and time.monotonic() < deadline:
        past.versions(VersionQuery(), 14)
        time.sleep(0.02)
    assert database.asks >= 2
    past.forget()


def test_an_event_that_cannot_be_read_is_named_by_its_position(database: CountedDatabase) -> None:
    database.query("UPDATE event SET data = '{}' WHERE position = 6")
    past = Past(database, Reads(database))
    assert past.versions(VersionQuery(), 5).items == ()
    with pytest.raises(CorruptLogError, match="event 6"):
        past.versions(VersionQuery(), 6)
