"""The real adapters behind a registry, on rehearsed clouds that misbehave: what is so there, and what the log says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from providers.rehearsal import Pace, Rehearsal, faults
from registry.application.commands import FineTune
from registry.application.ports import DataSource
from registry.application.views import VersionView
from registry.composition import Registry, compose
from registry.domain.ids import VersionRef
from registry.store.memory_log import MemoryLog
from registry.store.training_data import HomeTrainingData
from tests.fakes import SequentialIds
from tests.stage import ANA

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OPENAI, AZURE, AWS = "rehearsal-openai", "rehearsal-azure", "rehearsal-aws"
BASES = {OPENAI: "gpt-4.1-nano-2025-04-14", AZURE: "gpt-4.1-nano-2025-04-14", AWS: "amazon.nova-micro-v1:0:128k"}
JOBS = {OPENAI: "openai.create_job", AZURE: "azure.create_job", AWS: "bedrock.create_model_customization_job"}
CREATES = {AZURE: "arm.put_deployment", AWS: "bedrock.create_provisioned_model_throughput"}
KINDS = {AZURE: "azure.deployment", AWS: "bedrock.provisioned"}
PASSES_MAX = 80
PASS_S = 15.0
PACE = Pace(file_s=0.0, creating_s=60.0)


@dataclass
class Sky:
    """A registry on a log in memory with the three clouds declared; time is the clouds' own, and stands still."""

    clouds: Rehearsal
    home: Path
    log: MemoryLog
    registry: Registry

    def restart(self) -> None:
        self.registry.providers.close()
        self.registry = opened(self.home, self.log, self.clouds)

    def fine_tune(self, connection: str, model: str = "bot") -> VersionRef:
        command = FineTune(
            model=model,
            connection=connection,
            base_model=BASES[connection],
            data=DataSource(train=self.home / "train.jsonl"),
        )
        return self.registry.commands.fine_tune(command, ANA)

    def trained(self, connection: str, model: str = "bot") -> VersionRef:
        ref = self.fine_tune(connection, model)
        self.settle()
        assert self.version(ref).state == "trained", self.version(ref).error
        return ref

    def activate(self, ref: VersionRef) -> None:
        self.registry.commands.activate(ref, ANA)

    def run(self) -> None:
        self.registry.reconciler.run()

    def settle(self, until: Callable[[], bool] | None = None) -> None:
        for _ in range(PASSES_MAX):
            self.run()
            if until() if until else not self.registry.reconciler.in_motion():
                return
            self.clouds.clock.advance(PASS_S)
        raise AssertionError(f"still under way: {self.registry.reconciler.plan()}")

    def version(self, ref: VersionRef) -> VersionView:
        return self.registry.reading.version(ref)

    def types(self, model: str = "bot") -> list[str]:
        return [event.type for event in self.registry.reading.history(model)]

    def jobs(self) -> list[str]:
        """How the jobs stand that were ever made."""
        now = self.clouds.clock.now()
        return [one.status(now) for one in self.clouds.truth.ever() if one.kind.endswith(".job")]


def opened(home: Path, log: MemoryLog, clouds: Rehearsal) -> Registry:
    return compose(
        home,
        log,
        clock=clouds.clock.now,
        jitter=lambda: 0.0,
        new_registry_id=lambda: "test12",
        data=HomeTrainingData(home),
    )


