"""Every fault of the matrix against a cloud's adapter: part of the conformance suite, for providers that are rehearsed.

A version lives its whole life the way the reconciler leads it: look before doing again, wait where nothing happened,
believe in absence after several reads. Afterwards the rehearsal's truth says whether anything was done twice or left.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from providers.errors import ChatError, OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from providers.ports import Artifact, DeploymentReport, DeploymentRequest, JobReport, Provider, ServingTarget
from providers.rehearsal import faults
from tests.providers.cloud_harness import CloudHarness

TRIES_MAX = 40
ABSENT_READS = 3
PASS_S = 30.0
QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
JOB, DEPLOYMENT = "tenure-reg-bot-1-1", "tenure-reg-bot-1-2"
_T = TypeVar("_T")


def _quick(fault: faults.Fault) -> faults.Fault:
    return dataclasses.replace(fault, seconds=0.02) if fault.kind == "timeout" else fault


TRANSIENT = tuple(
    _quick(fault) for fault in faults.COMMON if fault.kind not in {"quota", "doomed", "vanishes", "delete-reappears"}
)
"""Faults after which everything must come to its end all the same."""
SEEDS = range(3)


def _named(fault: faults.Fault) -> str:
    when = "-after" if fault.after_effect else ""
    return f"{fault.kind}{when}-{fault.status or ''}{fault.retry_after if fault.status == 429 else ''}{fault.seconds:g}"


class GoneError(Exception):
    """Several reads did not show what had been made."""


class Life:
    """One version's life at one account."""

    def __init__(self, harness: CloudHarness) -> None:
        self._harness = harness
        self._provider = harness.connect()
        self.serves = self._provider.capabilities.serving == "deployment"

    def live(self) -> None:
        job = self.trained()
        assert (job.outcome, job.error) == ("succeeded", None)
        assert job.artifact is not None
        assert any(self.persist(lambda one: one.training.metrics(job.id, after_step=0)) for _ in self._passes())
        id_ = job.artifact.id
        assert any(self.persist(lambda one: one.artifacts.get(id_)) for _ in self._passes())
        self.serve(job.artifact)
        self.delete(lambda one: one.artifacts.delete(id_), lambda one: one.artifacts.get(id_))

    def trained(self) -> JobReport:
        request = self._harness.training_request(JOB)

        def submitted(one: Provider) -> JobReport:
            there = one.training.find(name=JOB, token=request.token)
            return there[0] if there else one.training.submit(request)

        job = self.persist(submitted)
        missed = 0
        for _ in self._passes():
            shown = self.persist(lambda one: one.training.poll([job.id])).get(job.id)
            missed = missed + 1 if shown is None else 0
            if missed == ABSENT_READS:
                raise GoneError
            if shown is not None and shown.outcome != "running":
                return shown
        raise AssertionError("the job does not end")

    def serve(self, artifact: Artifact) -> None:
        if not self.serves:
            self.persist(lambda one: one.chat.complete(_target(artifact, None), QUESTION, timeout_s=5))
            return
        report = self.deployed(artifact)
        assert (report.outcome, report.artifact_id) == ("serving", artifact.id)
        self.persist(lambda one: one.chat.complete(_target(artifact, report), QUESTION, timeout_s=5))
        self.undeploy()

    def deployed(self, artifact: Artifact) -> DeploymentReport:
        request = DeploymentRequest(name=DEPLOYMENT, token="token-2", model="bot", version=1, artifact=artifact)

        def created(one: Provider) -> DeploymentReport:
            return one.deployments.get(DEPLOYMENT) or one.deployments.create(request)

        self.persist(created)
        missed = 0
        for _ in self._passes():
            shown = self.persist(lambda one: one.deployments.get(DEPLOYMENT))
            missed = missed + 1 if shown is None else 0
            if missed == ABSENT_READS:
                raise GoneError
            if shown is not None and shown.outcome != "provisioning":
                return shown
        raise AssertionError("the deployment does not come up")

    def undeploy(self) -> None:
        self.delete(lambda one: one.deployments.delete(DEPLOYMENT), lambda one: one.deployments.get(DEPLOYMENT))

    def delete(self, ask: Callable[[Provider], None], look: Callable[[Provider], object]) -> None:
        """Asked for until several reads in a row show nothing."""
        self.persist(ask)
        missed = 0
        for _ in self._passes():
            missed = missed + 1 if self.persist(look) is None else 0
            if missed == ABSENT_READS:
                return
            if missed == 0:
                self.persist(ask)
        raise AssertionError("it does not go")

    def persist(self, do: Callable[[Provider], _T]) -> _T:
        for _ in self._passes():
            try:
                return do(self._provider)
            except (UnavailableError, OutcomeUnknownError, UnauthorizedError, ChatError):
                continue
        raise AssertionError("it never answers")

    def _passes(self) -> Iterator[None]:
        yield
        for _ in range(TRIES_MAX):
            self._harness.rehearsal.clock.advance(PASS_S)
            yield


