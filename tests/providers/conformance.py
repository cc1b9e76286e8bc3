"""What every provider must do behind `providers.ports`, whichever it is. Not collected by itself: a provider's tests
subclass `ProviderConformance` and give it a `harness`.

A harness is one account with its own truth (an emulator, a folder) that survives the `Provider` objects opened on it,
as a real account survives a registry that is killed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

import httpx2
import pytest

from providers.errors import ChatError, RejectedError
from providers.ports import (
    Artifact,
    Connection,
    DeploymentReport,
    DeploymentRequest,
    JobReport,
    Provider,
    ProviderFactory,
    ServingTarget,
    TrainingRequest,
)

WAIT_S_MAX = 30.0
_T = TypeVar("_T")


class Harness(Protocol):
    """How the suite sets a provider's stage."""

    factory: ProviderFactory
    connection: Connection

    def connect(self) -> Provider:
        """A new `Provider` on the same account: what a registry that was started again has."""
        ...

    def training_request(self, name: str, *, ends: bool = True) -> TrainingRequest:
        """One that succeeds; or, with `ends` False, one that trains until it is cancelled."""
        ...

    def failing_request(self, name: str) -> TrainingRequest:
        """One that is accepted and then fails."""
        ...

    def advance(self) -> None:
        """Let the provider move on: an emulator takes its next step, a process gets some time."""
        ...

    def lose_deployment(self, name: str) -> None:
        """It goes, and nobody asked us."""
        ...


