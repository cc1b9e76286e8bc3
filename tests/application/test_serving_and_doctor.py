"""A chat with what serves a version; what a careful person would look at; what two writers do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from providers.errors import ChatError, RejectedError, UnavailableError
from registry.application import doctor
from registry.application.chatting import stream_text
from registry.application.ports import EventLog
from registry.application.unit import ATTEMPTS_MAX, Command, Door, Unit
from registry.application.views import CheckView
from registry.domain import errors
from registry.domain import events as ev
from registry.domain.errors import BadInputError, ConflictError, IdempotencyConflictError, NotFoundError, RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from tests.fakes import provider_error
from tests.stage import ANA, BEN, BOT, Stage

ASK = [{"role": "user", "content": "Hello?"}]


def chat(stage: Stage, ref: str) -> str:
    registry = stage.registry
    return "".join(
        stream_text(
            registry.reading, registry.log, registry.providers, ref, ASK, {"max_tokens": 5}, clock=registry.clock
        )
    )


def test_a_chat_counts_as_a_use_of_the_deployment_that_answered(stage: Stage) -> None:
    stage.active()
    assert stage.log.last_used() == {}
    chat(stage, BOT)
    (used,) = stage.log.last_used().items()
    assert used == (stage.deployments()[0].id, stage.log.usage()[0].last_used_at)


# Chat


def test_a_model_answers_through_its_active_version_and_a_version_through_its_deployment(stage: Stage) -> None:
    stage.active()
    stage.registry.commands.deploy(stage.trained(), ANA)
    stage.settle()
    assert chat(stage, BOT) == chat(stage, "bot@2") == "Hello"
    (first, request), (second, _) = stage.cloud().chats[-2:]
    assert [first.deployment_name, second.deployment_name] == [one.name for one in stage.deployments()]
    assert request == {"max_tokens": 5, "messages": ASK, "stream": True}


def test_where_tuned_models_serve_as_they_are_the_artifact_answers(stage: Stage) -> None:
    stage.active(connection="alone")
    assert chat(stage, BOT) == "Hello"
    assert stage.cloud("alone").chats[-1][0].deployment_id is None


def test_what_nothing_serves_is_refused_and_what_does_not_exist_is_not_found(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="bot has no active version"):
        chat(stage, BOT)
    stage.fine_tune()
    with pytest.raises(RefusedError, match="bot@1 is queued: nothing serves it"):
        chat(stage, "bot@1")
    stage.settle()
    with pytest.raises(RefusedError, match="nothing serves bot@1, which is trained"):
        chat(stage, "bot@1")
    stage.registry.commands.deploy(VersionRef(BOT, 1), ANA)
    with pytest.raises(RefusedError, match="nothing serves bot@1"):
        chat(stage, "bot@1")
    with pytest.raises(NotFoundError):
        chat(stage, "zzz")


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (ChatError("too long", status=400), BadInputError, "answered 400: too long"),
        (ChatError("loading", status=503), errors.UnavailableError, "answered 503: loading"),
        (provider_error(UnavailableError), errors.UnavailableError, "the provider says"),
        (provider_error(RejectedError), errors.UnavailableError, "the provider says"),
    ],
)
def test_what_the_endpoint_refuses_is_told_in_our_words(
    stage: Stage, error: Exception, kind: type[errors.TenureError], match: str
) -> None:
    stage.active()
    stage.cloud().fail("stream", error)
    with pytest.raises(kind, match=match):
        chat(stage, BOT)


# Doctor


def examined(stage: Stage) -> dict[str, CheckView]:
    registry = stage.registry
    return {one.name: one for one in doctor.examine(registry.home, registry.tools, registry.reading, checked)}


def checked(name: str) -> list[CheckView]:
    if name == "alone":
        raise BadInputError("the settings are wrong", hint="edit them")
    return [CheckView(name="credential", passed=True, detail="accepted")]


def test_a_healthy_home_passes(stage: Stage) -> None:
    stage.active()
    checks = examined(stage)
    assert checks["log"].passed
    assert checks["space"].passed
    assert checks["cloud: credential"].passed
    assert [one.name for one in checks.values() if not one.passed] == ["alone: opens"]
    assert checks["alone: opens"].remedy == "edit them"


def test_what_failed_and_what_is_billed_for_nothing_is_shown_with_a_remedy(stage: Stage) -> None:
    stage.cloud().results.append(("failed", "bad data"))
    failed = stage.fine_tune()
    stage.settle()
    ref = stage.trained()
    deployment = stage.registry.commands.deploy(ref, ANA)
    stage.settle()
    checks = examined(stage)
    assert checks[f"version {failed}"].remedy == f"tenure retry {failed}, or tenure delete {failed}"
    assert checks[f"deployment {deployment}"].remedy == f"tenure undeploy {deployment}"
    stage.activate(ref)
    assert f"deployment {deployment}" not in examined(stage), "it is about to be active"


def test_what_nobody_here_asked_for_is_told_as_what_belongs_to_no_version(stage: Stage) -> None:
    stage.cloud().stranger("tenure-test12-bot-9-1", "ft:lost").ours = True
    stage.registry.reconciler.run(sweep=True)
    (told,) = (one for name, one in examined(stage).items() if name.startswith("deployment "))
    assert told.detail == (
        "serving, for no version that is known here: provider:cloud, it bears our tag, and no intent of ours names it"
    )


def test_a_full_disk_and_a_damaged_log_are_told(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged:
        def verify(self) -> int:
            raise errors.CorruptLogError("position 7 is not what was written", position=7, hint="restore a backup")

    monkeypatch.setattr(doctor, "FREE_BYTES_MIN", 10**18)
    checks = doctor.examine(tmp_path, Damaged(), stage.registry.reading, checked)  # pyright: ignore[reportArgumentType]
    assert [(one.name, one.passed) for one in checks[:2]] == [("space", False), ("log", False)]
    assert checks[1].remedy == "restore a backup"


# Two writers


class Contended:
    """A log on which somebody else is always faster, `times` times."""

    def __init__(self, log: EventLog, times: int) -> None:
        self._log = log
        self.times = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def append(self, events: Sequence[NewEvent], **conditions: object) -> object:
        if self.times:
            self.times -= 1
            raise ConflictError("changed meanwhile", stream=events[0].stream)
        return self._log.append(events, **conditions)  # pyright: ignore[reportArgumentType]


def policy_change(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
    unit.model(BOT)
    return [ANA.says("model:bot", ev.PolicyChanged(model=BOT, policy={}))], {}


@pytest.mark.parametrize(("times", "wins"), [(1, True), (ATTEMPTS_MAX - 1, True), (ATTEMPTS_MAX, False)])
def test_a_command_is_decided_again_when_somebody_was_faster_but_not_for_ever(
    stage: Stage, times: int, *, wins: bool
) -> None:
    log = Contended(stage.log, times)
    door = Door(log, lambda: "test12")  # pyright: ignore[reportArgumentType]
    command = Command(name="policy", body={}, who=BEN)
    if wins:
        assert door.run(command, policy_change).appended is not None
        return
    with pytest.raises(ConflictError):
        door.run(command, policy_change)


@pytest.mark.parametrize("times", [1, 2])
def test_a_callers_own_expectation_is_not_decided_again(stage: Stage, times: int) -> None:
    door = Door(Contended(stage.log, times), lambda: "test12")  # pyright: ignore[reportArgumentType]
    seen = {"model:bot": 2} if times == 1 else {}
    command = Command(name="policy", body={}, who=BEN, expected=seen)
    if times == 1:
        with pytest.raises(ConflictError):
            door.run(command, policy_change)
    else:
        assert door.run(command, policy_change).appended is not None


def test_a_callers_own_expectation_that_fails_when_it_is_decided_again_is_told(stage: Stage) -> None:
    door = Door(stage.log, lambda: "test12")
    at = stage.registry.reading.model(BOT).stream_version
    decided: list[str] = []

    def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
        unit.connection("cloud")
        unit.model(BOT)
        decided.append("once more")
        if len(decided) == 1:
            stage.registry.declaring.declare_connection("cloud", {"provider": "azure-openai", "sku": "Other"}, ANA)
        else:
            stage.registry.declaring.set_policy(BOT, {"approvals": 1}, ANA)
        return [BEN.says("model:bot", ev.PolicyChanged(model=BOT, policy={}))], {}

    with pytest.raises(ConflictError) as conflict:
        door.run(Command(name="policy", body={}, who=BEN, expected={"model:bot": at}), decide)
    assert (conflict.value.stream, decided) == ("model:bot", ["once more"] * 2)


def test_what_was_decided_on_is_what_is_appended_to(stage: Stage) -> None:
    door = Door(stage.log, lambda: "test12")
    seen: list[int] = []

    def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
        model = unit.model(BOT)
        assert model is not None
        seen.append(model.stream_version)
        if len(seen) == 1:
            stage.registry.declaring.set_policy(BOT, {"approvals": 1}, ANA)
        return [BEN.says("model:bot", ev.PolicyChanged(model=BOT, policy={"approvals": model.stream_version}))], {}

    door.run(Command(name="policy", body={}, who=BEN), decide)
    assert seen == [2, 3]
    assert stage.registry.reading.model(BOT).policy["approvals"] == 3


def test_a_key_that_was_taken_while_it_was_decided_gives_the_answer_of_the_first(stage: Stage) -> None:
    door = Door(stage.log, lambda: "test12")
    command = Command(name="policy", body={}, who=BEN, idempotency_key="key")
    inside = False

    def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
        nonlocal inside
        if not inside:
            inside = True
            door.run(command, lambda _: ([], {"by": "first"}))
        return [], {"by": "second"}

    outcome = door.run(command, decide)
    assert (outcome.answer, outcome.repeated) == ({"by": "first"}, True)


def test_a_taken_key_that_nobody_can_show_is_an_error(stage: Stage) -> None:
    class Forgetful(Contended):
        def answered(self, key: str) -> None:
            return None

    door = Door(Forgetful(stage.log, 0), lambda: "test12")  # pyright: ignore[reportArgumentType]
    command = Command(name="policy", body={}, who=BEN, idempotency_key="key")
    door.run(command, lambda _: ([], {}))
    with pytest.raises(IdempotencyConflictError):
        door.run(command, lambda _: ([], {}))
