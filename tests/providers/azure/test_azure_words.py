"""What Azure Resource Manager says in other words than the rehearsed one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from providers.ports import Artifact, DeploymentRequest
from tests.providers.cloud_harness import CloudHarness
from tests.providers.scripted import Scripted, scripted

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
NO_ACCOUNT = (
    "The Resource 'Microsoft.CognitiveServices/accounts/dep-1' under resource group 'g' was not found. "
    "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
)


@pytest.fixture
def manager(harness: CloudHarness) -> Iterator[Scripted]:
    with scripted() as script:
        harness.set(resource_manager=script.url)
        try:
            yield script
        finally:
            harness.close()


def shown(name: str, state: str = "Succeeded", **beside: object) -> dict[str, Any]:
    model = {"format": "OpenAI", "name": "ft-1", "version": "1"}
    return {
        "id": f"{ACCOUNT}/deployments/{name}",
        "name": name,
        "sku": {"name": "Standard", "capacity": 1},
        "properties": {"model": model, "provisioningState": state},
        **beside,
    }


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@pytest.mark.parametrize(
    "words",
    [
        error("NotFound", f"Specified resource '{ACCOUNT}/deployments/Dep-1' cannot be found."),
        error("DeploymentNotFound", "The deployment does not exist."),
    ],
)
def test_a_deployment_that_is_not_there_is_so_in_any_of_azures_words(
    harness: CloudHarness, manager: Scripted, words: object
) -> None:
    manager.says("GET .*/deployments/", words, 404)
    assert harness.connect().deployments.get("dep-1") is None
    assert manager.count("deployments[?]") == 0


@pytest.mark.parametrize("words", [b"<html>nothing here</html>", error("404", "Resource not found")])
def test_a_404_that_names_nothing_is_believed_where_the_list_agrees(
    harness: CloudHarness, manager: Scripted, words: object
) -> None:
    manager.says("GET .*/deployments/", words, 404)
    manager.says("GET .*/deployments[?]", {"value": [shown("DEP-2")]})
    deployments = harness.connect().deployments
    assert deployments.get("dep-1") is None
    there = deployments.get("dep-2")
    assert there is not None
    assert there.outcome == "serving"


def test_an_account_that_is_not_there_says_nothing_of_its_deployments(harness: CloudHarness, manager: Scripted) -> None:
    manager.says("GET", error("ResourceNotFound", NO_ACCOUNT), 404)
    with pytest.raises(RejectedError, match="was not found"):
        harness.connect().deployments.get("dep-1")


NO_ANSWERS: list[object] = [b"<html>sign in</html>", {}, None, [1], {"value": [{}]}, {"value": "none"}]


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_an_answer_to_something_else_is_unavailable_and_no_absence(
    harness: CloudHarness, manager: Scripted, answer: object
) -> None:
    manager.says("GET", answer)
    deployments = harness.connect().deployments
    with pytest.raises(UnavailableError):
        deployments.list()
    with pytest.raises(UnavailableError):
        deployments.get("dep-1")


@pytest.mark.parametrize("status", [202, 302, 500])
def test_a_create_that_is_answered_neither_yes_nor_no_may_have_happened(
    harness: CloudHarness, manager: Scripted, status: int
) -> None:
    manager.says("GET .*/deployments/", error("DeploymentNotFound", "no"), 404)
    manager.says("PUT", shown("dep-1", "Accepted"), status)
    request = DeploymentRequest(name="dep-1", token="t", model="bot", version=1, artifact=Artifact(id="ft-1"))
    with pytest.raises(OutcomeUnknownError):
        harness.connect().deployments.create(request)


def test_a_job_is_found_by_its_suffix_where_azure_keeps_no_metadata(harness: CloudHarness) -> None:
    """Cut to the 40 characters that Azure takes, with a digest: two long names do not become one."""
    training = harness.connect().training
    names = [f"tenure-reg-a-very-long-name-of-a-model-{end}" for end in ("one-1-1", "two-1-1")]
    made = [training.submit(harness.training_request(name)) for name in names]
    found = [training.find(name=name, token="lost") for name in names]
    assert [[one.id for one in each] for each in found] == [[one.id] for one in made]
    assert {one.id for one in training.unfinished()} == {one.id for one in made}


def test_jobs_that_ended_since_a_moment_are_listed_beside_those_that_run(harness: CloudHarness) -> None:
    training = harness.connect().training
    made = training.submit(harness.training_request("tenure-reg-bot-1-1", ends=False))
    training.submit(harness.training_request("not-ours"))
    training.cancel(made.id)
    (over,) = training.poll([made.id]).values()
    assert over.finished_at is not None
    shown = training.unfinished(or_ended_since=over.finished_at)
    assert [(one.id, one.outcome) for one in shown] == [(made.id, "cancelled")]
    assert training.unfinished(or_ended_since=over.finished_at + timedelta(seconds=1)) == []
    assert training.unfinished() == []
