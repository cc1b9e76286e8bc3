"""Whatever is commanded in whatever order: a registry over DuckDB and one over memory do, say and record the same."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError, UnavailableError
from providers.ports import Artifact
from registry.application.ports import DeploymentQuery, VersionOrder, VersionQuery
from registry.application.reading import AsOf
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef
from registry.domain.versions import Who
from registry.store.duckdb_log import open_log
from tests.clock import FakeClock, SequentialIds
from tests.simulation.drama import OneLaneAfterAnother
from tests.stage import ANA, BEN, BOT, DOCUMENT, Stage

HISTORIES = int(os.environ.get("TENURE_HISTORIES", "0"))
"""How many histories are drawn anew; 0: those that are always the same."""

MODELS = st.sampled_from([BOT, BOT, "other"])
CONNECTIONS = st.sampled_from(["cloud", "cloud", "alone", "local"])
PEOPLE = st.sampled_from([ANA, BEN, Who(actor="user:cleo", reason="it is my turn")])
PICKS = st.integers(0, 7)
"""Which of what there is, counted round."""
KEYS = st.sampled_from([None, None, None, "k1", "k2", "k3"])
AGAINST = st.sampled_from([None, None, 0, -1, 1])
"""If-Match: none, the version that a stream has, the one before, the one after."""
PASSES = st.sampled_from([4, 0, 0, 1])
"""How much is worked on what was commanded before the next thing happens."""
MOVES = st.sampled_from(["activate", "activate", "deploy", "retire", "cancel", "retry", "approve", "delete"])
ORDERS: tuple[VersionOrder, ...] = ("newest", "oldest", "valid_loss", "train_loss")
POLICIES = st.sampled_from(
    [
        {"superseded_grace": "0s"},
        {"superseded": "keep", "idle_delete": "1h"},
        {"deploy": "on-trained", "orphans": "adopt"},
        {"deploy": "manual"},
        {"activate": "on-trained"},
        {"activate": "if-better", "orphans": "delete"},
        {"approvals": 1},
        {"max_hourly_cost": "1.80", "keep_artifacts": 1},
        {"max_monthly_cost": "1.00"},
        {"superseded": "perhaps"},
    ]
)
PRICES = {"provider": "azure-openai", "sku": "Standard", "unit": "hour", "currency": "EUR", "source": "a new list"}
DOCUMENTS = st.sampled_from(
    [
        DOCUMENT,
        {"policy": {"orphans": "delete", "superseded_grace": "1m"}},
        {"prices": [{**PRICES, "price": "2.50"}]},
        {"scheduler": {"poll": "30s", "absence": 1}},
        {"connections": {"cloud": {"provider": "azure-openai", "sku": "Standard", "region": "westeurope"}}},
        {"connections": {"alone": {"provider": "openai", "fine_tuning": False}}},
        {"connections": {"cloud": {"provider": "openai"}}},
        {"connections": {"new": {"provider": "openai", "api_key": "sk-1"}}},
        {"models": {"Other": {}}},
    ]
)
FAULTS: Mapping[str, Callable[[str], ProviderError]] = {
    "unavailable": lambda operation: UnavailableError("too many requests", operation=operation, retry_after_s=5.0),
    "unknown": lambda operation: OutcomeUnknownError("no answer", operation=operation),
    "rejected": lambda operation: RejectedError("quota exceeded", operation=operation),
}
STILL = timedelta(0)
"""A clock that does not tick: the two logs may ask it differently often."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """All that somebody is told who is refused."""

    kind: type[TenureError]
    told: Mapping[str, object]


class Commanded(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ids = SequentialIds()
        self.home = self.folder / "home"
        self.memory = Stage(self._of("memory"), document={}, clock=FakeClock(tick=STILL))
        clock = FakeClock(tick=STILL)
        log = open_log(self.home, clock=clock, ids=self.ids)
        self.duckdb = Stage(self._of("duckdb"), document={}, clock=clock, log=log)
        self.kept: dict[str, tuple[Callable[[Stage], object], object]] = {}
        self.looks = 0
        self.checked = -1
        self.both(self._one_lane)
        self.both(lambda stage: stage.registry.declaring.apply(DOCUMENT, ANA, plan=False))

    def _of(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _one_lane(self, stage: Stage) -> None:
        """So that both do things in one order."""
        stage.registry.reconciler._lanes = OneLaneAfterAnother()

    # Asking both

    def both(self, do: Callable[[Stage], object]) -> object:
        """The answer, or the refusal, of both. A refusal leaves no event."""
        answers: list[object] = []
        for stage in (self.memory, self.duckdb):
            head = stage.log.head()
            try:
                answers.append(do(stage))
            except TenureError as error:
                answers.append(Refusal(type(error), vars(error)))
            if isinstance(answers[-1], Refusal):
                assert stage.log.head() == head, f"{answers[-1]} left events"
        assert answers[0] == answers[1]
        return answers[0]

    def keyed(self, key: str | None, do: Callable[[Stage], object]) -> object:
        answer = self.both(do)
        if key is not None and not isinstance(answer, Refusal):
            self.kept.setdefault(key, (do, answer))
        return answer

    def conditional(
        self, off: int | None, expected: Mapping[str, int], key: str | None, do: Callable[[Stage], object]
    ) -> None:
        repeated = key in self.kept
        answer = self.keyed(key, do)
        if off in {-1, 1} and expected and not repeated:
            assert isinstance(answer, Refusal), f"done, although it is not at {expected}"

    def version_of(self, pick: int) -> VersionRef:
        found = self.memory.log.versions(VersionQuery(order="oldest")).items
        if not found:
            return VersionRef(BOT, 1)
        one = found[pick % len(found)]
        return VersionRef(one.model, one.version)

    def expected(self, stream: str, off: int | None) -> dict[str, int]:
        state = self.memory.log.load(stream)
        return {} if off is None or state is None else {stream: state.stream_version + off}

    # Commands

    @initialize(connection=CONNECTIONS, activate=st.sampled_from([True, False]), versions=st.sampled_from([2, 1, 0]))
    def begin(self, connection: str, activate: bool, versions: int) -> None:
        for _ in range(versions):
            self.fine_tune(BOT, connection, activate, ANA, None, 1)
            self.work(5)

    @rule(model=MODELS, connection=CONNECTIONS, activate=st.booleans(), who=PEOPLE, key=KEYS, passes=st.integers(0, 5))
    def fine_tune(self, model: str, connection: str, activate: bool, who: Who, key: str | None, passes: int) -> None:
        base = "base" if passes else "no such model"

        def do(stage: Stage) -> object:
            wanted = stage.wanted(model, connection, activate=activate, base_model=base)
            return stage.registry.commands.fine_tune(wanted, who, key)

        self.keyed(key, do)
        self.work(passes)

    @rule(model=MODELS, connection=CONNECTIONS, number=st.integers(1, 3), who=PEOPLE, key=KEYS)
    def import_version(self, model: str, connection: str, number: int, who: Who, key: str | None) -> None:
        artifact = f"ft:elsewhere-{number}"
        if number < 3:
            self._everywhere(lambda stage: _put(stage, connection, artifact))
        self.keyed(
            key,
            lambda stage: stage.registry.commands.import_version(model, connection, artifact, None, who, key),
        )

    @rule(moves=st.lists(st.tuples(MOVES, PICKS, PEOPLE, KEYS, AGAINST), min_size=1, max_size=4), passes=PASSES)
    def move(self, moves: list[tuple[str, int, Who, str | None, int | None]], passes: int) -> None:
        for move, pick, who, key, off in moves:
            ref = self.version_of(pick)
            expected = self.expected(f"version:{ref}", off)

            def do(
                stage: Stage,
                move: str = move,
                ref: VersionRef = ref,
                who: Who = who,
                key: str | None = key,
                expected: Mapping[str, int] = expected,
            ) -> object:
                return getattr(stage.registry.commands, move)(ref, who, key, expected)

            self.conditional(off, expected, key, do)
            self.same()
        self.work(passes)

    @rule(pick=PICKS, who=PEOPLE, key=KEYS, off=AGAINST)
    def undeploy(self, pick: int, who: Who, key: str | None, off: int | None) -> None:
        found = self.memory.log.deployments(DeploymentQuery())
        name = found[pick % len(found)].id if found else "dep_none"
        expected = self.expected(f"deployment:{name}", off)
        self.conditional(off, expected, key, lambda stage: stage.registry.commands.undeploy(name, who, key, expected))

    @rule(pick=PICKS, who=PEOPLE, key=KEYS, right=st.integers(0, 3))
    def attach(self, pick: int, who: Who, key: str | None, right: int) -> None:
        """Somebody deployed it by hand; or, now and then, something else."""
        ref = self.version_of(pick)
        state = self.memory.log.version(ref)
        if state is None or state.connection not in self.memory.providers.clouds:
            return
        artifact = (state.artifact_id or "none") if right else "something else"
        name = f"by-hand-{self.looks}"
        self._everywhere(lambda stage: stage.cloud(state.connection).stranger(name, artifact))
        self.keyed(key, lambda stage: stage.registry.commands.attach(ref, name, who, key))

    @rule(model=MODELS, policy=POLICIES, document=DOCUMENTS, what=st.integers(0, 5), who=PEOPLE)
    def declare(self, model: str, policy: dict[str, object], document: dict[str, object], what: int, who: Who) -> None:
        """A model's policy; other settings, planned or done; a connection that nobody needs any more."""
        match what:
            case 0 | 1:
                self.both(lambda stage: stage.registry.declaring.set_policy(model, policy, who))
            case 2 | 3 | 4:
                self.both(lambda stage: stage.registry.declaring.apply(document, who, plan=what == 2))
            case _:
                self.both(lambda stage: stage.registry.declaring.remove_connection("local", who))

    @rule(pick=PICKS)
    def ask_again_with_a_key(self, pick: int) -> None:
        """The same answer, and nothing new; or a refusal, where what it named has gone since."""
        if not self.kept:
            return
        do, before = list(self.kept.values())[pick % len(self.kept)]
        head = self.memory.log.head()
        answer = self.both(do)
        assert answer == before or isinstance(answer, Refusal)
        assert self.memory.log.head() == self.duckdb.log.head() == head

    # Work, time and what happens elsewhere

    @rule(paced=st.booleans(), sweep=st.booleans(), seconds=st.sampled_from([0, 20, 700, 3_600, 86_400 * 20]))
    def reconcile(self, paced: bool, sweep: bool, seconds: int) -> None:
        self._everywhere(lambda stage: stage.clock.advance(seconds=seconds))
        self.both(lambda stage: stage.registry.reconciler.run(paced=paced, sweep=sweep))

    @rule(passes=st.integers(1, 5))
    def work(self, passes: int) -> None:
        for _ in range(passes):
            self.both(lambda stage: stage.registry.reconciler.run())
            self._everywhere(lambda stage: stage.clock.advance(seconds=20))

    @rule(
        connection=CONNECTIONS,
        operation=st.sampled_from(["submit", "create", "delete", "poll", "get", "list"]),
        fault=st.sampled_from([*sorted(FAULTS), "lost", "broken"]),
        pick=PICKS,
    )
    def go_wrong(self, connection: str, operation: str, fault: str, pick: int) -> None:
        """The next call of an operation fails, or a deployment goes, or breaks down."""

        def strike(stage: Stage) -> None:
            cloud = stage.providers.clouds.get(connection)
            there = [one.name for one in cloud.deployments.values()] if cloud else []
            if cloud is not None and fault in FAULTS:
                cloud.fail(operation, FAULTS[fault](operation), when="after" if fault == "unknown" else "before")
            elif cloud is not None and there:
                strike = cloud.lose if fault == "lost" else cloud.break_down
                strike(there[pick % len(there)])

        self._everywhere(strike)

    @rule(how=st.sampled_from(["closed", "killed", "rebuilt"]))
    def start_again(self, how: str) -> None:
        """Closed and opened; killed, so that what lies on the disk at that moment is opened; or rebuilt."""
        if how == "rebuilt":
            self.both(lambda stage: stage.registry.tools.rebuild())
            return
        before = self.home
        if how == "killed":
            self.home = before.with_name(f"{before.name}+")
            shutil.copytree(before, self.home)
        self.duckdb.log.close()
        self.duckdb.log = open_log(self.home, clock=self.duckdb.clock, ids=self.ids)
        self._everywhere(lambda stage: stage.restart())
        self.both(self._one_lane)

    def _everywhere(self, do: Callable[[Stage], object]) -> None:
        for stage in (self.memory, self.duckdb):
            do(stage)

    # What is the same

    @rule(share=st.floats(0, 1), by=st.sampled_from(["model", "provider", "connection", "day"]))
    def look_back(self, share: float, by: str) -> None:
        at = int(share * self.memory.log.head())
        self.both(lambda stage: shown(stage, at, self.looks))
        self.both(lambda stage: stage.registry.auditing.audit(by=by, as_of=at))
        time = next((event.recorded_at for event in self.memory.log.read(after=at)), None)
        self.both(lambda stage: shown(stage, time, self.looks))

    @invariant()
    def same(self) -> None:
        assert self.exported(self.memory) == self.exported(self.duckdb)
        head = self.memory.log.head()
        if head == self.checked:
            return
        self.checked = head
        self.looks += 1
        for as_of in (None, self.looks * 7_919 % (head + 1)):
            self.both(lambda stage, as_of=as_of: shown(stage, as_of, self.looks))
        for stage in (self.memory, self.duckdb):
            assert states(stage, None) == states(stage, head)

    def exported(self, stage: Stage) -> bytes:
        file = self.folder / "export.jsonl"
        stage.registry.tools.export(file)
        return file.read_bytes()

    def teardown(self) -> None:
        self.both(lambda stage: stage.registry.tools.verify())
        self.both(lambda stage: stage.registry.auditing.focus().csv())
        self.duckdb.log.close()
        shutil.rmtree(self.folder)