class ProviderConformance:
    """Facts about a provider. Those about deployments are skipped where serving needs none."""

    @pytest.fixture
    def harness(self) -> Harness:
        raise NotImplementedError

    def test_a_setting_that_is_unknown_is_refused_by_name(self, harness: Harness) -> None:
        settings = {**harness.connection.settings, "colour": "blue"}
        with pytest.raises(RejectedError, match="colour"):
            harness.factory(dataclasses.replace(harness.connection, settings=settings), now=_never)

    def test_a_check_never_raises_and_says_what_it_looked_at(self, harness: Harness) -> None:
        checks = harness.connect().check()
        assert checks
        assert all(one.name and one.detail for one in checks)
        assert all(one.passed for one in checks), checks

    def test_an_unknown_base_model_is_refused_before_anything_is_sent(self, harness: Harness) -> None:
        request = dataclasses.replace(harness.training_request("job-1"), base_model="no-such-model")
        with pytest.raises(RejectedError, match="no-such-model"):
            harness.connect().training.validate(request)
        assert harness.connect().training.find(name="job-1", token=request.token) == []

    def test_a_job_succeeds_with_an_artifact_and_losses(self, harness: Harness) -> None:
        training = harness.connect().training
        job = _ended(harness, training.submit(harness.training_request("job-1")))
        assert (job.outcome, job.name, job.error) == ("succeeded", "job-1", None)
        assert job.artifact is not None
        assert job.finished_at is not None
        assert job.finished_at.utcoffset() is not None, "a time without its zone"
        points = training.metrics(job.id, after_step=0)
        assert [one.step for one in points] == sorted({one.step for one in points})
        assert all("train_loss" in one.metrics for one in points)
        assert training.metrics(job.id, after_step=points[-1].step) == []

    def test_a_job_that_fails_says_why(self, harness: Harness) -> None:
        job = _ended(harness, harness.connect().training.submit(harness.failing_request("job-1")))
        assert (job.outcome, job.artifact) == ("failed", None)
        assert job.error

    def test_submitting_again_with_the_same_token_answers_the_job_that_is_there(self, harness: Harness) -> None:
        request = harness.training_request("job-1", ends=False)
        first = harness.connect().training.submit(request)
        again = harness.connect().training.submit(request)
        assert again.id == first.id
        assert [one.id for one in harness.connect().training.find(name="job-1", token=request.token)] == [first.id]
        harness.connect().training.cancel(first.id)

    def test_a_registry_that_starts_again_finds_its_job_by_name_and_by_token(self, harness: Harness) -> None:
        request = harness.training_request("job-1", ends=False)
        job = harness.connect().training.submit(request)
        training = harness.connect().training
        assert [one.id for one in training.find(name="job-1", token="another")] == [job.id]
        assert [one.id for one in training.find(name="another", token=request.token)] == [job.id]
        assert training.find(name="another", token="another") == []
        running = training.poll([job.id])[job.id]
        assert (running.outcome, running.finished_at) == ("running", None)
        training.cancel(job.id)

    def test_a_cancelled_job_ends_as_cancelled_and_cancelling_may_be_repeated(self, harness: Harness) -> None:
        training = harness.connect().training
        job = training.submit(harness.training_request("job-1", ends=False))
        training.cancel(job.id)
        training.cancel(job.id)
        assert _ended(harness, job).outcome == "cancelled"
        training.cancel(job.id)
        assert _ended(harness, job).outcome == "cancelled"

    def test_an_unfinished_job_of_the_registry_is_listed_until_it_has_ended(self, harness: Harness) -> None:
        training = harness.connect().training
        job = training.submit(harness.training_request("tenure-reg-bot-1-1", ends=False))
        (shown,) = training.unfinished()
        assert (shown.id, shown.name, shown.outcome) == (job.id, job.name, "running")
        training.cancel(job.id)
        _ended(harness, job)
        assert training.unfinished() == []

    def test_a_job_that_is_not_there_is_left_out_of_a_poll(self, harness: Harness) -> None:
        training = harness.connect().training
        job = training.submit(harness.training_request("job-1"))
        assert set(training.poll([job.id, "no-such-job"])) == {job.id}
        assert training.metrics("no-such-job", after_step=0) == []
        assert training.checkpoints("no-such-job") == []
        assert training.log_tail("no-such-job") == []
        training.cancel("no-such-job")
        _ended(harness, job)

    def test_an_artifact_is_listed_and_deleted_for_good(self, harness: Harness) -> None:
        artifacts = harness.connect().artifacts
        trained = _artifact(harness)
        found = artifacts.get(trained.id)
        assert found is not None
        assert (found.id, found.digest) == (trained.id, trained.digest)
        assert trained.id in [one.id for one in artifacts.list()]
        artifacts.delete(trained.id)
        artifacts.delete(trained.id)
        assert artifacts.get(trained.id) is None
        assert trained.id not in [one.id for one in artifacts.list()]

    def test_a_deployment_serves_answers_and_is_deleted_for_good(self, harness: Harness) -> None:
        provider = _deploying(harness)
        request = _deployment(harness, "dep-1")
        report = _settled(harness, provider.deployments.create(request))
        assert (report.outcome, report.name, report.ours) == ("serving", "dep-1", True)
        assert report.artifact_id == request.artifact.id
        answer = provider.chat.complete(_target(report, request.artifact), _QUESTION, timeout_s=WAIT_S_MAX)
        assert answer["choices"]
        provider.deployments.delete("dep-1")
        _until(harness, lambda: provider.deployments.get("dep-1") is None or None)
        assert provider.deployments.list() == []
        provider.deployments.delete("dep-1")

    def test_creating_again_with_the_same_token_makes_no_second_deployment(self, harness: Harness) -> None:
        _deploying(harness)
        request = _deployment(harness, "dep-1")
        first = harness.connect().deployments.create(request)
        again = harness.connect().deployments.create(request)
        assert again.id == first.id
        assert [one.name for one in harness.connect().deployments.list()] == ["dep-1"]
        harness.connect().deployments.delete("dep-1")

    def test_a_registry_that_starts_again_finds_its_deployment(self, harness: Harness) -> None:
        created = _deploying(harness).deployments.create(_deployment(harness, "dep-1"))
        found = _settled(harness, created)
        assert harness.connect().deployments.get(found.id) == found
        assert list(harness.connect().deployments.list()) == [found]
        harness.connect().deployments.delete(found.id)

    def test_a_deployment_that_is_gone_behind_our_back_is_absent(self, harness: Harness) -> None:
        provider = _deploying(harness)
        _settled(harness, provider.deployments.create(_deployment(harness, "dep-1")))
        harness.lose_deployment("dep-1")
        _until(harness, lambda: provider.deployments.get("dep-1") is None or None)
        assert provider.deployments.list() == []

    def test_what_is_served_cannot_be_deleted(self, harness: Harness) -> None:
        provider = _deploying(harness)
        request = _deployment(harness, "dep-1")
        _settled(harness, provider.deployments.create(request))
        with pytest.raises(RejectedError):
            provider.artifacts.delete(request.artifact.id)
        provider.deployments.delete("dep-1")

    def test_an_answer_comes_in_chunks_when_it_is_streamed(self, harness: Harness) -> None:
        provider = _deploying(harness)
        request = _deployment(harness, "dep-1")
        report = _settled(harness, provider.deployments.create(request))
        target = _target(report, request.artifact)
        chunks = list(provider.chat.stream(target, _QUESTION, timeout_s=WAIT_S_MAX))
        assert len(chunks) > 1
        assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
        provider.deployments.delete("dep-1")

    def test_openais_own_requests_can_be_sent_where_the_provider_says(self, harness: Harness) -> None:
        provider = _deploying(harness)
        request = _deployment(harness, "dep-1")
        report = _settled(harness, provider.deployments.create(request))
        upstream = provider.chat.upstream(_target(report, request.artifact))
        if upstream is not None:
            answer = httpx2.post(
                upstream.url,
                json={**_QUESTION, "model": upstream.model},
                headers=upstream.headers,
                timeout=WAIT_S_MAX,
                trust_env=False,
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"]
            assert not any(secret in repr(upstream) for secret in upstream.headers.values())
        provider.deployments.delete("dep-1")

    def test_a_chat_that_the_endpoint_refuses_carries_its_status_and_body(self, harness: Harness) -> None:
        provider = _deploying(harness)
        request = _deployment(harness, "dep-1")
        report = _settled(harness, provider.deployments.create(request))
        with pytest.raises(ChatError) as refused:
            provider.chat.complete(_target(report, request.artifact), {"messages": "no list"}, timeout_s=WAIT_S_MAX)
        assert refused.value.status >= 400
        assert refused.value.body
        provider.deployments.delete("dep-1")


_QUESTION = {"messages": [{"role": "user", "content": "Where is my order?"}], "max_tokens": 8}


def _never() -> NoReturn:
    raise AssertionError


def _until(harness: Harness, found: Callable[[], _T | None]) -> _T:
    deadline = time.monotonic() + WAIT_S_MAX
    while (value := found()) is None:
        assert time.monotonic() < deadline, "it did not come to that"
        harness.advance()
    return value


def _ended(harness: Harness, job: JobReport) -> JobReport:
    training = harness.connect().training

    def final() -> JobReport | None:
        report = training.poll([job.id])[job.id]
        return None if report.outcome == "running" else report

    return _until(harness, final)


def _artifact(harness: Harness) -> Artifact:
    job = _ended(harness, harness.connect().training.submit(harness.training_request("job-a")))
    assert job.artifact is not None
    return job.artifact


def _deploying(harness: Harness) -> Provider:
    provider = harness.connect()
    if provider.capabilities.serving == "none":
        pytest.skip("a tuned model serves as it is here")
    return provider


def _deployment(harness: Harness, name: str) -> DeploymentRequest:
    return DeploymentRequest(
        name=name, token=f"token-{name}", model="support-bot", version=1, artifact=_artifact(harness)
    )


def _settled(harness: Harness, report: DeploymentReport) -> DeploymentReport:
    deployments = harness.connect().deployments

    def settled() -> DeploymentReport | None:
        now = deployments.get(report.id)
        return None if now is None or now.outcome == "provisioning" else now

    return _until(harness, settled)


def _target(report: DeploymentReport, artifact: Artifact) -> ServingTarget:
    return ServingTarget(
        artifact=artifact, deployment_id=report.id, deployment_name=report.name, endpoint=report.endpoint
    )


__all__: Sequence[str] = ["Harness", "ProviderConformance"]
