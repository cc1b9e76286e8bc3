"""Questions: what is so, what was so at any position or time, what it cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from registry.application.ports import VersionQuery
from registry.application.views import to_json
from registry.domain.apply import fold
from registry.domain.errors import BadInputError, NotFoundError
from registry.domain.ids import VersionRef
from registry.domain.states import VersionState
from tests.stage import ANA, BOT, Stage

FIRST = VersionRef(BOT, 1)


def life(stage: Stage) -> None:
    stage.active()
    stage.active()
    stage.let_pass(minutes=11)


# As of


def test_every_past_position_answers_as_the_fold_of_the_log_up_to_it(stage: Stage) -> None:
    life(stage)
    reading = stage.registry.reading
    begun = next(event.position for event in stage.history(str(FIRST)))
    for position in range(begun, stage.log.head() + 1):
        state = fold("version:bot@1", stage.log.read(stream="version:bot@1", until=position))
        assert isinstance(state, VersionState)
        view = reading.version(FIRST, position)
        assert (view.state, view.stream_version) == (state.state, state.stream_version), position
        assert view.job == (None if state.job_id is None else view.job)
        assert len(reading.history(str(FIRST), position)) <= position


def test_the_present_is_the_last_position(stage: Stage) -> None:
    life(stage)
    reading, head = stage.registry.reading, stage.log.head()
    assert reading.models(head) == reading.models()
    assert reading.version(FIRST, str(head)) == reading.version(FIRST)
    assert reading.versions(VersionQuery(model=BOT), head) == reading.versions(VersionQuery(model=BOT))
    assert reading.connections(head) == reading.connections()


def test_a_time_answers_with_what_was_recorded_until_then(stage: Stage) -> None:
    life(stage)
    reading = stage.registry.reading
    activated = next(event for event in stage.history(str(FIRST)) if event.type == "version-activated")
    before = activated.recorded_at - timedelta(microseconds=1)
    assert reading.version(FIRST, before).state == "deploying"
    assert reading.version(FIRST, activated.recorded_at.isoformat()).state == "active"
    assert reading.model(BOT, activated.recorded_at).active == "bot@1"
    assert reading.version(FIRST).state == "retired"


def test_before_it_began_it_is_not_found(stage: Stage) -> None:
    ref = stage.fine_tune()
    began = stage.history(str(ref))[0].position
    with pytest.raises(NotFoundError, match="there is no version bot@1"):
        stage.registry.reading.version(ref, began - 1)
    with pytest.raises(NotFoundError, match="there is no model 'bot'"):
        stage.registry.reading.model(BOT, 0)


@pytest.mark.parametrize("as_of", ["yesterday", "-1", -1, 1.5, datetime(2026, 11, 1), "", "2026-13-01"])  # noqa: DTZ001
def test_what_is_neither_a_position_nor_a_time_is_refused(stage: Stage, as_of: Any) -> None:
    with pytest.raises(BadInputError) as refusal:
        stage.registry.reading.models(as_of)
    assert refusal.value.field == "as_of"


def test_a_written_time_without_a_zone_is_local(stage: Stage) -> None:
    local = datetime(2030, 1, 1).astimezone()
    reading = stage.registry.reading
    assert reading.position("2030-01-01T00:00:00") == reading.position(local) == stage.log.head()


# Lists and their hints


def test_a_model_shows_what_is_under_way(stage: Stage) -> None:
    stage.fine_tune()
    stage.fine_tune()
    (view,) = stage.registry.reading.models()
    assert (view.active, view.versions, view.moving) == (None, 2, ("bot@1", "bot@2"))


def test_a_declared_model_without_a_version_is_an_empty_list(stage: Stage) -> None:
    assert stage.registry.reading.versions(VersionQuery(model=BOT)) == ([], None)
    assert stage.history() != []
    with pytest.raises(NotFoundError) as missing:
        stage.registry.reading.version(FIRST)
    assert missing.value.hint == "bot has no version yet"


def test_a_state_that_there_is_not_is_refused_by_name(stage: Stage) -> None:
    with pytest.raises(BadInputError, match=r"state = 'bogus' is not one of queued, training, trained, "):
        stage.registry.reading.versions(VersionQuery(model=BOT, states=frozenset({"active", "bogus"})))


def test_what_is_not_found_says_what_there_is(stage: Stage) -> None:
    stage.fine_tune()
    reading = stage.registry.reading

    def hint(ask: Any) -> str | None:
        with pytest.raises(NotFoundError) as missing:
            ask()
        return missing.value.hint

    assert hint(lambda: reading.version(VersionRef(BOT, 7))) == "bot has versions 1 to 1"
    stage.registry.declaring.set_policy("young", {}, ANA)
    assert hint(lambda: reading.version(VersionRef("young", 1))) == "young has no version yet"
    assert hint(lambda: reading.model("bto")) == "did you mean bot?"
    assert hint(lambda: reading.model("zzz")) == "there are: bot, young"
    assert hint(lambda: reading.connection_state("clood")) == "did you mean cloud?"
    assert hint(lambda: reading.deployment("nothing")) == "tenure deployments shows those that are"
    assert hint(lambda: reading.history("zzz")) == "there are: bot, young"


def test_an_empty_home_says_that_there_is_nothing_yet(stage: Stage, tmp_path: Any) -> None:
    (tmp_path / "empty").mkdir()
    empty = Stage(tmp_path / "empty", document={})
    with pytest.raises(NotFoundError) as missing:
        empty.registry.reading.model(BOT)
    assert missing.value.hint == "there are no models yet"
    assert empty.registry.auditing.audit().deployments == ()


def test_the_history_of_a_model_holds_its_versions_and_deployments_in_order(stage: Stage) -> None:
    life(stage)
    whole = stage.history()
    assert [event.position for event in whole] == sorted(event.position for event in whole)
    assert {event.stream.partition(":")[0] for event in whole} == {"model", "version", "deployment"}
    of_first = stage.registry.reading.history("bot@1")
    assert {event.stream for event in of_first} == {"version:bot@1", f"deployment:{stage.deployments()[0].id}"}
    later = stage.registry.reading.history(BOT, after=whole[-2].position)
    assert [event.position for event in later] == [whole[-1].position]


def test_a_deployment_is_found_by_any_of_its_names(stage: Stage) -> None:
    stage.active()
    (view,) = stage.deployments()
    reading = stage.registry.reading
    assert reading.deployment(view.name).id == view.id
    assert reading.deployment(str(view.provider_id)).id == view.id
    assert reading.deployment(view.id, as_of=stage.log.head()).id == view.id
    with pytest.raises(NotFoundError):
        reading.deployment("dep_0000000000000000")


def test_deployments_are_asked_for_by_whether_they_are_billed(stage: Stage) -> None:
    life(stage)
    reading = stage.registry.reading
    assert [one.ref for one in reading.deployments(billed=True)] == ["bot@2"]
    assert [one.ref for one in reading.deployments(billed=False)] == ["bot@1"]
    with pytest.raises(NotFoundError):
        reading.deployments(model="zzz")


def test_a_version_in_json_has_the_fields_that_were_promised(stage: Stage) -> None:
    life(stage)
    shown = stage.version(VersionRef(BOT, 2)).as_json()
    assert shown["ref"] == "bot@2"
    assert (shown["state"], shown["active"], shown["legal"]) == ("active", True, ["retire"])
    assert cast("dict[str, object]", shown["job"])["status"] == "succeeded"
    assert cast("str", shown["created_at"]).endswith("Z")
    assert len(cast("list[str]", shown["deployments"])) == 1
    queued = stage.version(stage.fine_tune()).as_json()
    assert (queued["job"], queued["artifact"]) == (None, None)


def test_values_become_plain_json() -> None:
    time = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
    plain = to_json({"a": (1, 2.5, None, True), "b": Decimal("1.70"), "c": time, 4: time.date()})
    assert plain == {"a": [1, 2.5, None, True], "b": "1.70", "c": "2026-11-22T20:10:00.000000Z", "4": "2026-11-22"}
