"""The log in DuckDB and the one in memory do the same, whatever is asked of them in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from registry.application.ports import DeploymentQuery, Idempotency, Metric, VersionQuery
from registry.domain.errors import TenureError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.store.duckdb_log import open_log
from registry.store.memory_log import MemoryLog
from tests.store.samples import (
    EVERY_EVENT,
    START,
    Counting,
    Log,
    Ticking,
    deployment,
    own_stream,
    requested,
    status,
    trained,
)

NUMBERS = st.integers(1, 4)
MODELS = st.sampled_from(["a", "support-bot", "support"])
LOSSES = st.floats(allow_nan=False, allow_infinity=False)


def with_loss(model: str, number: int, loss: float) -> NewEvent:
    return trained(model, number, valid_loss=loss)


def deployed(number: int, model: str) -> NewEvent:
    return deployment(f"dep_{number}", model, number)


EVENTS = st.one_of(
    st.builds(requested, MODELS, NUMBERS),
    st.builds(status, MODELS, NUMBERS, st.text(max_size=5).filter(lambda text: text.isprintable())),
    st.builds(with_loss, MODELS, NUMBERS, LOSSES),
    st.builds(deployed, NUMBERS, MODELS),
    st.sampled_from(EVERY_EVENT).map(own_stream),
)
QUERIES = st.builds(
    VersionQuery,
    model=st.none() | MODELS,
    states=st.frozensets(st.sampled_from(["queued", "trained", "deploying"]), max_size=2),
    order=st.sampled_from(["newest", "oldest", "valid_loss", "train_loss"]),
    limit=st.none() | st.integers(1, 3),
)


class SideBySide(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clocks = Ticking(), Ticking()
        self.ids = Counting(), Counting()
        self.duckdb = self.open()
        self.memory = cast("Log", MemoryLog(clock=self.clocks[1], ids=self.ids[1]))

    def open(self) -> Log:
        now = self.clocks[0].now
        log = cast("Log", open_log(self.folder / "home", clock=self.clocks[0], ids=self.ids[0]))
        self.clocks[0].now = now
        return log

    def both(self, ask: Callable[[Log], object]) -> object:
        """The answer, or the error, of both."""
        answers: list[object] = []
        for log in (self.duckdb, self.memory):
            try:
                answers.append(ask(log))
            except TenureError as exc:
                answers.append((type(exc), str(exc)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(
        events=st.lists(EVENTS, max_size=3),
        streams=st.lists(st.tuples(MODELS, NUMBERS), max_size=2),
        off=st.integers(-1, 1),
        key=st.none() | st.sampled_from(["k1", "k2"]),
    )
    def append(self, events: list[NewEvent], streams: list[tuple[str, int]], off: int, key: str | None) -> None:
        expected: dict[str, int] = {}
        for model, number in streams:
            state = self.memory.version(VersionRef(model, number))
            expected[f"version:{model}@{number}"] = max(0, (0 if state is None else state.stream_version) + off)
        idempotency = None if key is None else Idempotency(key=key, fingerprint="f", answer={"key": key})
        self.both(lambda log: log.append(events, expected=expected, idempotency=idempotency))
        self.both(lambda log: None if key is None else log.answered(key))

    @rule(model=MODELS, number=NUMBERS, step=NUMBERS, value=LOSSES)
    def record(self, model: str, number: int, step: int, value: float) -> None:
        point = Metric(attempt=1 + step % 2, step=step, name="loss", value=value, epoch=None, recorded_at=START)
        self.both(lambda log: log.record_metrics(VersionRef(model, number), [point]))
        self.both(lambda log: log.metrics(VersionRef(model, number)))

    @rule()
    def rebuild(self) -> None:
        self.both(lambda log: log.rebuild())

    @rule()
    def reopen(self) -> None:
        self.duckdb.close()
        self.duckdb = self.open()

    @rule(query=QUERIES, share=st.floats(0, 1))
    def look(self, query: VersionQuery, share: float) -> None:
        at = int(share * self.memory.head())
        self.both(lambda log: log.versions(query))
        self.both(lambda log: log.versions(query, at=at))
        self.both(lambda log: list(log.deployments(DeploymentQuery(model=query.model, live=at % 2 == 0))))
        self.both(lambda log: list(log.deployments(DeploymentQuery(), at=at)))
        self.both(lambda log: (list(log.models()), list(log.models(at=at)), list(log.connections(at=at))))
        self.both(lambda log: list(log.read(after=at, limit=5)))
        self.both(lambda log: list(log.model_streams(query.model or "a")))
        self.both(lambda log: log.registry(at=at))
        self.both(lambda log: log.position_at(self.clocks[1].now))

    @invariant()
    def same(self) -> None:
        self.both(lambda log: log.head())
        self.both(
            lambda log: [log.version(VersionRef(model, number)) for model in ("a", "support-bot") for number in (1, 3)]
        )
        self.both(lambda log: log.motion())
        self.both(lambda log: list(log.surplus({"a": 0, "support-bot": 1})))

    def teardown(self) -> None:
        self.both(lambda log: log.verify())
        self.both(lambda log: list(log.read()))
        self.duckdb.close()
        shutil.rmtree(self.folder)


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    # Shrinking runs a hundred more histories on the disk, and a history of 12 steps can be read as it is.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
