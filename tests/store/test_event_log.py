"""What every event log does, whatever it is made of: appending, reading, states, order and pages."""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime, timedelta, timezone
from math import isnan
from typing import Any, cast

import pytest

from registry.application.ports import DeploymentQuery, Idempotency, Metric, VersionQuery
from registry.domain import events as ev
from registry.domain.errors import BadInputError, ConflictError, IdempotencyConflictError, UnavailableError
from registry.domain.ids import VersionRef
from registry.store.chain import GENESIS, row_hash, row_of
from registry.store.duckdb_log import DuckDBLog
from registry.store.memory_log import MemoryLog
from registry.store.writer import Writer
from tests.store.samples import (
    ARTIFACT,
    EVERY_EVENT,
    START,
    Log,
    Ticking,
    add,
    event,
    fill,
    imported,
    own_stream,
    requested,
    status,
    trained,
)

# Appending


def test_an_append_answers_its_events_with_their_places_and_they_are_read_back_equal(log: Log) -> None:
    answer = log.append(
        [requested("a", 1), status("a", 1)], expected={"version:a@1": 0}, correlation_id="cmd", causation_id="why"
    )
    first, second = answer.events
    assert answer.position == log.head() == 2
    assert (first.position, first.stream_version, second.position, second.stream_version) == (1, 1, 2, 2)
    assert (first.type, first.schema_version, first.id) == ("fine-tune-requested", 1, f"{1:032x}")
    assert (first.correlation_id, second.correlation_id, first.causation_id) == ("cmd", "cmd", "why")
    assert first.recorded_at == second.recorded_at == START + timedelta(seconds=1)
    assert list(log.read()) == [first, second]


def test_without_a_correlation_the_first_event_is_its_own_cause(log: Log) -> None:
    first, second = log.append([requested("a", 1), status("a", 1)], expected={}).events
    assert first.correlation_id == second.correlation_id == first.id
    assert first.causation_id is None


def test_every_event_type_comes_back_as_it_was_written(log: Log) -> None:
    for payload in EVERY_EVENT:
        log.append([own_stream(payload)], expected={})
    assert [found.payload for found in log.read()] == list(EVERY_EVENT)


def test_hashes_chain_from_the_first_event_to_the_last(log: Log) -> None:
    fill(log)
    previous = GENESIS
    for found in log.read():
        assert found.hash == row_hash(previous, row_of(found))
        previous = found.hash


def test_a_stale_expectation_is_refused_and_nothing_is_written(log: Log) -> None:
    add(log, requested("a", 1))
    with pytest.raises(ConflictError) as refusal:
        log.append([status("a", 1), requested("a", 2)], expected={"version:a@2": 0, "version:a@1": 0})
    assert (refusal.value.stream, refusal.value.expected, refusal.value.actual) == ("version:a@1", 0, 1)
    assert log.head() == 1
    assert log.load("version:a@2") is None


def test_an_expectation_may_be_on_a_stream_that_is_not_appended_to(log: Log) -> None:
    add(log, requested("a", 1))
    with pytest.raises(ConflictError):
        log.append([requested("a", 2)], expected={"version:a@1": 2})
    assert log.append([requested("a", 2)], expected={"version:a@1": 1, "version:a@9": 0}).position == 2


def test_streams_without_an_expectation_are_appended_to_whatever_their_version(log: Log) -> None:
    for _ in range(3):
        add(log, status("a", 1))
    assert [found.stream_version for found in log.read(stream="version:a@1")] == [1, 2, 3]


def test_one_append_is_all_or_nothing_over_several_streams(log: Log) -> None:
    add(log, requested("a", 1), requested("a", 2))
    with pytest.raises(ConflictError):
        log.append([status("a", 1), status("a", 2)], expected={"version:a@1": 1, "version:a@2": 7})
    log.append([status("a", 1), status("a", 2)], expected={"version:a@1": 1, "version:a@2": 1})
    assert [found.stream for found in log.read(after=2)] == ["version:a@1", "version:a@2"]


