"""Tenure from Python: the methods that users call, over a registry in this process."""

from __future__ import annotations

import getpass
import os
from datetime import UTC
from importlib import resources
from pathlib import Path

import pytest

import registry
from providers.ports import Artifact
from registry import embedded
from registry.application.views import MetricView, ModelView, VersionView
from registry.domain.errors import BadInputError, HomeInUseError, NotFoundError, RefusedError, TenureError
from registry.embedded import NewVersion, Tenure, Version, working
from tests.stage import BOT, Stage


def fine_tune(tenure: Tenure, stage: Stage, **changes: object) -> Version:
    known: dict[str, object] = {"connection": "cloud", "base_model": "base", "train": stage.train}
    return tenure.fine_tune(BOT, **{**known, **changes})  # pyright: ignore[reportArgumentType] - its own arguments


# The main job


def test_a_model_is_fine_tuned_activated_asked_replaced_and_rolled_back(tenure: Tenure, stage: Stage) -> None:
    tenure.set_policy(BOT, {"superseded_grace": "0s"})
    version = fine_tune(tenure, stage, validation=stage.train, reason="refunds").wait()
    assert (str(version), version.state, version.refresh()) == ("bot@1", "trained", version)
    assert tenure.activate(version, reason="better on refunds").wait().state == "active"
    assert "".join(tenure.chat(BOT, [{"role": "user", "content": "Hi"}])) == "Hello"

    second = fine_tune(tenure, stage, activate=True).wait()
    assert second.state == "active"
    assert [one.state for one in tenure.deployments()] == ["deleted", "serving"], "a wait sees the clean-up through"
    tenure.activate("bot@1").wait()
    assert [one.ref for one in tenure.deployments(billed=True)] == ["bot@1"]
    assert [one.ref for one in tenure.versions(BOT)] == ["bot@2", "bot@1"]
    assert [one.ref for one in tenure.versions(BOT, states=["retired"])] == ["bot@2"]
    assert tenure.history("bot@1")[-1].type in {"version-activated", "deployment-deleted"}
    assert tenure.audit().as_json()["total"]
    assert version.as_json()["ref"] == "bot@1"


def test_progress_is_told_point_by_point_while_it_trains(tenure: Tenure, stage: Stage) -> None:
    told: list[tuple[str, list[MetricView]]] = []
    fine_tune(tenure, stage).wait(on_progress=lambda view, points: told.append((view.state, points)))
    points = [(one.name, one.step) for _, new in told for one in new]
    assert sorted(points) == [("train_loss", 1), ("train_loss", 2), ("valid_loss", 3)]
    assert told[-1][0] == "trained"
    assert tenure.metrics("bot@1")[0].attempt == 1


# Waits that end otherwise


def test_a_wait_for_a_version_that_fails_says_why(tenure: Tenure, stage: Stage) -> None:
    stage.cloud().results.append(("failed", "bad data"))
    version = fine_tune(tenure, stage)
    with pytest.raises(TenureError, match="bot@1 is failed: bad data"):
        version.wait()
    assert tenure.wait("bot@1").state == "failed"
    attempts: set[int] = set()
    again = tenure.retry("bot@1")
    assert again.wait(on_progress=lambda _, points: attempts.update(one.attempt for one in points)).state == "trained"
    assert attempts == {2}, "the failed attempt's losses are told no more"


def test_a_wait_for_an_activation_that_comes_to_nothing_says_why(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage).wait()
    stage.cloud().deploy_failures.append("no capacity")
    activation = tenure.activate(version)
    with pytest.raises(TenureError, match="bot@1 was not activated: no capacity"):
        activation.wait()
    assert [one.state for one in tenure.deployments()] == ["deleted"]


def test_a_wait_for_a_fine_tune_whose_activation_is_refused_ends(tenure: Tenure, stage: Stage) -> None:
    tenure.set_policy(BOT, {"approvals": 1})
    version = fine_tune(tenure, stage, activate=True)
    with pytest.raises(TenureError, match="was not activated: bot@1 needs 1 approval and has 0"):
        version.wait()


