"""One registry asked through both doors: embedded and over HTTP, field by field and error by error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from registry.domain.errors import BadInputError, IdempotencyConflictError, NotFoundError, TenureError
from registry.embedded import Tenure
from registry.remote import Remote
from tests.stage import BOT, Stage

Ask = Callable[[Tenure], object]
AS_OF: list[Any] = [0, 2, "2", 10**9, "2026-11-01", "2026-11-01T10:00:00", "2999-01-01T00:00:00Z"]
NO_AS_OF: list[Any] = [
    1.5, True, False, "", "x", -1, "-1", 10**30, datetime(2026, 11, 1), datetime.min, datetime.max, b"1", [],  # noqa: DTZ001, DTZ901
]  # fmt: skip
AWARE = [datetime(2026, 11, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]


@pytest.fixture
def here(stage: Stage) -> Iterator[Tenure]:
    with stage.tenure() as tenure:
        yield tenure


def outcome(ask: Ask, tenure: Tenure) -> object:
    """What comes of it; of an error all that a caller can look at."""
    try:
        return ask(tenure)
    except TenureError as error:
        return type(error), str(error), vars(error)


def same(here: Tenure, remote: Remote, ask: Ask) -> object:
    told = outcome(ask, here)
    assert outcome(ask, remote) == told
    return told


def begun(here: Tenure, stage: Stage) -> None:
    here.fine_tune(BOT, connection="cloud", base_model="base", train=stage.train)


QUESTIONS: list[Callable[[Tenure, Any], object]] = [
    lambda tenure, as_of: tenure.models(as_of=as_of),
    lambda tenure, as_of: tenure.show(BOT, as_of=as_of),
    lambda tenure, as_of: tenure.versions(BOT, as_of=as_of),
    lambda tenure, as_of: tenure.version("bot@1", as_of=as_of),
    lambda tenure, as_of: tenure.history(BOT, as_of=as_of),
    lambda tenure, as_of: tenure.metrics("bot@1", as_of=as_of),
    lambda tenure, as_of: tenure.deployments(as_of=as_of),
    lambda tenure, as_of: tenure.connections(as_of=as_of),
    lambda tenure, as_of: tenure.policy(BOT, as_of=as_of),
    lambda tenure, as_of: tenure.policy_plan(BOT, as_of=as_of),
    lambda tenure, as_of: tenure.audit(as_of=as_of).deployments,
    lambda tenure, as_of: tenure.audit_focus(as_of=as_of).csv(),
]


def test_every_question_about_a_moment_has_one_answer(here: Tenure, remote: Remote, stage: Stage) -> None:
    begun(here, stage)
    for question in QUESTIONS:
        for moment in (*AS_OF, *AWARE):
            same(here, remote, lambda tenure, ask=question, at=moment: ask(tenure, at))


@pytest.mark.parametrize("moment", NO_AS_OF, ids=repr)
def test_what_is_no_moment_is_refused_at_both_doors(here: Tenure, remote: Remote, moment: object) -> None:
    for question in QUESTIONS:
        told = cast("tuple[object, ...]", same(here, remote, lambda tenure, ask=question: ask(tenure, moment)))
        assert told[0] is BadInputError


ASKED: dict[str, Ask] = {
    "a connection with an odd name": lambda tenure: tenure.test_connection("no_such"),
    "the models of such a one": lambda tenure: tenure.importable("No such"),
    "removing such a one": lambda tenure: tenure.remove_connection("nö"),
    "removing one that never was": lambda tenure: tenure.remove_connection("nobody"),
    "declaring under a bad name": lambda tenure: tenure.declare_connection("A b", {"provider": "test"}),
    "deployments of a bad name": lambda tenure: tenure.deployments(model="A b"),
    "an unknown deployment": lambda tenure: tenure.deployment("arn:aws:x/y z"),
    "no versions at all": lambda tenure: tenure.versions(BOT, limit=0),
    "less than none": lambda tenure: tenure.versions(BOT, limit=-1),
    "one version": lambda tenure: tenure.versions(BOT, limit=1),
    "no events": lambda tenure: tenure.events(limit=0),
    "two events": lambda tenure: tenure.events(limit=2),
    "from before the first": lambda tenure: tenure.events(after=-1),
    "from far behind the last": lambda tenure: tenure.history(BOT, after=10**30),
    "the audit from a time without a zone": lambda tenure: tenure.audit(from_=datetime(2026, 1, 1)),  # noqa: DTZ001
    "the audit to the end of time": lambda tenure: tenure.audit(to=AWARE[-1]),
    "the audit backwards": lambda tenure: tenure.audit(from_=AWARE[0], to=datetime(1971, 1, 1, tzinfo=UTC)),
    "FOCUS to a time without a zone": lambda tenure: tenure.audit_focus(to=datetime(2026, 1, 1)),  # noqa: DTZ001
    "the policy of nobody": lambda tenure: tenure.set_policy("nobody", {"superseded": "keep"}),
    "an amount that is a Decimal": lambda tenure: tenure.set_policy(BOT, {"max_hourly_cost": Decimal("20.50")}),
    "a document with a Decimal": lambda tenure: tenure.apply(
        {"models": {BOT: {"policy": {"max_monthly_cost": Decimal(7)}}}}, plan=True
    ),
    "a key with a line in it": lambda tenure: tenure.retire("bot@1", idempotency_key="a\nb"),
    "a key that is no ASCII": lambda tenure: tenure.retire("bot@1", idempotency_key="ключ"),
    "a key that is too long": lambda tenure: tenure.activate("bot@1", idempotency_key="k" * 201),
    "a key of nothing": lambda tenure: tenure.delete("bot@1", idempotency_key=""),
}


@pytest.mark.parametrize("what", ASKED)
def test_both_doors_answer_alike(here: Tenure, remote: Remote, stage: Stage, what: str) -> None:
    begun(here, stage)
    same(here, remote, ASKED[what])


def test_a_key_is_for_one_reason_too(here: Tenure, remote: Remote, stage: Stage) -> None:
    for number, tenure in enumerate((here, remote)):
        for reason in ("first", "first"):
            begun = tenure.fine_tune(
                BOT,
                connection="cloud",
                base_model="base",
                train=stage.train,
                reason=reason,
                idempotency_key=f"key-{number}",
            )
            assert begun.version == number + 1
        with pytest.raises(IdempotencyConflictError):
            tenure.fine_tune(
                BOT,
                connection="cloud",
                base_model="base",
                train=stage.train,
                reason="another",
                idempotency_key=f"key-{number}",
            )


def test_a_reason_that_is_a_book_is_refused_at_both_doors(here: Tenure, remote: Remote) -> None:
    for tenure in (here, remote):
        with pytest.raises(BadInputError) as refused:
            tenure.retire("bot@1", reason="x" * 4_001)
        assert refused.value.field == "reason"


def test_an_unknown_model_gets_no_policy_and_is_not_made(here: Tenure) -> None:
    with pytest.raises(NotFoundError):
        here.set_policy("nobody", {"superseded": "keep"})
    assert "nobody" not in [one.model for one in here.models()]


def test_an_import_needs_a_name(here: Tenure, remote: Remote) -> None:
    for tenure in (here, remote):
        with pytest.raises(BadInputError):
            tenure.import_version(BOT, connection="cloud", artifact="")


@pytest.mark.parametrize("wrong", [{"trainn": "x"}, {"base_model": "b"}], ids=str)
def test_a_word_that_there_is_not_or_that_is_missing_is_the_callers_mistake(
    here: Tenure, remote: Remote, stage: Stage, wrong: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"connection": "cloud", **({"train": stage.train} if "trainn" in wrong else {}), **wrong}
    for tenure in (here, remote):
        with pytest.raises(TypeError, match=r"^fine_tune\(\) "):
            tenure.fine_tune(BOT, **asked)


@pytest.mark.parametrize("field", ["train", "validation"])
def test_a_file_that_is_not_here_is_told_by_its_name(remote: Remote, stage: Stage, tmp_path: Path, field: str) -> None:
    asked: dict[str, Any] = {"connection": "cloud", "base_model": "base", "train": stage.train, field: tmp_path}
    with pytest.raises(BadInputError, match="is a folder, not a file") as refused:
        remote.estimate(BOT, **asked)
    assert refused.value.faults == (f"{tmp_path}: is a folder, not a file",)


def test_code_that_is_not_here_is_told_by_its_name(here: Tenure, remote: Remote, stage: Stage) -> None:
    def ask(tenure: Tenure) -> object:
        return tenure.estimate(BOT, connection="cloud", base_model="base", train=stage.train, code="no/such.py")

    same(here, remote, ask)


def test_faults_name_a_file_with_an_odd_name_too(remote: Remote, stage: Stage, tmp_path: Path) -> None:
    odd = tmp_path / 'an "odd", name.csv'
    odd.write_text("x")
    with pytest.raises(BadInputError) as refused:
        remote.estimate(BOT, connection="cloud", base_model="base", train=odd)
    assert str(odd) in str(refused.value)


def test_a_key_holds_an_activation_too(here: Tenure, remote: Remote, stage: Stage) -> None:
    """Asked again under its key it is not done again, whatever has become active since."""
    stage.trained()
    stage.trained()
    remote.activate("bot@1", idempotency_key="first")
    stage.settle()
    here.activate("bot@2")
    stage.settle()
    assert stage.active_ref() == "bot@2"
    assert remote.activate("bot@1", idempotency_key="first").ref == "bot@1"
    stage.settle()
    assert stage.active_ref() == "bot@2"
    with pytest.raises(IdempotencyConflictError):
        remote.activate("bot@2", idempotency_key="first")