def test_an_append_of_nothing_answers_the_head(log: Log) -> None:
    add(log, requested("a", 1))
    answer = log.append([], expected={"version:a@1": 1})
    assert (answer.position, answer.events) == (1, ())


def test_an_event_in_a_stream_of_another_kind_is_refused(log: Log) -> None:
    for stream in ("model:a", "version:a", "version:", "nothing:a", "version:a@0"):
        with pytest.raises(BadInputError):
            add(log, event(stream, ev.JobStatusChanged(status="running")))
    assert log.head() == 0


def test_what_json_cannot_hold_is_refused_before_it_is_written(log: Log) -> None:
    with pytest.raises(BadInputError, match="cannot be recorded"):
        add(log, trained("a", 1, valid_loss=float("nan")))
    with pytest.raises(BadInputError, match="cannot be recorded"):
        add(log, event("version:a@1", ev.VersionFailed(error="\ud800")))
    with pytest.raises(BadInputError, match="cannot be recorded"):
        add(log, event("version:a@1", ev.VersionFailed(error="x"), reason="\udcff"))
    assert log.head() == 0


def test_an_append_has_an_upper_bound(log: Log) -> None:
    with pytest.raises(BadInputError, match="at most 10000"):
        log.append([status("a", 1)] * 10_001, expected={})


def test_any_text_survives(log: Log) -> None:
    words = 'naïve \x00 \u2028 " \\ 😀 \n\t \x7f'
    add(log, event("version:a@1", ev.VersionFailed(error=words), actor="user:Ünal", reason=words))
    (found,) = log.read()
    assert (found.payload, found.actor, found.reason) == (ev.VersionFailed(error=words), "user:Ünal", words)
    state = log.version(VersionRef("a", 1))
    assert state is not None
    assert state.error == words
    log.verify()


def test_recorded_at_never_goes_back_when_the_clock_does(log: Log) -> None:
    add(log, requested("a", 1))
    behind = cast("MemoryLog | Writer", log if isinstance(log, MemoryLog) else cast("DuckDBLog", log)._writer)
    cast("Ticking", behind._clock).now = START - timedelta(days=1)
    add(log, status("a", 1))
    first, second = log.read()
    assert first.recorded_at == second.recorded_at


def test_concurrent_appends_conflict_or_land_and_leave_no_gap(log: Log) -> None:
    landed: list[int] = []

    def race(number: int) -> None:
        for _ in range(20):
            state = log.load("version:a@1")
            version = 0 if state is None else state.stream_version
            try:
                log.append([status("a", 1, f"by-{number}")], expected={"version:a@1": version})
            except ConflictError:
                continue
            landed.append(version + 1)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(landed) == list(range(1, len(landed) + 1))
    assert [found.position for found in log.read()] == sorted(landed)
    assert log.verify() == len(landed)


# Idempotency


def test_an_idempotency_key_is_answered_for_ever_and_taken_once(log: Log) -> None:
    key = Idempotency(key="k1", fingerprint="f", answer={"ref": "a@1", "n": [1, None]})
    assert log.answered("k1") is None
    log.append([requested("a", 1)], expected={}, idempotency=key)
    assert log.answered("k1") == key
    with pytest.raises(IdempotencyConflictError):
        log.append([status("a", 1)], expected={}, idempotency=key)
    list(log.read())
    with pytest.raises(IdempotencyConflictError):
        log.append([status("a", 1)], expected={}, idempotency=key)
    assert log.head() == 1


def test_an_idempotency_key_is_recorded_without_events_and_not_at_all_when_the_append_is_refused(log: Log) -> None:
    key = Idempotency(key="k", fingerprint="f", answer={})
    with pytest.raises(ConflictError):
        log.append([requested("a", 1)], expected={"version:a@1": 4}, idempotency=key)
    assert log.answered("k") is None
    assert log.append([], expected={}, idempotency=key).position == 0
    assert log.answered("k") == key


# Reading