def _put(stage: Stage, connection: str, artifact: str) -> None:
    cloud = stage.providers.clouds.get(connection)
    if cloud is not None:
        cloud.artifacts[artifact] = Artifact(id=artifact)


def shown(stage: Stage, as_of: AsOf, look: int) -> list[object]:
    """What somebody is shown; of versions, one in full, each look another."""
    reading, models = stage.registry.reading, stage.registry.reading.models(as_of)
    told: list[object] = [models, reading.connections(as_of), reading.deployments(as_of=as_of)]
    versions, _ = reading.versions(VersionQuery(order=ORDERS[look % len(ORDERS)]), as_of)
    told.append(versions)
    for model in models:
        told += [reading.policy(model.model, as_of), reading.history(model.model, as_of)]
    if versions:
        one = versions[look % len(versions)]
        told += [reading.version(VersionRef(one.model, one.version), as_of)]
        told += [reading.metrics(VersionRef(one.model, one.version)), reading.history(one.ref, as_of)]
    return told


def states(stage: Stage, at: int | None) -> list[object]:
    log = stage.log
    kept = [log.registry(at=at), [*log.models(at=at)], [*log.connections(at=at)]]
    return [*kept, log.versions(VersionQuery(), at=at), [*log.deployments(DeploymentQuery(), at=at)]]


pytestmark = pytest.mark.slow

TestCommanded = Commanded.TestCase
TestCommanded.settings = settings(
    max_examples=HISTORIES or 18,
    stateful_step_count=25,
    derandomize=not HISTORIES,
    deadline=None,
    # Shrinking runs a hundred more histories on the disk, and a history of 25 steps can be read as it is.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