@pytest.fixture
def sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sky]:
    rows = [{"prompt": f"Where is order {n}?", "completion": f"Order {n} is on its way."} for n in range(12)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    with Rehearsal(start=NOON, speed=0.0, pace=replace(PACE)) as clouds:
        for name, value in clouds.environment().items():
            monkeypatch.setenv(name, value)
        log = MemoryLog(clock=clouds.clock.now, ids=SequentialIds())
        registry = opened(tmp_path, log, clouds)
        document: Mapping[str, object] = {
            "connections": clouds.connections(),
            "models": {"bot": {"policy": {"superseded_grace": "0s"}}},
        }
        registry.declaring.apply(document, ANA, plan=False)
        made = Sky(clouds, tmp_path, log, registry)
        yield made
        made.registry.providers.close()


EVERY = pytest.mark.parametrize("connection", [OPENAI, AZURE, AWS])
SERVED = pytest.mark.parametrize("connection", [AZURE, AWS])


@EVERY
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_job_whose_answer_was_lost_is_looked_up_and_trained_once(
    sky: Sky, connection: str, *, after_effect: bool
) -> None:
    sky.clouds.faults.inject(JOBS[connection], faults.reset(after_effect=after_effect))
    ref = sky.trained(connection)
    assert len(sky.jobs()) == 1
    assert sky.types().count("training-outcome-unknown") == 1
    assert sky.version(ref).artifact is not None


@pytest.mark.parametrize("connection", [OPENAI, AZURE])
def test_a_job_that_was_made_twice_is_recorded_and_the_second_is_stopped(sky: Sky, connection: str) -> None:
    sky.clouds.faults.inject(JOBS[connection], faults.duplicate())
    ref = sky.trained(connection)
    assert sorted(sky.jobs()) == ["cancelled", "succeeded"]
    (found,) = [one for one in sky.registry.reading.history(str(ref)) if one.type == "duplicate-job-found"]
    stopped = next(one for one in sky.clouds.truth.ever() if one.id == dict(found.data)["job"]["id"])  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]
    assert stopped.status(sky.clouds.clock.now()) == "cancelled"


@EVERY
def test_a_job_that_is_throttled_is_made_when_the_provider_says_so(sky: Sky, connection: str) -> None:
    sky.clouds.faults.inject(JOBS[connection], faults.throttled("date", seconds=120))
    sky.fine_tune(connection)
    sky.run()
    sky.clouds.clock.advance(100)
    sky.run()
    assert sky.jobs() == []
    sky.clouds.clock.advance(30)
    sky.settle()
    assert len(sky.jobs()) == 1


@EVERY
def test_a_job_that_the_provider_refuses_says_why_in_its_words(sky: Sky, connection: str) -> None:
    sky.clouds.faults.inject(JOBS[connection], faults.quota())
    ref = sky.fine_tune(connection)
    sky.settle()
    view = sky.version(ref)
    assert view.state == "failed"
    assert "quota" in (view.error or "").lower()


@EVERY
def test_a_job_that_fails_says_why_in_the_providers_words(sky: Sky, connection: str) -> None:
    sky.clouds.faults.inject(JOBS[connection], faults.doomed("the examples are too long"))
    ref = sky.fine_tune(connection)
    sky.settle()
    assert "the examples are too long" in (sky.version(ref).error or "")


@SERVED
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_deployment_whose_answer_was_lost_is_looked_up_and_made_once(
    sky: Sky, connection: str, *, after_effect: bool
) -> None:
    ref = sky.trained(connection)
    sky.clouds.faults.inject(CREATES[connection], faults.reset(after_effect=after_effect))
    sky.activate(ref)
    sky.settle()
    assert sky.version(ref).state == "active"
    assert len(sky.clouds.truth.ever(KINDS[connection])) == 1
    (shown,) = sky.registry.reading.deployments()
    (billed,) = sky.clouds.truth.billed()
    assert shown.billed_from is not None
    assert shown.billed_from <= billed.billed_intervals()[0].start


@SERVED
def test_a_deployment_over_quota_is_abandoned_with_the_providers_words(sky: Sky, connection: str) -> None:
    ref = sky.trained(connection)
    sky.clouds.faults.inject(CREATES[connection], faults.quota())
    sky.activate(ref)
    sky.settle()
    view = sky.version(ref)
    assert (view.state, sky.clouds.truth.billed()) == ("trained", [])
    assert "quota" in (view.error or "").lower()


def test_bedrocks_own_limit_of_units_is_told_in_its_words(sky: Sky) -> None:
    sky.clouds.limits.bedrock_units_without_commitment = 0
    ref = sky.trained(AWS)
    sky.activate(ref)
    sky.settle()
    assert "model units" in (sky.version(ref).error or "").lower()
    assert sky.version(ref).state == "trained"


@SERVED
def test_a_deployment_that_fails_while_it_comes_up_is_deleted_and_the_active_version_stays(
    sky: Sky, connection: str
) -> None:
    first = sky.trained(connection)
    sky.activate(first)
    sky.settle()
    second = sky.trained(connection)
    sky.clouds.faults.inject(CREATES[connection], faults.doomed("no capacity in this region"))
    sky.activate(second)
    sky.settle()
    assert (sky.version(first).state, sky.version(second).state) == ("active", "trained")
    assert [one.state for one in sky.registry.reading.deployments()] == ["serving", "deleted"]
    assert len(sky.clouds.truth.billed()) == 1
    assert sky.version(second).error