def test_reads_are_bounded_by_positions_streams_and_a_limit(log: Log) -> None:
    for number in range(1, 7):
        add(log, status("a", 1 + number % 2))

    def positions(**bounds: Any) -> list[int]:
        return [found.position for found in log.read(**bounds)]

    assert positions() == [1, 2, 3, 4, 5, 6]
    assert positions(after=2, until=4) == [3, 4]
    assert positions(after=4, limit=1) == [5]
    assert positions(stream="version:a@1") == [2, 4, 6]
    assert positions(stream="version:a@1", after=2, limit=1) == [4]
    assert positions(streams=["version:a@2", "version:a@1", "version:a@3"], until=3) == [1, 2, 3]
    assert positions(streams=[]) == positions(limit=0) == positions(until=0) == positions(after=6) == []
    assert positions(until=99) == [1, 2, 3, 4, 5, 6]
    assert positions(streams=[f"version:a@{n}" for n in range(1, 300)], after=5) == [6]


def test_a_read_shows_what_was_there_when_it_was_asked_for(log: Log) -> None:
    add(log, status("a", 1))
    reading = log.read()
    add(log, status("a", 1))
    assert [found.position for found in reading] == [1]


def test_long_reads_go_on_chunk_after_chunk(log: Log) -> None:
    log.append([status("a", 1 + n % 2) for n in range(4_500)], expected={})
    assert [found.position for found in log.read()] == list(range(1, 4_501))
    assert [found.position for found in log.read(limit=2_100, after=10)] == list(range(11, 2_111))
    assert len(list(log.read(streams=["version:a@1", "version:a@2"], limit=4_200))) == 4_200
    assert len(list(log.read(stream="version:a@1"))) == 2_250


def test_a_position_is_found_by_time(log: Log) -> None:
    add(log, status("a", 1))
    add(log, status("a", 1), status("a", 1))
    assert log.position_at(START) == 0
    assert log.position_at(START + timedelta(seconds=1)) == 1
    assert log.position_at(START + timedelta(seconds=1.5)) == 1
    assert log.position_at(START + timedelta(seconds=2)) == 3
    assert log.position_at((START + timedelta(seconds=2)).astimezone(timezone(timedelta(hours=9)))) == 3


def test_waiting_ends_when_the_log_grows_or_the_time_is_up(log: Log) -> None:
    assert log.wait(0, 0.01) == 0
    add(log, status("a", 1))
    assert log.wait(0, 60) == 1
    writer = threading.Timer(0.05, lambda: add(log, status("a", 1)))
    writer.start()
    assert log.wait(1, 60) == 2
    writer.join()


def test_the_streams_of_a_model_are_its_own_its_versions_and_its_deployments(log: Log) -> None:
    fill(log)
    assert list(log.model_streams("support-bot")) == [
        "model:support-bot",
        "version:support-bot@1",
        "version:support-bot@2",
        "version:support-bot@3",
        "deployment:dep_1",
        "deployment:dep_2",
    ]
    assert list(log.model_streams("support")) == []


# States


def test_a_state_is_the_fold_of_its_stream_as_of_everything_appended(log: Log) -> None:
    assert log.load("version:a@1") is None
    add(log, requested("a", 1))
    for number in range(5):
        add(log, status("a", 1, f"s{number}"))
        state = log.version(VersionRef("a", 1))
        assert state is not None
        assert (state.stream_version, state.job_status) == (number + 2, f"s{number}")
        assert log.load("version:a@1") == state
    assert log.load("unheard:of") is None


def test_a_loaded_state_is_the_callers_own(log: Log) -> None:
    add(log, requested("a", 1))
    mine = log.version(VersionRef("a", 1))
    assert mine is not None
    mine.state = "spoiled"
    again = log.version(VersionRef("a", 1))
    assert again is not None
    assert again.state == "queued"


def test_the_registry_has_a_state_before_anything_happened(log: Log) -> None:
    assert log.registry().registry is None
    add(log, event("registry:tenure", ev.RegistryCreated(registry="r7f3")))
    assert log.registry().registry == "r7f3"
    assert log.registry(at=0).registry is None


