"""Azure OpenAI's adapter beyond what every provider must do: the resource, deployments under faults, retirement."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.azure import connect
from providers.checks import UNGIVEN
from providers.errors import OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from providers.ports import Artifact, DeploymentRequest, Provider, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness

BASE = "gpt-4.1-mini-2025-04-14"


def _request(name: str = "dep-1", **options: object) -> DeploymentRequest:
    return DeploymentRequest(
        name=name, token=f"token-{name}", model="support-bot", version=3, artifact=Artifact(id=BASE), options=options
    )


def _with(harness: CloudHarness, **settings: object) -> Provider:
    merged = {key: value for key, value in {**harness.connection.settings, **settings}.items() if value is not None}
    stage = dataclasses.replace(harness.connection, settings=merged)
    provider = connect(stage, now=harness.rehearsal.clock.now)
    harness.opened.append(provider)
    return provider


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"account": None, "workspace": None}, "account is missing, or workspace"),
        ({"subscription_id": None}, "subscription_id is missing"),
        ({"sku": "Gold"}, "sku is 'Gold', not one of"),
        ({"capacity": 0}, "capacity is 0"),
        ({"capacity": 10**25}, "capacity is 1"),
        ({"resource_manager": "http://management.example.org"}, "loopback only"),
        ({"token": "ey"}, "token is a secret written as a value"),
        ({"token_env": "ey.J0"}, "token_env names an environment variable"),
    ],
)
def test_settings_that_make_no_sense_are_refused(harness: CloudHarness, setting: dict[str, object], words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        _with(harness, **setting)


def test_the_resource_is_found_through_the_workspace_connection(harness: CloudHarness) -> None:
    provider = _with(harness, account=None, endpoint=None)
    assert BASE in provider.base_models()
    assert list(provider.deployments.list()) == []
    assert harness.rehearsal.truth.calls["arm.get_connection"] == 1
    checks = {check.name: check for check in provider.check()}
    assert "rehearsal-aoai at http://127.0.0.1" in checks["workspace connection"].detail


def test_the_endpoint_is_asked_for_where_only_the_account_is_named(harness: CloudHarness) -> None:
    provider = _with(harness, workspace=None, workspace_connection=None, endpoint=None)
    assert BASE in provider.base_models()
    assert [check.name for check in provider.check()] == ["resource manager", "data plane", "fine-tuning", "metrics"]


def test_the_data_plane_takes_azures_own_credential_too(harness: CloudHarness) -> None:
    assert BASE in _with(harness, api_key_env=None).base_models()


def test_a_deployment_bears_our_tags_and_says_what_it_costs_by(harness: CloudHarness) -> None:
    made = harness.connect().deployments.create(_request(capacity=3))
    assert (made.ours, made.artifact_id, made.sku, made.hourly_units) == (True, BASE, "Standard", Decimal(3))
    assert made.created_at == harness.rehearsal.clock.now()
    tags = harness.rehearsal.truth.one("dep-1").body["tags"]
    assert tags == {"tenure_registry": "reg", "tenure_token": "token-dep-1", "tenure_model": "support-bot@3"}
    free = harness.connect().deployments.create(_request("dep-2", sku="DeveloperTier"))
    assert free.hourly_units is None
    with pytest.raises(RejectedError, match="unknown options: colour"):
        harness.connect().deployments.create(_request("dep-3", colour="blue"))


def test_what_others_deployed_is_shown_as_theirs(harness: CloudHarness) -> None:
    harness.connect().deployments.create(_request())
    harness.rehearsal.truth.one("dep-1").body["tags"] = {"tenure_registry": "another"}
    (found,) = harness.connect().deployments.list()
    assert found.ours is False


def test_states_in_motion_are_read_and_unknown_ones_waited_out(harness: CloudHarness) -> None:
    harness.rehearsal.pace.accepted_s, harness.rehearsal.pace.creating_s = 1, 5
    deployments = harness.connect().deployments
    seen = [deployments.create(_request()).outcome]
    harness.rehearsal.clock.advance(7)
    harness.rehearsal.faults.inject("arm.get_deployment", faults.unknown_status("Pondering"))
    first, second = deployments.get("dep-1"), deployments.get("dep-1")
    assert first is not None
    assert second is not None
    deployments.delete(second.id)
    leaving = deployments.get(second.id)
    assert leaving is not None
    assert [*seen, first.outcome, second.outcome, leaving.outcome] == [
        "provisioning",
        "provisioning",
        "serving",
        "deleting",
    ]
    deployments.delete("dep-1")
    harness.rehearsal.clock.advance(5)
    assert deployments.get("dep-1") is None
    assert harness.rehearsal.truth.calls["arm.delete_deployment"] == 1


def test_one_that_cannot_be_read_after_its_create_is_billed_from_no_later_than_it_is(harness: CloudHarness) -> None:
    rehearsal = harness.rehearsal
    provider = harness.factory(harness.connection, now=lambda: rehearsal.clock.advance(1))
    rehearsal.faults.inject("arm.get_deployment", faults.server_error(500), after=1, times=None)
    made = provider.deployments.create(_request())
    provider.close()
    assert made.status == "Accepted"
    assert made.created_at is not None
    assert made.created_at <= rehearsal.truth.one("dep-1").created_at


def test_a_failed_deployment_is_shown_as_failed(harness: CloudHarness) -> None:
    harness.rehearsal.faults.inject("arm.put_deployment", faults.doomed())
    made = harness.connect().deployments.create(_request())
    assert (made.outcome, made.error) == ("failed", "Azure shows Failed")


def test_a_busy_account_is_unavailable_and_not_a_refusal(harness: CloudHarness) -> None:
    harness.rehearsal.pace.creating_s = 60
    deployments = harness.connect().deployments
    deployments.create(_request())
    with pytest.raises(UnavailableError, match="Another operation is being performed") as caught:
        deployments.create(_request("dep-2"))
    assert (caught.value.code, caught.value.retry_after_s) == ("RequestConflict", 5.0)


def test_a_quota_that_is_used_up_is_a_refusal_that_says_how_much_is_left(harness: CloudHarness) -> None:
    harness.rehearsal.limits.azure_capacity = 4
    with pytest.raises(RejectedError, match="current available capacity 4") as caught:
        harness.connect().deployments.create(_request(capacity=5))
    assert (caught.value.code, bool(caught.value.request_id)) == ("InsufficientQuota", True)


@pytest.mark.parametrize(
    "fault", [faults.server_error(500, after_effect=True), faults.reset(after_effect=True), faults.reset_in_body()]
)
def test_a_create_whose_answer_is_lost_is_unknown_and_there_when_looked_for(
    harness: CloudHarness, fault: faults.Fault
) -> None:
    deployments = harness.connect().deployments
    harness.rehearsal.faults.inject("arm.put_deployment", fault)
    with pytest.raises(OutcomeUnknownError) as caught:
        deployments.create(_request())
    assert caught.value.token == "token-dep-1"
    assert deployments.create(_request()).outcome == "serving"
    assert harness.rehearsal.truth.calls["arm.put_deployment"] == 1
    assert len(harness.rehearsal.truth.billed()) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_throttled_delete_says_when_to_come_back(harness: CloudHarness, form: Any) -> None:
    deployments = harness.connect().deployments
    deployments.create(_request())
    harness.rehearsal.faults.inject("arm.delete_deployment", faults.throttled(form, seconds=9))
    with pytest.raises(UnavailableError) as caught:
        deployments.delete("dep-1")
    assert caught.value.retry_after_s == 9.0


@pytest.mark.parametrize("fault", [faults.server_error(503), faults.reset(after_effect=False)])
def test_a_list_that_breaks_is_no_absence(harness: CloudHarness, fault: faults.Fault) -> None:
    deployments = harness.connect().deployments
    deployments.create(_request())
    harness.rehearsal.faults.inject("arm.*", fault, times=2)
    with pytest.raises(UnavailableError):
        deployments.list()
    with pytest.raises(UnavailableError):
        deployments.get("dep-1")


@pytest.mark.parametrize("fault", [faults.unauthorized(), faults.forbidden()])
def test_a_token_that_expired_stops_the_connection_and_checks_say_so(
    harness: CloudHarness, fault: faults.Fault
) -> None:
    provider = harness.connect()
    harness.rehearsal.faults.inject("arm.*", fault, times=None)
    with pytest.raises(UnauthorizedError):
        provider.deployments.list()
    failed = [check for check in provider.check() if not check.passed]
    assert [check.name for check in failed] == ["workspace connection", "resource manager"]
    assert all(check.remedy for check in failed)


def test_a_missing_token_is_named(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REHEARSAL_ARM_TOKEN")
    provider = harness.connect()
    with pytest.raises(UnauthorizedError, match="REHEARSAL_ARM_TOKEN is not set"):
        provider.deployments.list()
    assert {check.remedy for check in provider.check() if not check.passed} == {UNGIVEN}, "no role would help"


def test_data_that_is_still_being_read_is_waited_for_without_blocking(harness: CloudHarness) -> None:
    harness.rehearsal.pace.file_s = 10
    training, request = harness.connect().training, harness.training_request("job-1")
    with pytest.raises(UnavailableError, match="still reading") as caught:
        training.submit(request)
    assert caught.value.retry_after_s
    harness.rehearsal.clock.advance(11)
    with pytest.raises(UnavailableError):
        training.submit(request)
    harness.rehearsal.clock.advance(11)
    job = training.submit(request)
    assert job.status == "pending"
    assert harness.rehearsal.truth.one(job.id).body["trainingType"] == "GlobalStandard"
    harness.rehearsal.clock.advance(60)
    assert {"train_loss", "valid_loss", "valid_mean_token_accuracy"} <= set(
        training.metrics(job.id, after_step=0)[0].metrics
    )


def test_a_served_model_is_not_deleted_and_says_what_serves_it(harness: CloudHarness) -> None:
    provider = harness.connect()
    job = provider.training.submit(harness.training_request("job-1"))
    harness.rehearsal.clock.advance(60)
    artifact = provider.training.poll([job.id])[job.id].artifact
    assert artifact is not None
    provider.deployments.create(dataclasses.replace(_request(), artifact=artifact))
    with pytest.raises(RejectedError, match="deployed as dep-1"):
        provider.artifacts.delete(artifact.id)
    assert {one.kind for one in provider.artifacts.list()} == {"model", "checkpoint"}
    target = ServingTarget(artifact=artifact, deployment_id=None, deployment_name="dep-1", endpoint=None)
    said: Any = provider.chat.complete(target, {"messages": [{"role": "user", "content": "hi"}]}, timeout_s=5)
    assert said["model"] == artifact.id


def test_a_retirement_that_was_announced_is_told(harness: CloudHarness) -> None:
    harness.rehearsal.catalogue["azure"][BASE].retires_at = datetime(2027, 2, 3, tzinfo=UTC)
    provider: Any = harness.connect()
    assert provider.retires_on(BASE) == date(2027, 2, 3)
    assert provider.retires_on("gpt-4.1-2025-04-14") is None


def test_a_quota_that_is_used_up_is_refused_with_what_uses_it(harness: CloudHarness) -> None:
    deployments = harness.connect().deployments
    first = _request("dep-1")
    deployments.create(first)
    harness.rehearsal.limits.azure_capacity = 1
    again = dataclasses.replace(first, name="dep-2", token="token-2")
    with pytest.raises(RejectedError, match=r"OpenAI.Standard.finetune 1 of 1.*dep-1 \(Standard, capacity 1\)") as full:
        deployments.create(again)
    assert full.value.code == "InsufficientQuota"
    harness.rehearsal.faults.inject("arm.list_usages", faults.server_error(503))
    with pytest.raises(RejectedError) as bare:
        deployments.create(again)
    assert "Deployed" not in bare.value.message


def test_a_create_whose_first_read_shows_nothing_is_accepted_all_the_same(harness: CloudHarness) -> None:
    request = _request("dep-1")
    harness.rehearsal.faults.inject("arm.get_deployment", faults.backwards(3600), times=2)
    made = harness.connect().deployments.create(request)
    assert (made.status, made.outcome, made.ours) == ("Accepted", "provisioning", True)
    shown = harness.connect().deployments.get("dep-1")
    assert shown is not None
    assert (shown.id, shown.hourly_units, shown.sku) == (made.id, made.hourly_units, made.sku)


def test_a_rehearsal_needs_neither_key_nor_token(harness: CloudHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REHEARSAL_API_KEY", "REHEARSAL_ARM_TOKEN"):
        monkeypatch.delenv(name)
    harness.set(rehearsal=True, api_key_env=None, token_env=None)
    provider = harness.connect()
    assert all(check.passed for check in provider.check()), provider.check()
    assert provider.capabilities.poll_interval_s == 1.0