def test_a_wait_that_takes_too_long_says_where_it_stands_and_the_work_goes_on(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage)
    tenure.reconcile()
    for job in stage.cloud().jobs.values():
        job.polls_left = -1
    with pytest.raises(TenureError, match="bot@1 is still training") as late:
        version.wait(timeout_s=0.02)
    assert late.value.hint == "it goes on; ask again later"
    for job in stage.cloud().jobs.values():
        job.polls_left = 0
    assert version.wait().state == "trained"


def test_a_wait_does_not_go_on_for_ever_for_a_deletion_that_hangs(
    tenure: Tenure, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "CLEAN_UP_S_MAX", 0.02)
    version = fine_tune(tenure, stage).wait()
    deployment = tenure.deploy(version)
    tenure.wait_for_deployment(deployment.id, until=frozenset({"serving"}))
    stage.cloud().deletes_ignored = 10**6
    tenure.undeploy(deployment.id)
    assert tenure.activate(version).wait().state == "active"
    assert [one.state for one in tenure.deployments()] == ["deleting", "serving"]


def test_a_cancelled_version_has_stopped_its_job_when_the_wait_ends(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage)
    tenure.reconcile()
    (job,) = stage.cloud().jobs.values()
    job.polls_left = -1
    stage.cloud().cancels_ignored = 1
    assert tenure.cancel(version).wait().state == "cancelled"
    assert job.outcome == "cancelled"


def test_a_failed_version_can_be_deleted_and_waited_for(tenure: Tenure, stage: Stage) -> None:
    stage.cloud().results.append(("failed", "bad data"))
    fine_tune(tenure, stage)
    tenure.wait("bot@1")
    assert tenure.delete("bot@1").wait().state == "deleted"


def test_retiring_and_approving_answer_with_the_version(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage, activate=True).wait()
    assert tenure.approve(version).approvals == ("user:ana",)
    assert tenure.retire(version, reason="toxic").state == "retired"
    assert tenure.history(BOT)[-1].type == "active-version-changed"


# Deployments


def test_a_standby_is_waited_for_by_its_own_state(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage).wait()
    deployment = tenure.deploy(version)
    assert tenure.wait_for_deployment(deployment.id, until=frozenset({"serving"})).state == "serving"
    tenure.undeploy(deployment.id)
    assert tenure.wait_for_deployment(deployment.id, until=frozenset({"deleted"})).state == "deleted"
    stage.cloud().deploy_failures.append("no capacity")
    failing = tenure.deploy(version)
    assert tenure.wait_for_deployment(failing.id, until=frozenset({"serving"})).state in {"failed", "deleted"}


def test_what_exists_is_attached_and_imported(tenure: Tenure, stage: Stage) -> None:
    fine_tune(tenure, stage).wait()
    artifact = "ft:tenure-test12-bot-1-1"
    assert [one["id"] for one in tenure.importable("cloud")] == [artifact]
    imported = tenure.import_version("other", connection="cloud", artifact=artifact)
    stage.cloud().artifacts["ft:stray"] = Artifact(id="ft:stray")
    known = {one["id"]: one["versions"] for one in tenure.importable("cloud")}
    assert known == {artifact: ["bot@1", "other@1"], "ft:stray": []}, "nobody knows the other one"
    stage.cloud().stranger("theirs", artifact)
    assert tenure.attach(imported, "theirs").attached
    assert tenure.activate(imported).wait().state == "active"


# New versions of one's own


def test_a_version_trained_in_the_block_is_trained_when_the_block_ends(tenure: Tenure) -> None:
    with tenure.new_version(BOT, connection="local") as version:
        assert (version.ref, version.version, version.directory.is_dir()) == ("bot@1", 1, True)
        assert tenure.version(version.ref).state == "training"
        (version.directory / "model.safetensors").write_bytes(b"weights")
    assert tenure.version("bot@1").state == "trained"
    assert tenure.activate(version).wait().state == "active", "it goes where any version goes"