def test_each_kind_is_found_by_name_and_listed_in_order(log: Log) -> None:
    fill(log)
    assert [state.name for state in log.models()] == ["billing-bot", "support-bot"]
    assert [state.name for state in log.connections()] == ["local"]
    model = log.model("support-bot")
    assert model is not None
    assert (model.active, model.last_version) == (1, 3)
    connection = log.connection("local")
    assert connection is not None
    assert connection.provider == "huggingface"
    found = log.deployment("dep_1")
    assert found is not None
    assert (found.state, found.endpoint) == ("serving", "http://127.0.0.1:1")
    assert (log.model("x"), log.connection("x"), log.deployment("x"), log.version(VersionRef("x", 1))) == (None,) * 4


def test_states_as_of_a_position_are_folded_from_the_log(log: Log) -> None:
    fill(log)
    now = log.head()
    assert log.version(VersionRef("support-bot", 1)) == log.version(VersionRef("support-bot", 1), at=now)
    then = log.version(VersionRef("support-bot", 1), at=6)
    assert then is not None
    assert (then.state, then.stream_version) == ("queued", 1)
    assert log.version(VersionRef("support-bot", 1), at=5) is None
    assert [state.name for state in log.models(at=3)] == ["billing-bot"]
    assert [state.name for state in log.models(at=4)] == ["billing-bot", "support-bot"]
    assert [state.name for state in log.connections(at=1)] == []
    model = log.model("support-bot", at=5)
    assert model is not None
    assert (model.active, model.last_version) == (None, 1)
    connection = log.connection("local", at=2)
    assert connection is not None
    assert connection.stream_version == 1


def test_lists_as_of_the_head_equal_the_lists_of_now(log: Log) -> None:
    fill(log)
    now = log.head()
    assert list(log.models(at=now)) == list(log.models())
    assert list(log.connections(at=now)) == list(log.connections())
    for query in (VersionQuery(), VersionQuery(model="support-bot", order="valid_loss", limit=2)):
        assert log.versions(query, at=now) == log.versions(query)
    for query in (DeploymentQuery(), DeploymentQuery(model="support-bot"), DeploymentQuery(live=True)):
        assert list(log.deployments(query, at=now)) == list(log.deployments(query))
    assert [state.id for state in log.deployments(DeploymentQuery(), at=15)] == []
    assert [state.version for state in log.versions(VersionQuery(model="support-bot"), at=8).items] == [2, 1]


def test_deployments_are_filtered_and_the_oldest_request_comes_first(log: Log) -> None:
    fill(log)

    def ids(**query: Any) -> list[str]:
        return [state.id for state in log.deployments(DeploymentQuery(**query))]

    assert ids() == ["dep_1", "dep_2", "dep_3"]
    assert ids(live=True) == ["dep_1", "dep_3"]
    assert ids(model="support-bot") == ["dep_1", "dep_2"]
    assert ids(model="support-bot", version=2) == ["dep_2"]
    assert ids(connection="other") == ["dep_3"]
    assert ids(model="support-bot", version=2, live=True) == []


def test_versions_are_counted_by_their_state(log: Log) -> None:
    assert log.version_counts() == {}
    fill(log)
    states = [one.state for one in log.versions(VersionQuery()).items]
    assert log.version_counts() == {state: states.count(state) for state in states}


def test_what_is_in_motion_is_what_a_plan_has_to_look_at(log: Log) -> None:
    fill(log)
    motion = log.motion()
    assert [(state.model, state.version) for state in motion.versions] == [("support-bot", 3)]
    assert [state.id for state in motion.deployments] == ["dep_1", "dep_3"]
    assert [state.name for state in motion.models] == ["billing-bot", "support-bot"]


