"""Sentences, figures and pictures, without a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from registry.application.views import EventView, IntervalView, MetricView, TrainingCostView
from registry.domain.errors import BadInputError
from registry.domain.policy import POLICY_DEFAULTS
from registry.store.codec import TYPES
from registry.web import charts, templating, words
from registry.web.diagram import diagram
from registry.web.page import asked_time
from registry.web.timeline import grouped
from registry.web.tuning import settings
from statemachine import DEPLOYMENT, VERSION, Lifecycle, Move

GOLDEN = Path(__file__).parents[1] / "store" / "golden" / "events-v1.jsonl"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def event(type_: str, data: dict[str, object], position: int = 1, **changes: object) -> EventView:
    given: dict[str, object] = {
        "position": position, "stream": "version:bot@1", "stream_version": position, "id": f"id{position}",
        "type": type_, "schema_version": 1, "recorded_at": NOW, "actor": "user:ana", "reason": None,
        "correlation_id": "id1", "causation_id": None, "data": data, "hash": "",
    }  # fmt: skip
    return EventView(**{**given, **changes})  # pyright: ignore[reportArgumentType]


# Sentences


def test_every_type_of_event_has_a_sentence() -> None:
    assert set(TYPES) <= set(words.SENTENCES)


def test_every_form_that_was_ever_stored_is_told_in_its_own_words() -> None:
    for line in GOLDEN.read_text("utf-8").splitlines():
        stored = json.loads(line)
        told = words.sentence(event(stored["type"], stored["data"]))
        assert told
        assert told == words.SENTENCES[stored["type"]](stored["data"])


def test_an_event_of_a_newer_release_is_shown_by_its_name() -> None:
    assert words.sentence(event("version-blessed", {})) == "Version blessed"
    assert words.sentence(event("version-retried", {"another": "form"})) == "Version retried"


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        (
            "active-version-changed",
            {"version": None, "previous": 2},
            "No version is active any more (it was version 2)",
        ),
        ("active-version-changed", {"version": 3, "previous": None}, "Version 3 is the active one"),
        ("version-retired", {"replaced_by": None}, "Retired by hand, without a successor"),
        ("policy-changed", {"model": "bot", "policy": {}}, "Policy changed: the defaults"),
        ("retirement-announced", {"base_model": "b", "retires_on": None}, "b stays: its retirement was called off"),
    ],
)
def test_an_event_says_what_happened(type_: str, data: dict[str, object], said: str) -> None:
    assert words.sentence(event(type_, data)) == said


def test_an_effect_knows_its_cause_and_a_cause_its_effects() -> None:
    first = event("activation-requested", {}, 1)
    second = event("deployment-serving", {}, 2, causation_id="id1")
    other = event("version-approved", {}, 3, correlation_id="another", actor="policy:x", causation_id="elsewhere")
    one, two = grouped([first, second, other])
    assert [entry.event.position for entry in one.entries] == [1, 2]
    assert one.entries[1].cause == first
    assert one.first.led_to == [second]
    assert (one.by, two.by) == ("ana", "policy x")
    assert two.first.cause is None


def test_a_policy_is_told_in_sentences() -> None:
    told = words.policy_sentences(
        {**POLICY_DEFAULTS, "idle_delete": "7d", "keep_artifacts": 5, "approvals": 2, "superseded_grace": "0s",
         "max_monthly_cost": "200.00"}
    )  # fmt: skip
    assert "A standby that nobody called for 7d is deleted." in told
    assert "Activation needs the approval of 2 other people." in told
    assert "The deployment of a version that is no longer active is deleted at once." in told
    assert "It may cost at most 200.00 a month; a deployment above that is refused." in told
    assert any("5 newest retired versions" in one for one in told)
    kept = words.policy_sentences({**POLICY_DEFAULTS, "superseded": "keep", "approvals": 1})
    assert any("stays until somebody deletes it" in one for one in kept)
    assert "Activation needs the approval of one other person." in kept


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (0, "The artifacts of retired versions are deleted."),
        (1, "The artifacts of the newest retired version are kept, older ones deleted."),
        (4, "The artifacts of the 4 newest retired versions are kept, older ones deleted."),
    ],
)
def test_how_many_artifacts_stay_is_told_in_words(kept: int, said: str) -> None:
    assert said in words.policy_sentences({**POLICY_DEFAULTS, "keep_artifacts": kept})


# Figures


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (40, "40 s"),
        (180, "3 min"),
        (3600, "1 h"),
        (11_100, "3 h 5 min"),
        (90_000, "1 d 1 h"),
        (timedelta(days=200), "200 d"),
        (None, "not known"),
    ],
)
def test_a_span_is_told_in_its_largest_units(span: float | timedelta | None, said: str) -> None:
    assert templating.lasted(span) == said


def test_a_training_is_told_in_tokens_or_by_the_time_it_took() -> None:
    told = TrainingCostView(
        version="bot@1", connection="local", provider="huggingface", quantity=Decimal("0.0067"), unit="hour",
        price=None, cost=None, currency="USD", trained_at=NOW,
    )  # fmt: skip
    assert templating.quantity(told) == "24 s"
    assert templating.quantity(replace(told, quantity=Decimal("1.2"), unit="1M-tokens")) == "1,200,000 tokens"
    assert templating.quantity(replace(told, quantity=None)) == "not known"


def test_times_are_told_from_the_time_that_is_shown() -> None:
    assert ">just now<" in templating.ago(NOW, NOW)
    assert ">in 2 h<" in templating.ago(NOW + timedelta(hours=2), NOW)
    assert 'title="22 Nov 2026, 12:00:00 UTC"' in templating.ago(NOW, NOW)
    assert "not known" in templating.ago(None, NOW)
    assert templating.exact(None) == "not known"


def test_money_is_told_to_the_cent_and_never_as_nothing_where_it_is_something() -> None:
    assert "1,234.50" in templating.money(Decimal("1234.5"), "EUR")
    assert "0.0003" in templating.money(Decimal("0.0003"), "USD")
    assert "price unknown" in templating.money(None)
    assert "price unknown" in templating.rate(None)


def test_what_an_address_asks_for_is_utc_where_it_names_no_zone() -> None:
    assert asked_time("2026-11-22T20:10") == "2026-11-22T20:10:00Z"
    assert asked_time("2026-11-22T20:10:00+02:00") == "2026-11-22T18:10:00Z"
    assert asked_time("17") == "17"
    assert asked_time("") is None
    with pytest.raises(BadInputError, match="neither a position"):
        asked_time("soon")


def test_hyperparameters_are_written_one_a_line() -> None:
    assert settings('epochs = 2\nbatch_size = "auto"\n') == {"epochs": 2, "batch_size": "auto"}
    with pytest.raises(BadInputError, match="one a line"):
        settings("epochs 2")


# Pictures


def points(values: list[float], name: str = "train_loss") -> list[MetricView]:
    return [
        MetricView(step=step, name=name, value=value, epoch=None, attempt=1, recorded_at=NOW)
        for step, value in enumerate(values, 1)
    ]


def test_no_points_make_no_chart_and_what_is_not_a_number_is_left_out() -> None:
    assert charts.loss_chart([("bot@1", [])]) is None
    assert charts.loss_chart([("bot@1", points([float("nan"), float("inf")]))]) is None


def test_one_point_is_a_dot_in_the_middle() -> None:
    chart = charts.loss_chart([("bot@1", points([2.0]))])
    assert chart is not None
    assert chart.curves[0].path.startswith("M500.0 ")
    assert chart.x == ("step 1",)


def test_the_axis_has_round_figures_around_everything_that_is_drawn() -> None:
    chart = charts.loss_chart([("bot@1", points([2.8, 1.1])), ("bot@2", points([0.7], "valid_loss"))])
    assert chart is not None
    assert chart.y == ("3", "2", "1", "0")
    assert [one.dashed for one in chart.curves] == [False, True]
    assert chart.curves[0].path == "M0.0 20.0L1000.0 190.0"


def test_long_curves_are_thinned_but_keep_their_end() -> None:
    chart = charts.loss_chart([("bot@1", points([3.0] * 5_000 + [1.25]))])
    assert chart is not None
    assert chart.curves[0].path.count("L") <= charts.POINTS_MAX
    assert chart.curves[0].last == 1.25


def test_steps_between_which_nothing_is_whole_are_left_out_of_the_axis() -> None:
    chart = charts.loss_chart([("bot@1", points([1.0] * 8))])
    assert chart is not None
    assert chart.x == ("step 1", "8")


def test_a_short_interval_is_still_seen_and_an_unknown_one_is_marked() -> None:
    start, end = NOW - timedelta(days=30), NOW
    moment = IntervalView(from_=NOW - timedelta(seconds=5), to=NOW, known=False, hourly_rate=None, cost=None)
    (bar,) = charts.bars([moment], start, end)
    assert bar.width == charts.HAIR
    assert bar.x + bar.width == 100
    assert not bar.known
    assert "unknown, counted as billed" in bar.words


def test_days_without_cost_are_drawn_too() -> None:
    two = [("2026-11-01", Decimal(3), Decimal(1)), ("2026-11-04", Decimal(0), Decimal(0))]
    days = charts.days_between(two)
    assert [day for day, _, _ in days] == ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
    first, *_ = charts.columns(days, "USD")
    assert (first.serving, first.training, first.training_y) == (75.0, 25.0, 0.0)
    assert first.words == "2026-11-01: 4.00 USD"
    assert charts.days_between([]) == []
    whole = charts.days_between(two, datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))
    assert (whole[0][0], whole[-1][0], len(whole)) == ("2026-10-31", "2026-11-05", 6)
    assert charts.columns([("2026-11-01", Decimal(0), Decimal(0))], "USD")[0].serving == 0


@pytest.mark.parametrize(
    ("span", "first"),
    [
        (timedelta(minutes=1), "11:59:00"),
        (timedelta(hours=2), "10:00"),
        (timedelta(hours=20), "21 Nov 16:00"),
        (timedelta(days=30), "23 Oct"),
    ],
)
def test_the_marks_of_an_axis_are_as_fine_as_the_time_it_shows(span: timedelta, first: str) -> None:
    marks = charts.time_marks(NOW - span, NOW)
    assert marks[0] == first
    assert len(marks) == 5


@pytest.mark.parametrize("lifecycle", [VERSION, DEPLOYMENT])
def test_every_state_and_every_move_is_drawn(lifecycle: Lifecycle) -> None:
    picture = diagram(lifecycle)
    assert {box.state for box in picture.boxes} == set(lifecycle.states)
    drawn = {(one.trigger, one.source, one.target) for one in picture.arrows}
    assert drawn == {(one.trigger, source, one.target) for one in lifecycle.moves for source in one.sources}
    assert all(0 < one.label_x < picture.width and 0 < one.label_y < picture.height for one in picture.arrows)


def test_a_state_that_nobody_has_placed_yet_is_drawn_all_the_same() -> None:
    more = Lifecycle(
        name=VERSION.name,
        states={**VERSION.states, "paused": "resting"},
        entries=VERSION.entries,
        moves=(*VERSION.moves, Move("pause", ("training",), "paused", "to rest")),
    )
    picture = diagram(more)
    assert any(box.state == "paused" and box.y < picture.height for box in picture.boxes)
