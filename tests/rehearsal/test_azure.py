"""Azure OpenAI as emulated, through openai, azure-mgmt-cognitiveservices and azure-ai-ml."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

import openai
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest

from providers.rehearsal import Rehearsal
from providers.rehearsal.faults import delete_reappears, doomed
from tests.rehearsal.conftest import NOON
from tests.rehearsal.sdks import (
    ACCOUNT,
    BASE,
    GROUP,
    BearerOverHttp,
    ReadyToken,
    arm_client,
    azure_client,
    tuned,
    upload,
)


def _body(model: str, *, sku: str = "Standard", capacity: int = 1) -> Any:
    return {
        "sku": {"name": sku, "capacity": capacity},
        "tags": {"tenure": "x"},
        "properties": {"model": {"format": "OpenAI", "name": model, "version": "1"}},
    }


def _deploy(rehearsal: Rehearsal, name: str, **options: Any) -> str:
    """A tuned model, deployed and serving; answers the model's name."""
    model = tuned(rehearsal, azure_client(rehearsal), trainingType="GlobalStandard")
    arm_client(rehearsal).deployments.begin_create_or_update(
        GROUP, ACCOUNT, name, _body(model, **options), polling=False
    )
    rehearsal.clock.advance(10)
    return model


def test_a_job_without_a_training_type_gets_the_misleading_refusal(rehearsal: Rehearsal) -> None:
    client = azure_client(rehearsal)
    file = upload(client)
    with pytest.raises(openai.BadRequestError, match="not processed"):
        client.fine_tuning.jobs.create(model=BASE, training_file=file, extra_body={"trainingType": "Standard"})
    rehearsal.clock.advance(1)
    with pytest.raises(openai.BadRequestError, match="does not support fine-tuning"):
        client.fine_tuning.jobs.create(model=BASE, training_file=file)


def test_results_come_in_both_spellings(rehearsal: Rehearsal) -> None:
    client = azure_client(rehearsal)
    file = upload(client)
    rehearsal.clock.advance(1)
    heads: set[str] = set()
    for _ in range(8):
        job = client.fine_tuning.jobs.create(
            model=BASE, training_file=file, validation_file=file, suffix="bot", extra_body={"trainingType": "developer"}
        )
        assert str(job.status) == "pending"
        assert job.organization_id is None
        rehearsal.clock.advance(60)
        done = client.fine_tuning.jobs.retrieve(job.id)
        heads.add(client.files.content(done.result_files[0]).text.splitlines()[0].split(",")[4])
    assert heads == {"validation_mean_token_accuracy", "valid_mean_token_accuracy"}


def test_the_v1_path_needs_no_api_version_and_the_older_one_does(rehearsal: Rehearsal) -> None:
    key = rehearsal.environment()["REHEARSAL_API_KEY"]
    newer = openai.OpenAI(api_key=key, base_url=f"{rehearsal.azure_url}/openai/v1", max_retries=0)
    assert BASE in {model.id for model in newer.models.list()}
    older = openai.OpenAI(api_key=key, base_url=f"{rehearsal.azure_url}/openai", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="api-version"):
        older.models.list()
    with pytest.raises(openai.AuthenticationError):
        newer.with_options(api_key="other").models.list()


def test_jobs_in_flight_and_files_have_a_limit(rehearsal: Rehearsal) -> None:
    client = azure_client(rehearsal)
    rehearsal.limits.azure_jobs, rehearsal.limits.azure_files = 1, 1
    file = upload(client)
    rehearsal.clock.advance(1)
    client.fine_tuning.jobs.create(model=BASE, training_file=file, extra_body={"trainingType": "Standard"})
    with pytest.raises(openai.RateLimitError, match="no more"):
        client.fine_tuning.jobs.create(model=BASE, training_file=file, extra_body={"trainingType": "Standard"})
    with pytest.raises(openai.RateLimitError, match="no more"):
        upload(client)