@pytest.mark.parametrize(
    ("events", "moving"),
    [
        ([ev.TrainingSubmitted(attempt=1, name="n", token="t"), ev.VersionCancelled()], True),
        (
            [ev.TrainingSubmitted(attempt=1, name="n", token="t"), ev.VersionCancelled(), ev.JobStopped(status="x")],
            False,
        ),
        ([ev.VersionCancelled()], False),
        ([ev.DeletionRequested(model="a", version=1)], True),
        ([ev.VersionFailed(error="e"), ev.DeletionRequested(model="a", version=1)], True),
    ],
)
def test_a_version_that_is_over_is_in_motion_while_its_job_or_its_artifact_is_not(
    log: Log, events: list[ev.VersionEvent], moving: bool
) -> None:
    add(log, requested("a", 1), *(event("version:a@1", payload) for payload in events))
    assert bool(log.motion().versions) == moving


def test_the_surplus_is_what_was_retired_before_those_that_a_model_keeps(log: Log) -> None:
    for model in ("a", "b", "c"):
        for number in (1, 2, 3, 4, 5):
            retired = ev.VersionRetired(model=model, version=number, replaced_by=None)
            first = imported(model, number) if number == 2 else requested(model, number)
            add(log, first, event(f"version:{model}@{number}", retired))
    add(log, event("version:a@1", ev.DeletionRequested(model="a", version=1)))

    def surplus(**keep: int) -> list[tuple[str, int]]:
        return [(state.model, state.version) for state in log.surplus(keep)]

    assert surplus() == []
    assert surplus(a=5, b=4, c=2) == [("b", 1), ("c", 1), ("c", 3)]
    assert surplus(a=0) == [("a", 3), ("a", 4), ("a", 5)]
    add(log, event("version:c@5", ev.ActivationRequested(model="c", version=5)))
    assert surplus(c=2, d=0) == [("c", 1)]


# Pages


def pages(log: Log, query: VersionQuery) -> list[list[str]]:
    found: list[list[str]] = []
    after = None
    while True:
        page = log.versions(dataclasses.replace(query, after=after))
        found.append([f"{state.model}@{state.version}" for state in page.items])
        if page.next is None:
            return found
        after = page.next


def test_versions_come_in_the_order_that_was_asked_for(log: Log) -> None:
    fill(log)
    assert pages(log, VersionQuery()) == [["support-bot@3", "billing-bot@1", "support-bot@2", "support-bot@1"]]
    assert pages(log, VersionQuery(order="oldest", limit=3)) == [
        ["support-bot@1", "support-bot@2", "billing-bot@1"],
        ["support-bot@3"],
    ]
    assert pages(log, VersionQuery(order="valid_loss", limit=1)) == [
        ["support-bot@2"],
        ["support-bot@1"],
        ["billing-bot@1"],
        ["support-bot@3"],
    ]
    assert pages(log, VersionQuery(order="train_loss", limit=2)) == [
        ["support-bot@1", "support-bot@2"],
        ["billing-bot@1", "support-bot@3"],
    ]


def test_versions_are_filtered_by_model_state_connection_and_artifact(log: Log) -> None:
    fill(log)
    add(log, requested("billing-bot", 2, connection="other"))
    assert pages(log, VersionQuery(model="billing-bot")) == [["billing-bot@2", "billing-bot@1"]]
    assert pages(log, VersionQuery(states=frozenset({"trained", "queued"}), model="support-bot")) == [
        ["support-bot@3", "support-bot@2"]
    ]
    assert pages(log, VersionQuery(connection="other")) == [["billing-bot@2"]]
    assert pages(log, VersionQuery(artifact=ARTIFACT.id.upper(), model="support-bot")) == [
        ["support-bot@2", "support-bot@1"]
    ]
    assert pages(log, VersionQuery(artifact=ARTIFACT.id[:-1])) == [[]]
    assert pages(log, VersionQuery(model="unknown", limit=3)) == [[]]


def test_versions_of_one_moment_page_without_loss_or_repetition(log: Log) -> None:
    log.append([requested(model, n) for model in ("a", "b") for n in (1, 2, 3)], expected={})
    assert pages(log, VersionQuery(limit=2)) == [["a@3", "a@2"], ["a@1", "b@3"], ["b@2", "b@1"]]
    assert pages(log, VersionQuery(limit=2, order="oldest")) == [["a@1", "a@2"], ["a@3", "b@1"], ["b@2", "b@3"]]


