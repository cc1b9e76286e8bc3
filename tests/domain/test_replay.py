"""Another policy over a recorded history: the one that was in force does what was done, others do what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.domain.events import Price
from registry.domain.policy import Policy
from registry.domain.recorded import Happening, Lasted, Record, record
from registry.domain.replay import Replay, compared, replay
from tests.clock import EPOCH
from tests.stage import ANA, BOT, Stage

PRICE = Price(hourly=Decimal("1.80"), currency="USD", source="test price list")
STEP = 5
"""Minutes."""
LASTED = Lasted(billed=timedelta(), serving=timedelta(minutes=5), gone=timedelta(minutes=1), hourly=Decimal("1.80"))


def at(hours: float) -> datetime:
    return EPOCH + timedelta(hours=hours)


def told(*happenings: Happening, until: float = 1000, needs: bool = True, **policy: object) -> Replay:
    numbers = {one.version for one in happenings}
    authors = dict.fromkeys(numbers, "a")
    past = Record(happenings=list(happenings), lasted={n: [LASTED] for n in numbers}, authors=authors)
    return replay(BOT, past, Policy.of(policy), until=at(until), needs_deployment=needs, price=PRICE)


def trained(number: int, hours: float, loss: float | None = None) -> Happening:
    return Happening(at=at(hours), what="trained", version=number, actor="provider:cloud", valid_loss=loss)


def asked(what: str, number: int, hours: float, actor: str = "user:ana") -> Happening:
    return Happening(at=at(hours), what=what, version=number, actor=actor)


def acts(replayed: Replay) -> list[tuple[str, str]]:
    return [(one.what, one.subject) for one in replayed.acts]


def test_on_trained_deploys_and_activates_each_and_deletes_the_superseded_after_its_grace() -> None:
    done = told(trained(1, 0), trained(2, 10), activate="on-trained", superseded_grace="2h", until=20)
    assert acts(done) == [
        ("deploy", "bot@1"),
        ("activate", "bot@1"),
        ("deploy", "bot@2"),
        ("activate", "bot@2"),
        ("delete deployment", "bot@1"),
    ]
    first, second = done.deployments
    assert first.billed_to == at(12) + timedelta(minutes=5) + LASTED.gone
    assert (second.billed_to, done.unpriced) == (None, 0)
    assert done.cost == Decimal("1.80") * (Decimal("12.1") + 10)


def test_if_better_activates_only_what_is_better() -> None:
    done = told(trained(1, 0, 0.9), trained(2, 1, 0.95), trained(3, 2), trained(4, 3, 0.8), activate="if-better")
    assert [subject for what, subject in acts(done) if what == "activate"] == ["bot@1", "bot@4"]


def test_what_people_asked_for_is_asked_of_the_other_policy_too() -> None:
    history = (trained(1, 0), asked("activate", 1, 1))
    assert acts(told(*history)) == [("deploy", "bot@1"), ("activate", "bot@1")]
    assert acts(told(*history, approvals=1)) == [("refuse", "bot@1")]
    assert acts(told(*history, deploy="manual")) == [("refuse", "bot@1")]
    assert acts(told(*history, max_hourly_cost="1.00")) == [("refuse", "bot@1")]
    assert acts(told(*history, needs=False)) == [("activate", "bot@1")]
    approved = (history[0], asked("approved", 1, 0.5, "user:ben"), history[1])
    assert acts(told(*approved, approvals=1))[-1] == ("activate", "bot@1")


def test_approvals_let_a_policy_go_on_and_the_author_does_not_count() -> None:
    history = (trained(1, 0), asked("approved", 1, 1, "a"), asked("approved", 1, 2, "user:ben"))
    done = told(*history, activate="on-trained", approvals=1)
    assert done.acts[-1].at == at(2)


def test_idle_standbys_go_when_nobody_has_called_them() -> None:
    history = (trained(1, 0), asked("deploy", 1, 0), asked("used", 1, 5))
    done = told(*history, idle_delete="10h")
    assert [(one.what, one.at) for one in done.acts][-1] == ("delete deployment", at(15))
    assert acts(told(*history)) == [("deploy", "bot@1")]


def test_old_artifacts_go_and_imported_ones_stay() -> None:
    imported = Happening(at=at(0), what="trained", version=1, actor="user:ana", imported=True)
    history = (imported, asked("activate", 1, 0), trained(2, 1), trained(3, 10))
    done = told(*history, activate="on-trained", keep_artifacts=0, superseded_grace="0s")
    assert [subject for what, subject in acts(done) if what == "delete version"] == ["bot@2"]


def test_by_hand_and_by_the_provider_deployments_end_as_they_did() -> None:
    history = (trained(1, 0), asked("deploy", 1, 0), asked("undeploy", 1, 2), asked("activate", 1, 3))
    done = told(*history, asked("lost", 1, 5), asked("retire", 1, 8), asked("delete", 1, 20), until=30)
    assert acts(done) == [
        ("deploy", "bot@1"),
        ("delete deployment", "bot@1"),
        ("deploy", "bot@1"),
        ("activate", "bot@1"),
        ("deploy", "bot@1"),
        ("delete deployment", "bot@1"),
        ("delete version", "bot@1"),
    ]
    assert [one.state for one in done.deployments] == ["deleted", "lost", "deleted"]


def test_one_that_existed_before_is_attached_at_its_time() -> None:
    done = told(trained(1, 0), asked("attach", 1, 4), asked("activate", 1, 5), until=10)
    assert acts(done) == [("activate", "bot@1")]
    assert done.cost == Decimal("1.80") * 6


def test_a_price_that_nobody_knows_is_in_no_sum() -> None:
    past = Record(happenings=[trained(1, 0), asked("deploy", 1, 0)])
    done = replay(BOT, past, Policy.of({}), until=at(5), price=None)
    assert (done.cost, done.unpriced) == (0, 1)


def test_what_was_asked_of_a_version_that_is_not_known_or_not_fit_for_it_changes_nothing() -> None:
    assert acts(told(asked("activate", 1, 0))) == [], "it was never trained"
    assert acts(told(trained(1, 0), asked("retire", 1, 1))) == [], "it is not active"
    twice = (trained(1, 0), asked("activate", 1, 1), asked("activate", 1, 2), asked("deploy", 1, 3))
    assert acts(told(*twice)) == [("deploy", "bot@1"), ("activate", "bot@1")]
    assert acts(told(*twice, asked("undeploy", 1, 4))) == acts(told(*twice)), "the only one of the active version"
    assert len(told(*twice, asked("attach", 1, 4)).deployments) == 1


def test_an_approval_counts_once_and_late_ones_start_nothing() -> None:
    twice = (trained(1, 0), asked("approved", 1, 1, "user:ben"), asked("approved", 1, 2, "user:ben"))
    assert acts(told(*twice, activate="on-trained", approvals=2)) == []
    late = (trained(1, 0), asked("activate", 1, 1), asked("approved", 1, 2, "user:ben"), asked("retire", 1, 3))
    done = told(*late, activate="on-trained", superseded="keep")
    assert [what for what, _ in acts(done)] == ["deploy", "activate"]


def test_a_version_that_is_active_again_within_the_grace_keeps_its_deployment() -> None:
    back = (trained(1, 0), asked("activate", 1, 0), trained(2, 1), asked("activate", 2, 1), asked("activate", 1, 2))
    done = told(*back, superseded_grace="3h", until=20)
    assert [one for one in acts(done) if one[0] == "delete deployment"] == [("delete deployment", "bot@2")]


def test_a_standby_that_was_asked_for_after_the_retirement_is_not_superseded() -> None:
    history = (trained(1, 0), asked("activate", 1, 0), trained(2, 1), asked("activate", 2, 1))
    done = told(*history, asked("undeploy", 1, 2), asked("deploy", 1, 3), superseded_grace="9h", until=20)
    assert [one.state for one in done.deployments if one.version == 1] == ["deleted", "serving"]


def test_a_standby_that_is_dropped_is_not_made_again_and_one_that_is_undeployed_first_never_serves() -> None:
    dropped = told(trained(1, 0), asked("deploy", 1, 0), asked("lost", 1, 2), idle_delete="10h")
    assert [one.state for one in dropped.deployments] == ["lost"]
    assert acts(dropped) == [("deploy", "bot@1")], "what is gone is not idle"
    early = told(trained(1, 0), asked("deploy", 1, 0), asked("undeploy", 1, 0.01))
    assert [(one.state, one.serving_at) for one in early.deployments] == [("deleted", None)]


def test_artifacts_that_are_kept_are_not_deleted() -> None:
    history = (trained(1, 0), trained(2, 1), trained(3, 10), trained(4, 20))
    done = told(*history, activate="on-trained", keep_artifacts=2, superseded_grace="0s")
    assert [subject for what, subject in acts(done) if what == "delete version"] == ["bot@1"]


def test_a_version_goes_with_its_standby() -> None:
    done = told(trained(1, 0), asked("deploy", 1, 0), asked("delete", 1, 5))
    assert acts(done)[1:] == [("delete version", "bot@1"), ("delete deployment", "bot@1")]
    assert [one.state for one in done.deployments] == ["deleted"]


def test_a_later_activation_calls_off_one_that_is_on_its_way() -> None:
    history = (trained(1, 0), trained(2, 0), asked("activate", 1, 1), asked("activate", 2, 1.01))
    assert acts(told(*history, asked("retire", 2, 2), asked("activate", 1, 3))) == [
        ("deploy", "bot@1"),
        ("activate", "bot@1"),
        ("deploy", "bot@2"),
        ("activate", "bot@2"),
        ("delete deployment", "bot@2"),
        ("activate", "bot@1"),
    ], "the first one was never active, and so it was not superseded"


def test_a_replay_that_does_not_come_to_rest_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.domain.replay.EVENTS_MAX", 2)
    with pytest.raises(AssertionError, match="never ends"):
        told(trained(1, 0), trained(2, 0), trained(3, 0))


def kinds(replayed: Replay) -> set[str]:
    return {where for _, where in compared(replayed)}


def of_stage(stage: Stage, **policy: Any) -> Replay:
    events = stage.log.read(streams=stage.log.model_streams(BOT))
    written = policy or stage.registry.reading.policy(BOT)
    return replay(BOT, record(events), Policy.of(written), until=stage.clock.time, price=PRICE)


MOVES = st.lists(st.sampled_from(["train", "activate", "deploy", "undeploy", "wait", "retire"]), min_size=1, max_size=8)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "deploy": st.sampled_from(["on-trained", "on-activate"]),
        "activate": st.sampled_from(["manual", "on-trained"]),
        "superseded": st.sampled_from(["delete", "keep"]),
        "superseded_grace": st.sampled_from(["0s", "10m", "3h"]),
        "idle_delete": st.sampled_from(["1h", "2d"]),
        "keep_artifacts": st.integers(0, 2),
    },
)


def lived(stage: Stage, moves: Sequence[str]) -> None:
    from registry.domain.errors import RefusedError

    commands = stage.registry.commands
    for move in moves:
        newest = next(iter(stage.registry.reading.versions(_all())[0]), None)
        try:
            match move:
                case "train":
                    stage.fine_tune()
                case "wait":
                    pass_time(stage, minutes=60)
                case "undeploy":
                    for one in stage.deployments()[-1:]:
                        commands.undeploy(one.id, ANA)
                case _ if newest is not None:
                    getattr(commands, move)(_ref(newest.ref), ANA)
                case _:
                    pass
        except RefusedError:
            continue
        finally:
            pass_time(stage, minutes=30)


def pass_time(stage: Stage, *, minutes: int) -> None:
    """In steps, so that what is due is done about when it is due."""
    stage.settle()
    for _ in range(minutes // STEP):
        stage.clock.advance(minutes=STEP)
        stage.settle()


def _all() -> Any:
    from registry.application.ports import VersionQuery

    return VersionQuery(model=BOT, limit=1)


def _ref(text: str) -> Any:
    from registry.domain.ids import VersionRef

    return VersionRef.parse(text)


@settings(max_examples=25, deadline=None)
@given(policy=POLICIES, moves=MOVES)
def test_the_policy_that_was_in_force_does_what_was_done(policy: dict[str, Any], moves: list[str]) -> None:
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.policy(**policy)
        lived(stage, moves)
        done = of_stage(stage)
        assert kinds(done) <= {"both"}, compared(done)
        minutes = abs(done.difference) / Decimal("1.80") * 60
        assert minutes <= 2 * STEP * max(1, len(done.deployments)), "a step's time for each, at most"


@settings(max_examples=50, deadline=None)
@given(policy=POLICIES, hours=st.lists(st.floats(0, 100), max_size=6), until=st.floats(0, 200))
def test_no_replay_bills_before_it_deploys_nor_keeps_two_active(
    policy: dict[str, Any], hours: list[float], until: float
) -> None:
    done = told(*(trained(number, hour) for number, hour in enumerate(sorted(hours), 1)), until=until, **policy)
    for one in done.deployments:
        assert one.billed_from is not None
        assert one.requested_at is not None
        assert one.requested_at <= one.billed_from
        assert one.billed_to is None or one.billed_to >= one.billed_from
    assert done.cost >= 0
    assert all(act.at <= at(until) for act in done.acts)


def test_another_policy_over_a_real_history_differs_where_it_says(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.active()
    pass_time(stage, minutes=60)
    stage.active()
    pass_time(stage, minutes=600)
    kept = of_stage(stage, superseded="keep")
    assert [act.what for act, where in compared(kept) if where == "record"] == ["delete deployment"]
    assert Decimal("17.00") < kept.difference < Decimal("18.00")


@pytest.mark.parametrize("document", [{"superseded": "keep"}, {"policy": {"superseded": "keep"}}])
def test_a_document_may_hold_the_keys_alone_or_as_apply_reads_them(tmp_path: Path, document: dict[str, Any]) -> None:
    stage = Stage(tmp_path)
    stage.active()
    stage.active()
    pass_time(stage, minutes=120)
    told_keys = stage.registry.replaying.replay(BOT, document)
    told_model = stage.registry.replaying.replay(BOT, {"models": {BOT: {"policy": {"superseded": "keep"}}}})
    assert told_keys.acts == told_model.acts
    assert told_model.difference > 3
    assert stage.registry.replaying.replay(BOT, None).as_json()["model"] == BOT