def test_a_finished_job_can_be_deleted_and_a_running_one_not(rehearsal: Rehearsal) -> None:
    client = azure_client(rehearsal)
    file = upload(client)
    rehearsal.clock.advance(1)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file, extra_body={"trainingType": "Standard"})
    with pytest.raises(openai.ConflictError):
        client.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    rehearsal.clock.advance(60)
    client.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    assert list(client.fine_tuning.jobs.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)


def test_a_deployment_is_accepted_created_and_then_answers(rehearsal: Rehearsal) -> None:
    client, arm = azure_client(rehearsal), arm_client(rehearsal)
    model = tuned(rehearsal, client, trainingType="Standard")
    poller = arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "bot-3", _body(model))
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="bot-3", messages=[{"role": "user", "content": "hi"}])
    assert str(arm.deployments.get(GROUP, ACCOUNT, "bot-3").properties.provisioning_state) == "Accepted"  # pyright: ignore[reportOptionalMemberAccess]
    rehearsal.clock.advance(2)
    assert str(arm.deployments.get(GROUP, ACCOUNT, "bot-3").properties.provisioning_state) == "Creating"  # pyright: ignore[reportOptionalMemberAccess]
    rehearsal.clock.advance(10)
    done = poller.result()
    assert done.tags == {"tenure": "x"}
    said = client.chat.completions.create(model="bot-3", messages=[{"role": "user", "content": "hi"}])
    assert model in (said.choices[0].message.content or "")


def test_it_bills_from_the_accepted_request_until_it_is_gone(rehearsal: Rehearsal) -> None:
    _deploy(rehearsal, "bot-3", capacity=2)
    arm = arm_client(rehearsal)
    accepted = rehearsal.truth.one("bot-3").created_at
    assert [thing.name for thing in rehearsal.truth.billed()] == ["bot-3"]
    rehearsal.clock.advance(3600)
    poller = arm.deployments.begin_delete(GROUP, ACCOUNT, "bot-3")
    assert str(arm.deployments.get(GROUP, ACCOUNT, "bot-3").properties.provisioning_state) == "Deleting"  # pyright: ignore[reportOptionalMemberAccess]
    arm.deployments.begin_delete(GROUP, ACCOUNT, "bot-3", polling=False)
    rehearsal.clock.advance(5)
    poller.result()
    (interval,) = rehearsal.truth.one("bot-3").billed_intervals()
    assert (interval.start, interval.quantity, interval.unit) == (accepted, 2, "hour")
    assert interval.end == accepted + timedelta(seconds=10 + 3600 + 2)
    assert rehearsal.truth.billed() == []
    arm.deployments.begin_delete(GROUP, ACCOUNT, "bot-3").result()
    with pytest.raises(ResourceNotFoundError):
        arm.deployments.get(GROUP, ACCOUNT, "bot-3")


def test_two_changes_at_once_on_one_account_conflict(rehearsal: Rehearsal) -> None:
    arm = arm_client(rehearsal)
    model = tuned(rehearsal, azure_client(rehearsal), trainingType="Standard")
    arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "one", _body(model), polling=False)
    with pytest.raises(ResourceExistsError, match="Another operation is being performed on the parent resource"):
        arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "two", _body(model), polling=False)
    arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "one", _body(model), polling=False)
    rehearsal.clock.advance(10)
    arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "two", _body(model), polling=False)
    assert [d.name for d in arm.deployments.list(GROUP, ACCOUNT)] == ["one", "two"]
    rehearsal.clock.advance(10)
    arm.deployments.begin_create_or_update(GROUP, ACCOUNT, "two", _body(model, capacity=3), polling=False)
    assert [t.body["sku"]["capacity"] for t in rehearsal.truth.things("azure.deployment")] == [1, 3]


@pytest.mark.parametrize("what", ["capacity", "deployments", "model"])
def test_a_quota_that_is_used_up_is_a_refusal_that_says_how_much_is_left(rehearsal: Rehearsal, what: str) -> None:
    model = tuned(rehearsal, azure_client(rehearsal), trainingType="Standard")
    match what:
        case "capacity":
            rehearsal.limits.azure_capacity, said = 4, "InsufficientQuota"
        case "deployments":
            rehearsal.limits.azure_deployments, said = 0, "DeploymentLimitExceeded"
        case _:
            model, said = "no-such-model", "DeploymentModelNotSupported"
    with pytest.raises(HttpResponseError) as caught:
        arm_client(rehearsal).deployments.begin_create_or_update(GROUP, ACCOUNT, "a", _body(model, capacity=5))
    assert caught.value.error is not None
    assert caught.value.error.code == said
    assert rehearsal.truth.billed() == []