def test_a_page_goes_on_where_it_ended_while_versions_are_added(log: Log) -> None:
    add(log, requested("a", 1))
    add(log, requested("a", 2))
    page = log.versions(VersionQuery(limit=1))
    add(log, requested("a", 3))
    rest = log.versions(VersionQuery(limit=1, after=page.next))
    assert [state.version for state in rest.items] == [1]
    assert rest.next is None


@pytest.mark.parametrize("cursor", ["x", "", "W10", "WzEsMl0", "bnVsbA", "é"])
def test_a_cursor_that_no_page_gave_is_refused(log: Log, cursor: str) -> None:
    with pytest.raises(BadInputError, match="cursor"):
        log.versions(VersionQuery(after=cursor))


def test_a_cursor_of_another_order_and_an_empty_page_are_refused(log: Log) -> None:
    fill(log)
    page = log.versions(VersionQuery(limit=1))
    with pytest.raises(BadInputError, match="order"):
        log.versions(VersionQuery(limit=1, after=page.next, order="oldest"))
    with pytest.raises(BadInputError, match="at least one"):
        log.versions(VersionQuery(limit=0))


# Metrics


def point(step: int, value: float, *, attempt: int = 1, name: str = "train_loss", epoch: float | None = None) -> Metric:
    return Metric(attempt=attempt, step=step, name=name, value=value, epoch=epoch, recorded_at=START)


def test_metrics_are_read_back_by_name_and_step_and_recording_again_replaces(log: Log) -> None:
    ref = VersionRef("a", 1)
    assert list(log.metrics(ref)) == []
    log.record_metrics(ref, [point(2, 0.5, epoch=0.2), point(1, 0.9), point(1, 1.1, name="eval_loss")])
    log.record_metrics(ref, [point(2, 0.4), point(2, 0.3)])
    log.record_metrics(ref, [])
    assert list(log.metrics(ref)) == [point(1, 1.1, name="eval_loss"), point(1, 0.9), point(2, 0.3)]
    assert list(log.metrics(VersionRef("a", 2))) == []
    assert log.head() == 0


def test_metrics_are_those_of_the_newest_attempt_unless_another_is_asked_for(log: Log) -> None:
    ref = VersionRef("a", 1)
    log.record_metrics(ref, [point(1, 0.9), point(1, 0.8, attempt=2)])
    assert [found.value for found in log.metrics(ref)] == [0.8]
    assert [found.value for found in log.metrics(ref, attempt=1)] == [0.9]
    assert list(log.metrics(ref, attempt=3)) == []


def test_a_loss_that_is_not_a_number_is_telemetry_too(log: Log) -> None:
    log.record_metrics(VersionRef("a", 1), [point(1, float("nan")), point(2, float("inf"))])
    first, second = log.metrics(VersionRef("a", 1))
    assert isnan(first.value)
    assert second.value == float("inf")


def test_a_point_that_no_database_can_hold_is_left_out_and_stops_nothing(log: Log) -> None:
    ref = VersionRef("a", 1)
    log.record_metrics(ref, [point(10**26, 0.5), point(1, 0.4, name="\ud800"), point(2, 0.3)])
    log.record_metrics(ref, [point(-(10**26), 0.5)])
    assert list(log.metrics(ref)) == [point(2, 0.3)]


# Closing


def test_a_closed_log_refuses_everything_and_may_be_closed_again(log: Log) -> None:
    add(log, requested("a", 1))
    log.close()
    log.close()
    for use in (
        lambda: add(log, status("a", 1)),
        lambda: log.load("version:a@1"),
        log.head,
        lambda: list(log.read()),
        lambda: log.versions(VersionQuery()),
        lambda: log.answered("k"),
        lambda: log.wait(0, 0),
        lambda: log.record_metrics(VersionRef("a", 1), [point(1, 1.0)]),
        lambda: log.metrics(VersionRef("a", 1)),
        log.verify,
        log.motion,
        lambda: log.position_at(datetime.now(UTC)),  # noqa: TID251
    ):
        with pytest.raises(UnavailableError, match="closed"):
            use()