class CloudFaults:
    """Subclassed beside a provider's conformance tests, with its `harness`."""

    @pytest.fixture
    def harness(self) -> CloudHarness:
        raise NotImplementedError

    @pytest.mark.parametrize("fault", [*TRANSIENT, faults.delete_reappears()], ids=_named)
    def test_a_life_in_which_the_first_call_of_every_kind_meets_a_fault(
        self, harness: CloudHarness, fault: faults.Fault
    ) -> None:
        for operation in _operations(harness):
            harness.rehearsal.faults.inject(operation, fault)
        Life(harness).live()
        assert harness.rehearsal.faults.struck, "the fault fits nothing here"
        _assert_nothing_twice_and_nothing_left(harness, jobs_max=2 if fault.kind == "duplicate" else 1)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_life_among_faults_that_a_seed_draws(self, harness: CloudHarness, seed: int) -> None:
        harness.rehearsal.faults.schedule(seed=seed, rate=0.15, among=TRANSIENT)
        Life(harness).live()
        harness.rehearsal.faults.clear()
        # A create whose answer was lost and a stale list after it can make a second job; it is never out of sight.
        _assert_nothing_twice_and_nothing_left(harness, jobs_max=3)

    def test_a_quota_ends_the_attempt_and_nothing_is_there(self, harness: CloudHarness) -> None:
        life = Life(harness)
        harness.rehearsal.faults.inject(harness.creates, faults.quota())
        with pytest.raises(RejectedError) as refused:
            life.trained()
        assert refused.value.code
        assert not _ours(harness, "job")
        artifact = life.trained().artifact
        assert artifact is not None
        if life.serves:
            harness.rehearsal.faults.inject("*.put_deployment", faults.quota())
            harness.rehearsal.faults.inject("*.create_provisioned_model_throughput", faults.quota())
            harness.rehearsal.faults.inject("*.create_custom_model_deployment", faults.quota())
            with pytest.raises(RejectedError, match=r"(?i)in use|used"):
                life.deployed(artifact)
            assert not harness.rehearsal.truth.billed()

    def test_what_is_accepted_and_fails_later_says_why_and_is_deleted(self, harness: CloudHarness) -> None:
        life = Life(harness)
        harness.rehearsal.faults.inject(harness.creates, faults.doomed("the data is poor"))
        failed = life.trained()
        assert (failed.outcome, failed.artifact) == ("failed", None)
        assert "the data is poor" in (failed.error or "")
        if life.serves:
            artifact = _another(harness)
            for operation in ("*.put_deployment", "*.create_provisioned*", "*.create_custom_model_deployment"):
                harness.rehearsal.faults.inject(operation, faults.doomed("no capacity"))
            assert life.deployed(artifact).outcome == "failed"
            life.undeploy()
            assert not harness.rehearsal.truth.billed()

    def test_what_vanishes_behind_our_back_is_seen_to_be_gone(self, harness: CloudHarness) -> None:
        life = Life(harness)
        harness.rehearsal.faults.inject(harness.creates, faults.vanishes())
        with pytest.raises(GoneError):
            life.trained()
        if life.serves:
            artifact = _another(harness)
            for operation in ("arm.put_deployment", "*.create_provisioned*", "*.create_custom_model_deployment"):
                harness.rehearsal.faults.inject(operation, faults.vanishes())
            with pytest.raises(GoneError):
                life.deployed(artifact)

    def test_a_list_that_fails_is_no_absence(self, harness: CloudHarness) -> None:
        provider = harness.connect()
        for call in (provider.artifacts.list, lambda: provider.training.find(name="a", token="b")):
            for fault in (faults.server_error(503), faults.reset_in_body(), faults.forbidden()):
                harness.rehearsal.faults.inject("*", fault)
                with pytest.raises((UnavailableError, UnauthorizedError)):
                    call()
                harness.rehearsal.faults.clear()


_OPERATIONS: dict[str, tuple[str, ...]] = {}


def _operations(harness: CloudHarness) -> tuple[str, ...]:
    """The calls that a life without a fault makes at this connection, from one that is lived on a stage beside."""
    key = f"{harness.connection.name}/{harness.connection.settings.get('serving')}"
    if key not in _OPERATIONS:
        with harness.beside() as other:
            Life(other).live()
            _OPERATIONS[key] = tuple(other.rehearsal.truth.calls)
    return _OPERATIONS[key]


def _another(harness: CloudHarness) -> Artifact:
    """A tuned model, made with nothing going wrong."""
    training = harness.connect().training
    job = training.submit(harness.training_request("tenure-reg-bot-9-1"))
    harness.rehearsal.clock.advance(60)
    artifact = training.poll([job.id])[job.id].artifact
    assert artifact is not None
    return artifact


def _ours(harness: CloudHarness, noun: str) -> list[str]:
    return [thing.id for thing in harness.rehearsal.truth.ever() if thing.kind.endswith(f".{noun}")]


def _assert_nothing_twice_and_nothing_left(harness: CloudHarness, *, jobs_max: int) -> None:
    truth, now = harness.rehearsal.truth, harness.rehearsal.clock.now()
    request = harness.training_request(JOB)
    jobs = _ours(harness, "job")
    seen = {one.id for one in harness.connect().training.find(name=JOB, token=request.token)}
    assert len(jobs) <= jobs_max, jobs
    assert set(jobs) == seen, "a job of ours is out of sight"
    assert not truth.billed()
    made = [thing for thing in truth.ever() if thing.kind.endswith((".deployment", ".provisioned"))]
    spans = sorted((one.start, one.end or now) for thing in made for one in thing.billed_intervals())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), "billed twice at once"


def _target(artifact: Artifact, report: DeploymentReport | None) -> ServingTarget:
    if report is None:
        return ServingTarget(artifact=artifact, deployment_id=None, deployment_name=None, endpoint=None)
    return ServingTarget(
        artifact=artifact, deployment_id=report.id, deployment_name=report.name, endpoint=report.endpoint
    )