def test_a_failed_deployment_stays_and_bills_until_it_is_deleted(rehearsal: Rehearsal) -> None:
    model = tuned(rehearsal, azure_client(rehearsal), trainingType="Standard")
    rehearsal.faults.inject("arm.put_deployment", doomed("no luck"))
    poller = arm_client(rehearsal).deployments.begin_create_or_update(GROUP, ACCOUNT, "a", _body(model))
    rehearsal.clock.advance(30)
    with pytest.raises(HttpResponseError, match="no luck"):
        poller.result()
    assert [thing.name for thing in rehearsal.truth.billed()] == ["a"]


def test_a_delete_that_reappears_comes_back_serving_and_billed(rehearsal: Rehearsal) -> None:
    _deploy(rehearsal, "a")
    arm = arm_client(rehearsal)
    rehearsal.faults.inject("arm.delete_deployment", delete_reappears(60))
    arm.deployments.begin_delete(GROUP, ACCOUNT, "a", polling=False)
    rehearsal.clock.advance(10)
    assert list(arm.deployments.list(GROUP, ACCOUNT)) == []
    rehearsal.clock.advance(60)
    (back,) = arm.deployments.list(GROUP, ACCOUNT)
    assert str(back.properties.provisioning_state) == "Succeeded"  # pyright: ignore[reportOptionalMemberAccess]
    assert len(rehearsal.truth.one("a").billed_intervals()) == 2


def test_a_model_is_not_deleted_while_a_deployment_serves_it(rehearsal: Rehearsal) -> None:
    model = _deploy(rehearsal, "a")
    client = azure_client(rehearsal)
    with pytest.raises(openai.ConflictError, match="is deployed as a"):
        client.models.delete(model)
    rehearsal.truth.vanish("a")
    client.delete(f"/models/{model}", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model)


def test_developer_tier_is_free_by_the_hour_and_gone_after_a_day(rehearsal: Rehearsal) -> None:
    _deploy(rehearsal, "dev", sku="DeveloperTier")
    client = azure_client(rehearsal)
    client.chat.completions.create(model="dev", messages=[{"role": "user", "content": "hi"}])
    assert rehearsal.truth.billed() == []
    rehearsal.clock.advance(24 * 3600)
    assert rehearsal.truth.things("azure.deployment") == []


def test_a_deployment_that_nobody_calls_for_15_days_is_deleted_and_its_model_kept(rehearsal: Rehearsal) -> None:
    model = _deploy(rehearsal, "idle")
    client = azure_client(rehearsal)
    rehearsal.clock.advance(14 * 86400)
    client.chat.completions.create(model="idle", messages=[{"role": "user", "content": "hi"}])
    rehearsal.clock.advance(14 * 86400)
    assert rehearsal.truth.one("idle").exists(rehearsal.clock.now())
    rehearsal.clock.advance(2 * 86400)
    assert not rehearsal.truth.one("idle").exists(rehearsal.clock.now())
    assert client.models.retrieve(model).id == model


def test_the_account_tells_its_endpoint_models_life_cycle_and_use(rehearsal: Rehearsal) -> None:
    rehearsal.catalogue["azure"][BASE].retires_at = NOON + timedelta(days=20)
    _deploy(rehearsal, "a", capacity=3)
    arm = arm_client(rehearsal)
    account: Any = arm.accounts.get(GROUP, ACCOUNT)
    assert account.properties.endpoint == f"{rehearsal.azure_url}/"
    models: list[Any] = [m for m in arm.accounts.list_models(GROUP, ACCOUNT) if m.name == "gpt-4.1-mini"]
    assert models[0].deprecation.fine_tune == "2026-12-10T12:00:00Z"
    usages: Any = arm.accounts.list_usages(GROUP, ACCOUNT)
    assert [(u.current_value, u.limit) for u in usages.value] == [(3, 1000)]
    deprecation: Any = azure_client(rehearsal).models.retrieve(BASE).to_dict()["deprecation"]
    assert deprecation["fine_tune"] == int((NOON + timedelta(days=20)).timestamp())


