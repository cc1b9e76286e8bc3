"""The ledger in SQL says what `registry.domain.ledger` says, to the last millionth, whatever happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.application.ports import BilledDay, DeploymentQuery
from registry.domain import events as ev
from registry.domain.events import Rate
from registry.domain.states import DeploymentState, Span
from registry.store import memory_ledger
from registry.store.database import Database
from registry.store.ledger import Ledger
from registry.store.selection import select_deployments
from tests.store.samples import ARTIFACT, START, TRAINING_PRICE, Log, add, deployment, event, requested

DAY = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENTS = st.integers(0, 60 * 86_400_000_000).map(lambda count: DAY + timedelta(microseconds=count))
HOURLY = st.none() | st.decimals(0, 100, places=9)
CHANGES = st.lists(st.tuples(MOMENTS, HOURLY), max_size=3, unique_by=lambda change: change[0])


@st.composite
def deployments(draw: st.DrawFn) -> list[DeploymentState]:
    return [
        DeploymentState(
            id=f"dep_{number}",
            state=draw(st.sampled_from(["requested", "serving", "deleting", "deleted", "failed", "lost"])),
            hourly=draw(HOURLY),
            currency=draw(st.sampled_from(["USD", "EUR"])),
            rates=_rates(draw(HOURLY), draw(CHANGES)),
            requested_at=draw(MOMENTS),
            maybe_billed_from=draw(st.none() | MOMENTS),
            billed_from=draw(st.none() | MOMENTS),
            billed_to=draw(st.none() | MOMENTS),
            committed_until=draw(st.none() | MOMENTS),
            doubts=_doubts(draw(st.lists(MOMENTS, max_size=6, unique=True))),
        )
        for number in range(draw(st.integers(1, 4)))
    ]


def _rates(first: Decimal | None, changes: Sequence[tuple[datetime, Decimal | None]]) -> tuple[Rate, ...]:
    later = (Rate(from_=at, hourly=hourly) for at, hourly in sorted(changes, key=lambda change: change[0]))
    return (Rate(from_=None, hourly=first), *later) if changes else ()


def _doubts(moments: Sequence[datetime]) -> tuple[Span, ...]:
    ordered = sorted(moments)
    return tuple(Span(from_=from_, to=to) for from_, to in zip(ordered[::2], ordered[1::2], strict=False))


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    path: Path = tmp_path_factory.mktemp("ledger") / "tenure.duckdb"
    path.touch()
    path.unlink()
    database = _database(path)
    yield Ledger(database)
    database.close()


def _database(path: Path) -> Database:
    import duckdb

    duckdb.connect(str(path)).close()
    return Database(path)


@settings(max_examples=60, deadline=None)
@given(states=deployments(), window=st.tuples(MOMENTS, MOMENTS))
def test_sql_and_python_agree_on_what_was_billed(
    sql: Ledger, states: list[DeploymentState], window: tuple[datetime, datetime]
) -> None:
    from_, to = min(window), max(window)
    ordered = select_deployments(states, DeploymentQuery())
    assert sql.billed(states, from_=from_, to=to) == memory_ledger.billed(ordered, from_=from_, to=to)
    assert sql.by_day(states, from_=from_, to=to) == memory_ledger.by_day(ordered, from_=from_, to=to)


def test_a_log_tells_what_was_billed_now_and_as_it_was(log: Log) -> None:
    add(log, deployment("dep_1", "support-bot", 1))
    add(log, event("deployment:dep_1", ev.DeploymentAccepted(provider_id="srv-1", billed_from=START)))
    before = add(log, event("deployment:dep_1", ev.DeploymentServing()))
    add(log, event("deployment:dep_1", ev.DeploymentDeletionRequested(deployment="dep_1")))
    add(log, event("deployment:dep_1", ev.DeploymentDeleted(billed_to=START + HOUR, reads=3)))
    add(log, deployment("dep_2", "support-bot", 2))
    (billed,) = log.billed(from_=START - HOUR, to=START + 9 * HOUR)
    (charge,) = billed.charges
    assert (billed.deployment.id, billed.deployment.state) == ("dep_1", "deleted")
    assert (charge.from_, charge.to, charge.known, charge.cost) == (START, START + HOUR, True, Decimal("1.700000"))
    (then,) = log.billed(from_=START, to=START + 9 * HOUR, at=before)
    assert (then.deployment.state, then.charges[0].cost) == ("serving", Decimal("15.300000"))
    assert log.billed_by_day(from_=START, to=START + 9 * HOUR, at=before) == [
        BilledDay(day="2026-11-22", currency="USD", cost=Decimal("6.516667"), unpriced=0),
        BilledDay(day="2026-11-23", currency="USD", cost=Decimal("8.783333"), unpriced=0),
    ]
    assert log.billed(from_=START + HOUR, to=START + 9 * HOUR) == []


def test_a_price_that_changes_is_charged_from_then_on_and_a_later_word_about_it_counts(log: Log) -> None:
    def repriced(hourly: str, *later: tuple[int, str | None]) -> None:
        rates = (
            ev.Rate(from_=START + hours * HOUR, hourly=None if rate is None else Decimal(rate)) for hours, rate in later
        )
        price = ev.Price(hourly=Decimal(hourly), currency="USD", source="test", later=tuple(rates))
        add(log, event("deployment:dep_1", ev.DeploymentRepriced(price=price)))

    add(log, deployment("dep_1", "support-bot", 1))
    add(log, event("deployment:dep_1", ev.DeploymentAccepted(provider_id="srv-1", billed_from=START - HOUR)))
    repriced("9", (2, "8"), (4, "7"))
    repriced("1.70", (2, "5"), (3, None))
    (billed,) = log.billed(from_=START - HOUR, to=START + 5 * HOUR)
    assert [(one.hourly, (one.to - one.from_) // timedelta(seconds=1)) for one in billed.charges] == [
        (Decimal("1.70"), 3603),
        (Decimal(9), 1),
        (Decimal("1.70"), 7196),
        (Decimal(5), 3600),
        (None, 7200),
    ]
    assert billed.charges[3].cost == Decimal("5.000000")
    assert billed.charges[-1].to == START + 5 * HOUR
    (day,) = log.billed_by_day(from_=START + HOUR, to=START + 3 * HOUR + timedelta(minutes=40))
    assert (day.cost, day.unpriced) == (Decimal("6.700000"), 1)


def test_a_log_tells_what_was_trained_within_a_time_with_its_price(log: Log) -> None:
    for name in ("azure-prod", "local"):
        declared = ev.ConnectionDeclared(connection=name, provider="huggingface", settings={})
        add(log, event(f"connection:{name}", declared))
    add(log, requested("support-bot", 1, connection="azure-prod"))
    add(
        log,
        event(
            "version:support-bot@1",
            ev.VersionTrained(
                artifact=ARTIFACT,
                job_status="succeeded",
                trained_tokens=2_000_000,
                duration_s=1.5,
                cost=Decimal("5.000000"),
                currency="USD",
                price=TRAINING_PRICE,
            ),
        ),
    )
    head = log.head()
    add(log, requested("support-bot", 2))
    add(log, event("version:support-bot@2", ev.VersionTrained(artifact=ARTIFACT, job_status="succeeded")))
    first, second = log.trained(from_=START, to=START + HOUR)
    assert (first.ref, first.connection, first.provider) == ("support-bot@1", "azure-prod", "huggingface")
    assert (first.tokens, first.duration_s, first.price) == (2_000_000, 1.5, TRAINING_PRICE)
    assert (first.cost, first.currency, first.trained_at) == (Decimal("5.000000"), "USD", START + timedelta(seconds=4))
    assert (second.tokens, second.duration_s, second.price, second.cost) == (None, None, None, None)
    assert log.trained(from_=START, to=START + HOUR, at=head) == [first]
    assert log.trained(from_=START, to=first.trained_at) == []


def test_a_training_is_of_the_moment_its_job_ended_and_of_its_record_where_nobody_told(log: Log) -> None:
    ended = START - 3 * HOUR
    for number, told in ((1, ended), (2, None), (3, START + 9 * HOUR)):
        add(log, requested("support-bot", number))
        trained = ev.VersionTrained(artifact=ARTIFACT, job_status="succeeded", finished_at=told)
        add(log, event(f"version:support-bot@{number}", trained))
    (early,) = log.trained(from_=START - 4 * HOUR, to=START)
    late = log.trained(from_=START, to=START + HOUR)
    assert (early.ref, early.trained_at) == ("support-bot@1", ended)
    assert [(one.ref, one.trained_at - START) for one in late] == [
        ("support-bot@2", timedelta(seconds=4)),
        ("support-bot@3", timedelta(seconds=6)),
    ], "nothing ends after it is recorded"
    assert log.trained(from_=START - HOUR, to=START) == []