def test_an_error_in_the_block_fails_the_version_and_goes_on(tenure: Tenure) -> None:
    with pytest.raises(ZeroDivisionError), tenure.new_version(BOT, connection="local"):
        _ = 1 / 0
    assert tenure.version("bot@1").error == "ZeroDivisionError in the training code"


def test_a_block_that_saved_nothing_fails_the_version(tenure: Tenure) -> None:
    with pytest.raises(BadInputError, match="holds no model"), tenure.new_version(BOT, connection="local"):
        pass
    assert tenure.version("bot@1").state == "failed"


def test_an_error_in_a_block_whose_version_was_cancelled_is_still_that_error(tenure: Tenure) -> None:
    def cancelled_and_broken(version: NewVersion) -> None:
        tenure.cancel(version.ref)
        raise KeyError(version.ref)

    with pytest.raises(KeyError), tenure.new_version(BOT, connection="local") as version:
        cancelled_and_broken(version)
    assert tenure.version("bot@1").state == "cancelled"


# Questions


def test_a_name_shows_a_model_and_a_reference_a_version(tenure: Tenure, stage: Stage) -> None:
    fine_tune(tenure, stage)
    model, version = tenure.show(BOT), tenure.show("bot@1")
    assert isinstance(model, ModelView)
    assert isinstance(version, VersionView)
    assert [one.model for one in tenure.models()] == [BOT]
    assert tenure.models(as_of=0) == []
    with pytest.raises(NotFoundError):
        tenure.show("zzz")


def test_an_estimate_says_what_it_would_take(tenure: Tenure, stage: Stage) -> None:
    head = stage.log.head()
    estimate = tenure.estimate(
        BOT, connection="cloud", base_model="base", train=stage.train, validation=stage.train, system="Be kind."
    )
    assert (estimate.tokens, str(estimate.cost), estimate.train["rows"]) == (200, "0.50", 20)
    assert estimate.validation is not None
    assert estimate.warnings == ("short answers",)
    assert stage.log.head() == head
    alone = tenure.estimate(BOT, connection="cloud", base_model="base", train=str(stage.train))
    assert alone.validation is None


def test_everything_that_happened_is_read_and_followed(tenure: Tenure, stage: Stage) -> None:
    fine_tune(tenure, stage)
    assert tenure.events(after=2, limit=1)[0].position == 3
    followed = [event.type for event in tenure.follow("bot@1", timeout_s=0.05)]
    assert followed == ["fine-tune-requested", "training-submitted", "training-started", "version-trained"]
    head = stage.log.head()
    assert [*tenure.follow(after=head, timeout_s=0.0)] == []
    assert [event.position for event in tenure.follow(timeout_s=0.0)] == list(range(1, head + 1))


def test_following_goes_on_with_what_comes(tenure: Tenure, stage: Stage) -> None:
    fine_tune(tenure, stage)
    seen: list[str] = []
    for event in tenure.follow("bot@1"):
        seen.append(event.type)
        if event.type == "version-trained":
            break
    assert seen[0] == "fine-tune-requested"


def test_connections_are_declared_tested_and_removed(tenure: Tenure) -> None:
    assert tenure.declare_connection("new", {"provider": "openai"}).name == "new"
    assert tenure.test_connection("new")[0].passed
    tenure.remove_connection("new")
    with pytest.raises(NotFoundError):
        tenure.test_connection("new")
    assert {one.name for one in tenure.connections()} == {"alone", "cloud", "local"}


def test_a_file_or_a_document_is_applied(tenure: Tenure, tmp_path: Path) -> None:
    path = tmp_path / "tenure.toml"
    path.write_text("[models.bot.policy]\napprovals = 1\n")
    assert [one.kind for one in tenure.apply(path, plan=True)] == ["change"]
    assert [one.kind for one in tenure.apply(str(path))] == ["change"]
    assert tenure.apply({"models": {BOT: {}}})[0].kind == "same"
    assert tenure.policy(BOT)["approvals"] == 1