def test_a_token_that_is_not_the_subscriptions_is_refused(rehearsal: Rehearsal) -> None:
    arm: Any = arm_client(rehearsal)
    arm._config.authentication_policy._token = "other"
    with pytest.raises(HttpResponseError, match="InvalidAuthenticationToken"):
        arm.accounts.get(GROUP, ACCOUNT)


def test_the_workspace_connection_leads_to_the_resource(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azure.ai.ml import MLClient

    settings, token = rehearsal.connections()["rehearsal-azure"], rehearsal.environment()["REHEARSAL_ARM_TOKEN"]
    names = "azure_portal", "resource_manager", "active_directory", "aml_resource_id", "registry_discovery_endpoint"
    client: Any = MLClient(
        ReadyToken(token),  # pyright: ignore[reportArgumentType]
        str(settings["subscription_id"]),
        GROUP,
        str(settings["workspace"]),
        cloud=f"rehearsal-{rehearsal.arm_url}",
        cloud_metadata={**dict.fromkeys(names, rehearsal.arm_url), "storage_endpoint": "invalid"},
        authentication_policy=BearerOverHttp(token),
    )
    _deploy(rehearsal, "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = client.connections.get("aoai", populate_secrets=True)
        assert found.target == f"{rehearsal.azure_url}/"
        assert found.metadata["ResourceId"].endswith(f"/accounts/{ACCOUNT}")
        assert found.credentials.key == rehearsal.environment()["REHEARSAL_API_KEY"]
        assert [connection.name for connection in client.connections.list()] == ["aoai"]
        assert [deployment.name for deployment in client.azure_openai_deployments.list("aoai")] == ["a"]
        assert client.workspaces.get(str(settings["workspace"])).name == settings["workspace"]


def metrics(rehearsal: Rehearsal, **changes: str) -> dict[str, Any]:
    account = arm_client(rehearsal).accounts.get(GROUP, ACCOUNT).id
    asked = {
        "api-version": "2024-02-01", "metricnames": "AzureOpenAIRequests", "interval": "PT1H", "aggregation": "Total",
        "timespan": "2026-11-20T12:00:00Z/2026-11-20T18:00:00Z", "$filter": "ModelDeploymentName eq '*'", **changes,
    }  # fmt: skip
    request = HttpRequest("GET", f"{account}/providers/Microsoft.Insights/metrics", params=asked)
    client: Any = arm_client(rehearsal)
    response = client._send_request(request)
    response.raise_for_status()
    return dict(response.json()["value"][0])


def test_azure_monitor_counts_requests_by_deployment_and_hour(rehearsal: Rehearsal) -> None:
    arm, client = arm_client(rehearsal), azure_client(rehearsal)
    for name in ("one", "two"):
        arm.deployments.begin_create_or_update(GROUP, ACCOUNT, name, _body(BASE), polling=False)
        rehearsal.clock.advance(60)
    for _ in range(3):
        client.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
    assert metrics(rehearsal)["timeseries"] == [], "not counted yet"
    rehearsal.clock.advance(3600)
    client.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
    rehearsal.clock.advance(300)
    (series,) = metrics(rehearsal)["timeseries"]
    assert series["metadatavalues"][0]["value"] == "one"
    assert [point["total"] for point in series["data"]] == [3.0, 1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("changes", [{"metricnames": "Latency"}, {"interval": "PT1M"}, {"$filter": "ApiName eq '*'"}])
def test_other_metrics_are_not_rehearsed(rehearsal: Rehearsal, changes: dict[str, str]) -> None:
    with pytest.raises(HttpResponseError, match="is rehearsed"):
        metrics(rehearsal, **changes)