@SERVED
def test_a_deployment_stuck_in_provisioning_is_given_up_after_two_hours(sky: Sky, connection: str) -> None:
    ref = sky.trained(connection)
    sky.clouds.pace.creating_s = 1e9
    sky.activate(ref)
    sky.run()
    sky.run()
    assert len(sky.clouds.truth.billed()) == 1
    sky.clouds.clock.advance(7200)
    sky.run()
    # Azure lets nothing be deleted that it still creates: the delete is asked for until it does.
    (stuck,) = sky.clouds.truth.billed() or [None]
    if stuck is not None and connection == AZURE:
        sky.clouds.truth.fail(stuck.name, "gave up")
    sky.settle()
    assert "not serving after 2 hours: " in (sky.version(ref).error or "")
    assert sky.clouds.truth.billed() == []
    (shown,) = sky.registry.reading.deployments()
    assert (shown.state, shown.billed) == ("deleted", False)


@SERVED
def test_what_was_under_way_when_the_registry_was_started_again_goes_on(sky: Sky, connection: str) -> None:
    ref = sky.fine_tune(connection)
    sky.run()
    sky.restart()
    sky.settle()
    sky.activate(ref)
    for _ in range(4):
        sky.run()
        sky.restart()
    assert sky.version(ref).state == "deploying"
    sky.settle()
    assert sky.version(ref).state == "active"
    assert (len(sky.jobs()), len(sky.clouds.truth.ever(KINDS[connection]))) == (1, 1)


def test_azures_one_change_at_a_time_delays_the_second_activation_and_fails_none(sky: Sky) -> None:
    refs = [sky.trained(AZURE, model) for model in ("bot", "other")]
    for ref in refs:
        sky.activate(ref)
    sky.settle()
    assert [sky.version(ref).state for ref in refs] == ["active", "active"]
    assert "deployment-failed" not in [*sky.types("bot"), *sky.types("other")]
    assert not [one.error for one in sky.registry.reading.connections() if one.error]
    assert any(call.operation == "arm.put_deployment" and call.status == 409 for call in sky.clouds.truth.log)


def test_an_expired_key_stops_one_connection_and_it_recovers_by_itself(sky: Sky) -> None:
    mine, theirs = sky.fine_tune(OPENAI), sky.fine_tune(AWS, "other")
    sky.run()
    sky.clouds.faults.inject("openai.*", faults.unauthorized(), times=None)
    sky.settle(lambda: sky.version(theirs).state == "trained")
    errors = {one.name: one.error for one in sky.registry.reading.connections()}
    assert errors[OPENAI] is not None
    assert (errors[AWS], sky.version(mine).state) == (None, "training")
    sky.clouds.faults.clear()
    sky.settle()
    assert sky.version(mine).state == "trained"
    assert all(one.error is None for one in sky.registry.reading.connections())


@SERVED
def test_a_delete_that_does_nothing_or_does_not_last_is_made_again(sky: Sky, connection: str) -> None:
    ref = sky.trained(connection)
    sky.activate(ref)
    sky.settle()
    for fault in (faults.delete_ignored(), faults.delete_reappears(20)):
        sky.clouds.faults.inject("*.delete_*", fault)
    sky.registry.commands.retire(ref, ANA)
    sky.settle()
    assert sky.clouds.truth.billed() == []
    assert [one.state for one in sky.registry.reading.deployments()] == ["deleted"]


def test_the_day_on_which_openai_shuts_a_model_down_stands_on_the_version(sky: Sky) -> None:
    sky.clouds.catalogue["openai"][BASES[OPENAI]].retires_at = datetime(2027, 10, 1, tzinfo=UTC)
    sky.clouds.catalogue["azure"][BASES[AZURE]].retires_at = datetime(2027, 10, 1, tzinfo=UTC)
    sky.clouds.catalogue["bedrock"][BASES[AWS]].retires_at = datetime(2027, 10, 1, tzinfo=UTC)
    for connection in (OPENAI, AZURE, AWS):
        view = sky.version(sky.fine_tune(connection))
        assert view.retires_on is not None
        assert view.retires_on.isoformat() == "2027-10-01"
