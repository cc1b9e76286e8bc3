"""What is followed event by event plans as what is read afresh; and only what changed is looked at again."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.application.ports import DeploymentQuery, VersionQuery
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef
from registry.domain.plan import Step
from registry.reconciler import planning
from registry.reconciler.planning import Planning
from registry.reconciler.using import Uses
from tests.stage import ANA, BEN, BOT, Stage

MODELS = (BOT, "other")
MOVES = (
    *("train", "activate", "deploy", "undeploy", "retire", "delete", "cancel", "retry", "approve"),
    *("lose", "orphan", "sweep", "policy", "default", "wait", "run"),
)


def fresh(stage: Stage) -> Planning:
    return Planning(stage.log, stage.providers, Uses(stage.log, stage.clock))


def shown(steps: list[Step]) -> list[tuple[str, str, str, str, str]]:
    return sorted((one.action, one.subject, one.why, one.actor, str(one.due_at)) for one in steps)


def move(stage: Stage, what: str, model: str, number: int) -> None:
    commands = stage.registry.commands
    versions = stage.log.versions(VersionQuery(model=model, order="oldest")).items
    live = stage.log.deployments(DeploymentQuery(model=model, live=True))
    cloud = stage.cloud()
    match what:
        case "train":
            stage.fine_tune(model)
        case "run" | "sweep":
            stage.registry.reconciler.run(sweep=what == "sweep")
        case "wait":
            stage.clock.advance(minutes=number * 7)
        case "policy":
            keys: list[dict[str, object]] = [{}, {"keep_artifacts": 1}, {"idle_delete": "1h"}, {"superseded": "keep"}]
            stage.registry.declaring.set_policy(model, keys[number % len(keys)], ANA)
        case "default":
            document = {"policy": {"orphans": ("report", "adopt", "delete")[number % 3], "max_monthly_cost": "9999"}}
            stage.registry.declaring.apply(document, ANA, plan=False)
        case "lose" if live:
            cloud.lose(live[number % len(live)].name)
        case "orphan" if versions:
            one = versions[number % len(versions)]
            stray = cloud.stranger(f"tenure-test12-{model}-{one.version}-{number + 5}", one.artifact_id or "ft:no")
            stray.ours = True
        case "undeploy" if live:
            commands.undeploy(live[number % len(live)].id, ANA)
        case "activate" | "deploy" | "retire" | "delete" | "cancel" | "retry" | "approve" if versions:
            ref = f"{model}@{versions[number % len(versions)].version}"
            getattr(stage.tenure(actor=(ANA, BEN)[number % 2].actor), what)(ref)
        case _:
            pass


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(MODELS), st.integers(0, 5)), max_size=30))
def test_followed_and_read_afresh_the_plan_is_the_same(moves: list[tuple[str, str, int]]) -> None:
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        followed = fresh(stage)
        for what, model, number in moves:
            with suppress(TenureError):
                move(stage, what, model, number)
            new = fresh(stage)
            assert shown(followed.steps(sweep=True)) == shown(new.steps(sweep=True))
            assert followed.in_motion() == new.in_motion()


def test_only_the_model_that_an_event_is_about_is_planned_again(stage: Stage) -> None:
    for model in ("a", "b", "c"):
        stage.trained(model)
        stage.registry.commands.deploy(VersionRef(model, 1), ANA)
    stage.settle()
    followed = fresh(stage)
    followed.steps()
    before = followed.replanned
    assert followed.steps() == followed.steps()
    assert followed.replanned == before
    stage.activate(VersionRef("b", 1))
    followed.steps()
    assert followed.replanned == before + 1


def test_far_behind_it_reads_afresh(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BEHIND_MAX", 3)
    followed = fresh(stage)
    followed.steps()
    stage.active()
    assert shown(followed.steps()) == shown(fresh(stage).steps())


def test_a_connection_that_is_removed_is_no_longer_swept(stage: Stage) -> None:
    followed = fresh(stage)
    swept = {step.connection for step in followed.steps(sweep=True) if step.action == "compare with provider"}
    assert swept == {"alone", "cloud", "local"}
    stage.registry.declaring.remove_connection("cloud", ANA)
    swept = {step.connection for step in followed.steps(sweep=True) if step.action == "compare with provider"}
    assert swept == {"alone", "local"}


def test_settings_of_the_scheduler_are_followed(stage: Stage) -> None:
    followed = fresh(stage)
    followed.steps()
    stage.registry.declaring.apply({"scheduler": {"orphan_grace": "3h"}}, ANA, plan=False)
    followed.steps()
    assert followed.settings.orphan_grace == timedelta(hours=3)