def test_a_policy_says_what_it_would_do_now(tenure: Tenure, stage: Stage) -> None:
    fine_tune(tenure, stage, activate=True).wait()
    assert tenure.policy_plan(BOT) == []
    fine_tune(tenure, stage, activate=True).wait()
    (step,) = tenure.policy_plan(BOT)
    assert (step.outcome, step.why) == ("waiting", "superseded = delete, after 600 s of grace")
    assert step.action in {one.action for one in tenure.reconcile(plan=True)}


def test_the_doctor_and_the_log_tools_are_at_hand(tenure: Tenure, stage: Stage) -> None:
    assert all(one.passed for one in tenure.doctor())
    assert tenure.log.verify() == stage.log.head()
    assert tenure.home == stage.home


# Opening


def test_a_home_is_opened_closed_and_opened_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with registry.open(home, actor="user:ana", background=False) as tenure:
        assert tenure.models() == []
        tenure.apply({"models": {BOT: {}}})
    tenure.close()
    with registry.open(str(home), background=False) as again:
        assert [one.model for one in again.models()] == [BOT]
        assert [one.actor for one in again.events()] == ["user:ana"] * 2


def test_a_home_that_is_open_here_already_says_so_and_one_without_a_name_is_none(tmp_path: Path) -> None:
    with (
        registry.open(tmp_path, background=False),
        pytest.raises(HomeInUseError, match="in use by process") as refused,
    ):
        registry.open(tmp_path, background=False)
    assert "this process" in str(refused.value.hint)
    with pytest.raises(BadInputError, match="has no name"):
        registry.open("")


def test_the_home_and_the_actor_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENURE_HOME", str(tmp_path))
    assert embedded.default_home() == tmp_path
    monkeypatch.delenv("TENURE_HOME")
    assert embedded.default_home() == Path.home() / ".tenure"
    monkeypatch.setenv("TENURE_ACTOR", "ben")
    assert embedded.default_actor() == "user:ben"
    monkeypatch.setenv("TENURE_ACTOR", "policy:nightly")
    assert embedded.default_actor() == "policy:nightly"
    monkeypatch.delenv("TENURE_ACTOR")
    monkeypatch.setattr(getpass, "getuser", lambda: "cleo")
    assert embedded.default_actor() == "user:cleo"

    def nobody() -> str:
        raise OSError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert embedded.default_actor() == f"user:{os.getuid()}"


def test_the_package_has_its_public_names_and_no_others() -> None:
    assert registry.Tenure is Tenure
    assert all(getattr(registry, name) for name in registry.__all__)
    assert sorted(dir(registry)) == sorted(registry.__all__)
    assert issubclass(registry.NotSignedInError, registry.TenureError)
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        _ = registry.close  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


@pytest.mark.parametrize("package", ["registry", "providers", "training", "statemachine"])
def test_the_packages_say_that_they_are_typed(package: str) -> None:
    assert (resources.files(package) / "py.typed").is_file()


def test_a_version_has_the_fields_of_its_view_and_a_view_does_for_a_version(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage).wait()
    assert (version.ref.upper(), version.created_at.tzinfo, str(version)) == ("BOT@1", UTC, "bot@1")
    assert version.as_json() == tenure.version(version).as_json()
    assert "tenure=" not in repr(version)
    (listed,) = tenure.versions(BOT)
    assert tenure.activate(listed).wait().active
    assert tenure.show(version) == tenure.version("bot@1")
    assert "".join(tenure.chat(listed, [{"role": "user", "content": "hi"}]))


def test_a_refusal_reaches_the_caller_as_it_is(tenure: Tenure, stage: Stage) -> None:
    version = fine_tune(tenure, stage)
    with pytest.raises(RefusedError) as refusal:
        tenure.activate(version)
    assert (refusal.value.state, refusal.value.exit_code) == ("queued", 3)
