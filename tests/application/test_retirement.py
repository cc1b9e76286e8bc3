"""A base model that its provider takes away: known, shown, warned about in time, and refused when it is too late."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from providers.errors import UnavailableError
from registry.application import doctor
from registry.application.views import CheckView
from registry.domain import retirement
from registry.domain.errors import RefusedError
from registry.domain.ids import VersionRef
from tests.clock import EPOCH
from tests.fakes import provider_error
from tests.stage import ANA, BOT, Stage

TODAY = EPOCH.date()
FAR = TODAY + timedelta(days=400)


def swept(stage: Stage) -> list[str]:
    """What a pass did that looks at everything; its actions."""
    return [one.action for one in stage.registry.reconciler.run(sweep=True) if one.outcome == "done"]


def warnings(stage: Stage) -> dict[str, str]:
    def passed(name: str) -> list[CheckView]:
        return []

    registry = stage.registry
    checks = doctor.examine(stage.home, registry.tools, registry.reading, passed)
    return {one.name: one.detail for one in checks if one.name.startswith("retirement ")}


def test_the_day_is_recorded_with_the_fine_tune_and_stands_on_the_version(stage: Stage) -> None:
    stage.cloud().retirements["base"] = FAR
    ref = stage.trained()
    announced = stage.history(str(ref))[1]
    assert (announced.type, announced.actor) == ("retirement-announced", "provider:cloud")
    assert announced.data == {"base_model": "base", "retires_on": FAR.isoformat()}
    assert stage.version(ref).as_json()["retires_on"] == FAR.isoformat()


def test_a_provider_that_says_nothing_leaves_no_event(stage: Stage) -> None:
    ref = stage.trained()
    assert (stage.version(ref).retires_on, stage.types(str(ref)).count("retirement-announced")) == (None, 0)


def test_an_imported_version_has_the_day_of_its_base_model(stage: Stage) -> None:
    stage.cloud().retirements["base"] = FAR
    stage.trained()
    ref = stage.registry.commands.import_version(BOT, "cloud", "ft:tenure-test12-bot-1-1", "base", ANA)
    assert stage.version(ref).retires_on == FAR
    unknown = stage.registry.commands.import_version(BOT, "cloud", "ft:tenure-test12-bot-1-1", None, ANA)
    assert stage.version(unknown).retires_on is None


@pytest.mark.parametrize("days", [-30, 0, 1])
def test_a_fine_tune_of_what_will_be_gone_before_it_could_be_used_is_refused(stage: Stage, days: int) -> None:
    stage.cloud().retirements["base"] = TODAY + timedelta(days=days)
    head = stage.log.head()
    with pytest.raises(RefusedError, match="base is taken away by its provider on") as refused:
        stage.fine_tune()
    assert (refused.value.exit_code, stage.log.head()) == (3, head)
    assert "--force" in (refused.value.hint or "")
    ref = stage.fine_tune(force=True)
    stage.settle()
    assert stage.state(ref) == "trained"


def test_one_that_can_still_be_used_for_a_while_is_allowed(stage: Stage) -> None:
    stage.cloud().retirements["base"] = TODAY + timedelta(days=2)
    assert stage.state(stage.trained()) == "trained"


def test_training_that_takes_longer_than_the_base_model_lasts_is_refused() -> None:
    with pytest.raises(RefusedError):
        retirement.check_usable("base", TODAY + timedelta(days=3), EPOCH, duration_s=3 * 86400.0)
    retirement.check_usable("base", TODAY + timedelta(days=3), EPOCH, duration_s=3600.0)
    retirement.check_usable("base", None, EPOCH, duration_s=None)


def test_a_day_that_is_announced_later_is_read_once_a_day_and_recorded_once(stage: Stage) -> None:
    active, old = stage.active(), stage.trained()
    assert swept(stage) == []
    stage.cloud().retirements["base"] = FAR
    assert "read retirement dates" in swept(stage)
    assert (stage.version(active).retires_on, stage.version(old).retires_on) == (FAR, FAR)
    head = stage.log.head()
    assert swept(stage) == []
    stage.registry.reconciler.run(sweep=True, paced=True)
    assert stage.log.head() == head
    stage.cloud().retirements["base"] = FAR + timedelta(days=90)
    stage.registry.reconciler.run(sweep=True, paced=True)
    assert stage.version(active).retires_on == FAR, "not before a day has passed"
    stage.clock.advance(days=1)
    stage.registry.reconciler.run(sweep=True, paced=True)
    assert stage.version(active).retires_on == FAR + timedelta(days=90)


def test_a_retirement_that_is_called_off_is_recorded_too(stage: Stage) -> None:
    stage.cloud().retirements["base"] = FAR
    ref = stage.trained()
    stage.cloud().retirements.clear()
    swept(stage)
    assert stage.version(ref).retires_on is None
    assert stage.state(ref) == "trained"
    at = stage.history(str(ref))[-1].position
    assert stage.registry.reading.version(ref, at - 1).retires_on == FAR


def test_versions_that_are_gone_are_not_asked_about(stage: Stage) -> None:
    ref = stage.trained()
    stage.registry.commands.delete(ref, ANA)
    stage.settle()
    stage.cloud().retirements["base"] = FAR
    assert swept(stage) == []
    assert stage.version(ref).retires_on is None


@pytest.mark.parametrize(
    ("days", "words"),
    [(91, None), (90, "in 90 days"), (31, "in 31 days"), (30, "urgent: "), (0, "that is now"), (-3, "3 days ago")],
)
def test_doctor_warns_ninety_days_before_and_urgently_thirty_days_before(
    stage: Stage, days: int, words: str | None
) -> None:
    stage.cloud().retirements["base"] = TODAY + timedelta(days=days)
    ref = stage.fine_tune(force=True)
    stage.settle()
    assert stage.clock.time.date() == TODAY
    told = warnings(stage).get(f"retirement {ref}")
    assert (told is None) == (words is None)
    assert words is None or words in (told or "")
    assert ("urgent" in (told or "")) == (days <= 30)


def test_doctor_warns_about_what_is_served_and_not_about_what_is_over(stage: Stage) -> None:
    stage.cloud().retirements["base"] = TODAY + timedelta(days=10)
    first, second = stage.active(), stage.active()
    assert set(warnings(stage)) == {f"retirement {second}"}
    assert stage.state(first) == "retired"


def test_a_warning_is_logged_ninety_and_thirty_days_before(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    day = date.fromordinal(TODAY.toordinal() + 91)
    stage.cloud().retirements["base"] = day
    stage.trained()
    for _ in range(63):
        stage.registry.reconciler.run(sweep=True, paced=True)
        stage.clock.advance(days=1, seconds=1)
    assert [record.getMessage() for record in caplog.records if record.name == "tenure.retirement"] == [
        "base is taken away by its provider in 90 days",
        "base is taken away by its provider in 30 days",
    ]


def test_a_connection_that_does_not_answer_keeps_what_is_known(stage: Stage, tmp_path: Path) -> None:
    stage.cloud().retirements["base"] = FAR
    ref = stage.trained()
    stage.cloud().retirements.clear()
    stage.cloud().fail("retires-on", provider_error(UnavailableError), times=2)
    stage.registry.reconciler.run(sweep=True, paced=True)
    assert stage.version(ref).retires_on == FAR
    assert VersionRef(BOT, 1) == ref
