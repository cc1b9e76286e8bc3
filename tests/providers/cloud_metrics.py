"""When a deployment was last called, by a cloud's own metrics: the conformance suite of those that count calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from providers.errors import RejectedError, UnauthorizedError, UnavailableError
from providers.ports import Artifact, DeploymentReport, DeploymentRequest, Provider, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness

QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
METRICS = ("arm.list_metrics", "cloudwatch.get_metric_data")


class CloudMetrics:
    @pytest.fixture
    def harness(self) -> CloudHarness:
        raise NotImplementedError

    def test_nobody_has_called_since_it_was_made(self, harness: CloudHarness) -> None:
        provider, (one,) = _serving(harness, 1)
        since = harness.rehearsal.clock.now() - timedelta(minutes=1)
        _pass(harness, days=6, minutes=17)
        assert provider.deployments.last_used({one.id: since}) == {one.id: since}

    def test_a_call_past_the_registry_is_told_to_the_end_of_its_hour(self, harness: CloudHarness) -> None:
        provider, (one, other) = _serving(harness, 2)
        since = harness.rehearsal.clock.now()
        _pass(harness, hours=30)
        called_at = harness.rehearsal.clock.now()
        _call(provider, one)
        _pass(harness, minutes=16)
        told = provider.deployments.last_used({one.id: since, other.id: since})
        hour = called_at.replace(minute=0, second=0, microsecond=0)
        assert told == {one.id: hour + timedelta(hours=1), other.id: since}

    def test_every_call_is_counted_before_the_lag_is_over(self, harness: CloudHarness) -> None:
        provider, (one,) = _serving(harness, 1)
        lag = provider.capabilities.use_lag
        assert lag is not None
        _pass(harness, hours=2)
        since = harness.rehearsal.clock.now()
        _call(provider, one)
        assert provider.deployments.last_used({one.id: since}) == {one.id: since}, "not counted yet"
        _pass(harness, seconds=lag.total_seconds())
        assert provider.deployments.last_used({one.id: since})[one.id] > since

    def test_calls_before_the_time_asked_about_do_not_count(self, harness: CloudHarness) -> None:
        provider, (one,) = _serving(harness, 1)
        _call(provider, one)
        _pass(harness, days=2)
        since = harness.rehearsal.clock.now()
        _pass(harness, days=1)
        assert provider.deployments.last_used({one.id: since}) == {one.id: since}

    def test_all_are_asked_about_with_one_call(self, harness: CloudHarness) -> None:
        provider, made = _serving(harness, 2)
        since = harness.rehearsal.clock.now()
        assert len(provider.deployments.last_used({one.id: since for one in made})) == 2
        assert sum(harness.rehearsal.truth.calls[name] for name in METRICS) == 1

    def test_before_what_the_metrics_keep_it_may_have_been_called(self, harness: CloudHarness) -> None:
        provider, (one,) = _serving(harness, 1)
        now = harness.rehearsal.clock.now()
        told = provider.deployments.last_used({one.id: now - timedelta(days=500)})
        assert now - timedelta(days=456) < told[one.id] < now - timedelta(days=90)

    @pytest.mark.parametrize("fault", [faults.unauthorized(), faults.forbidden()])
    def test_a_permission_that_is_missing_is_told_as_such(self, harness: CloudHarness, fault: faults.Fault) -> None:
        error = _refused(harness, fault)
        assert isinstance(error, UnauthorizedError)

    def test_the_connections_test_says_whether_they_can_be_read_and_passes_without(self, harness: CloudHarness) -> None:
        provider = harness.connect()
        detail = {one.name: one.detail for one in provider.check()}
        assert detail["metrics"] == "idle_delete sees calls past Tenure, too"
        for name in METRICS:
            harness.rehearsal.faults.inject(name, faults.forbidden())
        (check,) = (one for one in provider.check() if one.name == "metrics")
        assert check.passed
        assert check.detail.startswith("optional, and not read")

    @pytest.mark.parametrize(
        "fault",
        [faults.throttled(), faults.server_error(503), faults.reset(after_effect=False), faults.reset_in_body()],
    )
    def test_an_answer_that_does_not_come_says_nothing(self, harness: CloudHarness, fault: faults.Fault) -> None:
        error = _refused(harness, fault)
        assert isinstance(error, UnavailableError)


def _refused(harness: CloudHarness, fault: faults.Fault) -> Exception:
    provider, (one,) = _serving(harness, 1)
    for name in METRICS:
        harness.rehearsal.faults.inject(name, fault)
    with pytest.raises((UnavailableError, RejectedError)) as caught:
        provider.deployments.last_used({one.id: harness.rehearsal.clock.now()})
    return caught.value


def _serving(harness: CloudHarness, count: int) -> tuple[Provider, Sequence[DeploymentReport]]:
    provider = harness.connect()
    artifact = _tuned(harness, provider)
    made: list[DeploymentReport] = []
    for n in range(count):
        request = DeploymentRequest(name=f"dep-{n}", token=f"token-{n}", model="bot", version=1, artifact=artifact)
        made.append(provider.deployments.create(request))
        _pass(harness, seconds=60)
    return provider, made


def _tuned(harness: CloudHarness, provider: Provider) -> Artifact:
    job = provider.training.submit(harness.training_request("job-1"))
    _pass(harness, seconds=60)
    artifact = provider.training.poll([job.id])[job.id].artifact
    assert artifact is not None
    return artifact


def _call(provider: Provider, one: DeploymentReport) -> None:
    target = ServingTarget(
        artifact=Artifact(id=one.artifact_id or ""), deployment_id=one.id, deployment_name=one.name, endpoint=None
    )
    provider.chat.complete(target, QUESTION, timeout_s=5.0)


def _pass(harness: CloudHarness, **span: float) -> None:
    harness.rehearsal.clock.advance(timedelta(**span).total_seconds())
