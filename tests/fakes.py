"""A provider that lives in memory, with a truth of its own and faults on request; a clock and ids that are set by hand.

A `Cloud` is one account: it outlives the doors that are opened to it, as a real account outlives a registry that is
killed. Every call goes through `Cloud.call`, which counts it, so that any call can be made to fail before or after its
effect.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from providers.errors import ChatError, ProviderError, RejectedError
from providers.ports import (
    Artifact,
    Capabilities,
    ChatChunk,
    ChatRequest,
    Checkpoint,
    ConnectionCheck,
    DeploymentOutcome,
    DeploymentReport,
    DeploymentRequest,
    Estimate,
    JobOutcome,
    JobReport,
    MetricPoint,
    ServingNeed,
    ServingTarget,
    TrainingRequest,
)
from registry.domain.errors import BadInputError
from registry.domain.states import ConnectionState

EPOCH = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
_T = TypeVar("_T")


class FakeClock:
    """Stands still but for `tick`, which every question moves it on by, so that no two times are the same."""

    def __init__(self, start: datetime = EPOCH, *, tick: timedelta = timedelta(milliseconds=1)) -> None:
        self.time = start
        self._tick = tick
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self.time += self._tick
            return self.time

    def advance(self, **span: float) -> datetime:
        with self._lock:
            self.time += timedelta(**span)
            return self.time


class SequentialIds:
    """1, 2, 3 … as 32 hex digits."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self._last += 1
            return f"{self._last:032x}"


class Crash(BaseException):
    """The registry was killed here."""


@dataclass(frozen=True, slots=True)
class Fault:
    error: BaseException
    when: Literal["before", "after"]


@dataclass(slots=True, kw_only=True)
class Job:
    id: str
    name: str
    token: str
    request: TrainingRequest
    outcome: JobOutcome = "running"
    status: str = "running"
    error: str | None = None
    polls_left: int = 1
    points: list[MetricPoint] = field(default_factory=list[MetricPoint])


@dataclass(slots=True, kw_only=True)
class Deployed:
    id: str
    name: str
    token: str
    artifact_id: str
    outcome: DeploymentOutcome
    status: str
    created_at: datetime
    ours: bool = True
    polls_left: int = 1
    fails: str | None = None
    shown_created_at: bool = True


@dataclass(slots=True, kw_only=True)
class Bill:
    """What the provider bills in truth: from the create to the moment it is gone."""

    name: str
    from_: datetime
    to: datetime | None = None


class Cloud:
    """One account at a provider, and what it is told to do wrong."""

    def __init__(self, clock: FakeClock, *, serving: ServingNeed = "deployment") -> None:
        self.clock = clock
        self.capabilities = Capabilities(fine_tuning=True, serving=serving, poll_interval_s=None)
        self.jobs: dict[str, Job] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.deployments: dict[str, Deployed] = {}
        self.bills: list[Bill] = []
        self.calls: list[str] = []
        self.chats: list[tuple[ServingTarget, ChatRequest]] = []
        self.lock = threading.RLock()
        self.faults: dict[str, deque[Fault]] = {}
        self.crash_at: tuple[int, Literal["before", "after"]] | None = None
        self.results: deque[tuple[JobOutcome, Mapping[str, float] | str]] = deque()
        """How the next jobs end: succeeded with these final figures, or failed for this reason. Default: succeeded."""
        self.deploy_failures: deque[str] = deque()
        self.answers = True
        """Whether deployments answer a chat."""
        self.duplicate_jobs = 0
        self.deletes_ignored = 0
        self.reappearing = 0
        """How many deletes are undone at the second read after them."""
        self._back: dict[str, tuple[int, Deployed]] = {}
        self._serial = 0

    # Faults

    def fail(
        self, operation: str, error: BaseException, *, when: Literal["before", "after"] = "before", times: int = 1
    ) -> None:
        """The next calls of an operation raise this, before or after their effect."""
        self.faults.setdefault(operation, deque()).extend(Fault(error, when) for _ in range(times))

    def call(self, operation: str, effect: Callable[[], _T]) -> _T:
        with self.lock:
            self.calls.append(operation)
            number = len(self.calls)
            queued = self.faults.get(operation)
            fault = queued.popleft() if queued else None
            if self.crash_at == (number, "before"):
                raise Crash
            if fault is not None and fault.when == "before":
                raise fault.error
            result = effect()
            if self.crash_at == (number, "after"):
                raise Crash
            if fault is not None:
                raise fault.error
            return result

    def count(self, operation: str) -> int:
        return self.calls.count(operation)

    # What happens at the provider by itself, or by other hands

    def next_id(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}-{self._serial}"

    def lose(self, name: str) -> None:
        """Somebody deletes a deployment in the provider's own console."""
        self._remove(name)

    def break_down(self, name: str, status: str = "Failed") -> None:
        """A deployment stops serving, and is still there, and still billed."""
        one = self.named(name)
        assert one is not None
        one.outcome, one.status = "failed", status

    def stranger(self, name: str, artifact_id: str) -> Deployed:
        """A deployment that somebody else made."""
        one = self._deploy(name, token="", artifact_id=artifact_id)
        one.ours, one.outcome, one.status = False, "serving", "Succeeded"
        return one

    def named(self, name_or_id: str) -> Deployed | None:
        return next((one for one in self.deployments.values() if name_or_id in {one.id, one.name}), None)

    def _deploy(self, name: str, *, token: str, artifact_id: str) -> Deployed:
        one = Deployed(
            id=self.next_id("srv"),
            name=name,
            token=token,
            artifact_id=artifact_id,
            outcome="provisioning",
            status="Creating",
            created_at=self.clock(),
            fails=self.deploy_failures.popleft() if self.deploy_failures else None,
        )
        self.deployments[one.id] = one
        self.bills.append(Bill(name=name, from_=one.created_at))
        return one

    def _remove(self, name: str) -> Deployed | None:
        one = self.named(name)
        if one is not None:
            del self.deployments[one.id]
            for bill in self.bills:
                if bill.name == one.name and bill.to is None:
                    bill.to = self.clock()
        return one

    def delete(self, name: str) -> None:
        if self.deletes_ignored:
            self.deletes_ignored -= 1
            return
        one = self._remove(name)
        if one is not None and self.reappearing:
            self.reappearing -= 1
            self._back[one.name] = (2, one)

    def reappear(self, name: str) -> None:
        reads, one = self._back.get(name, (0, None))
        if one is None:
            return
        if reads > 1:
            self._back[name] = (reads - 1, one)
            return
        del self._back[name]
        self.deployments[one.id] = one
        self.bills.append(Bill(name=name, from_=self.clock()))

    def create(self, request: DeploymentRequest) -> Deployed:
        known = next((one for one in self.deployments.values() if one.token == request.token), None)
        return known or self._deploy(request.name, token=request.token, artifact_id=request.artifact.id)

    def submit(self, request: TrainingRequest) -> Job:
        known = next((one for one in self.jobs.values() if one.token == request.token), None)
        if known is not None:
            return known
        made = [self._job(request)]
        if self.duplicate_jobs:
            self.duplicate_jobs -= 1
            made.append(self._job(request))
        return made[0]

    def _job(self, request: TrainingRequest) -> Job:
        job = Job(id=self.next_id("job"), name=request.name, token=request.token, request=request)
        job.points = [MetricPoint(step=step, metrics={"train_loss": 3.0 - step}, epoch=step / 2) for step in (1, 2)]
        self.jobs[job.id] = job
        return job

    def progress(self, job: Job) -> None:
        """A look at a job moves it on: running for `polls_left` looks, then as `results` says."""
        if job.outcome != "running" or job.polls_left < 0:
            return
        if job.polls_left:
            job.polls_left -= 1
            return
        outcome, detail = self.results.popleft() if self.results else ("succeeded", {"valid_loss": 1.0})
        job.outcome, job.status = outcome, outcome
        if isinstance(detail, str):
            job.error = detail
        else:
            self.artifacts[f"ft:{job.name}"] = Artifact(id=f"ft:{job.name}", digest="sha256:" + "0" * 64)
            job.points.append(MetricPoint(step=3, metrics=dict(detail)))

    def advance_deployment(self, one: Deployed) -> None:
        if one.outcome != "provisioning" or one.polls_left < 0:
            return
        if one.polls_left:
            one.polls_left -= 1
        elif one.fails is not None:
            one.outcome, one.status = "failed", "Failed"
        else:
            one.outcome, one.status = "serving", "Succeeded"


class FakeProvider:
    """A door to a `Cloud`: all of `providers.ports` in one object."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.training = FakeTraining(cloud)
        self.artifacts = FakeArtifacts(cloud)
        self.deployments = FakeDeployments(cloud)
        self.chat = FakeChat(cloud)
        self.closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self.cloud.capabilities

    def check(self) -> Sequence[ConnectionCheck]:
        return [ConnectionCheck(name="credential", passed=True, detail="accepted")]

    def base_models(self) -> Sequence[str]:
        return ["base"]

    def close(self) -> None:
        self.closed = True


class FakeTraining:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def validate(self, request: TrainingRequest) -> None:
        if request.base_model != "base":
            raise RejectedError(f"no base model {request.base_model!r}; there is: base", operation="validate")

    def estimate(self, request: TrainingRequest) -> Estimate:
        return Estimate(tokens=request.train.rows * 10, steps=3, cost=Decimal("0.50"), currency="USD")

    def submit(self, request: TrainingRequest) -> JobReport:
        return self._cloud.call("submit", lambda: self._report(self._cloud.submit(request)))

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        return self._cloud.call(
            "find", lambda: [self._report(one) for one in self._cloud.jobs.values() if one.token == token]
        )

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        def look() -> dict[str, JobReport]:
            found = [self._cloud.jobs[one] for one in ids if one in self._cloud.jobs]
            for job in found:
                self._cloud.progress(job)
            return {job.id: self._report(job) for job in found}

        return self._cloud.call("poll", look)

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        return [point for point in self._cloud.jobs[id].points if point.step > after_step]

    def checkpoints(self, id: str) -> Sequence[Checkpoint]:
        return []

    def cancel(self, id: str) -> None:
        def stop() -> None:
            job = self._cloud.jobs.get(id)
            if job is not None and job.outcome == "running":
                job.outcome, job.status = "cancelled", "cancelled"

        self._cloud.call("cancel", stop)

    def log_tail(self, id: str, *, lines: int = 40) -> Sequence[str]:
        return []

    def _report(self, job: Job) -> JobReport:
        done = job.outcome == "succeeded"
        return JobReport(
            id=job.id,
            name=job.name,
            status=job.status,
            outcome=job.outcome,
            artifact=self._cloud.artifacts.get(f"ft:{job.name}") if done else None,
            error=job.error,
            step=1,
            steps_total=3,
            trained_tokens=1000 if done else None,
            duration_s=60.0 if done else None,
        )


class FakeArtifacts:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def get(self, id: str) -> Artifact | None:
        folder = Path(id)
        if folder.is_absolute() and folder.is_dir():
            return _folder(folder)
        return self._cloud.call("get-artifact", lambda: self._cloud.artifacts.get(id))

    def list(self) -> Sequence[Artifact]:
        return self._cloud.call("list-artifacts", lambda: [*self._cloud.artifacts.values()])

    def delete(self, id: str) -> None:
        def remove() -> None:
            if any(one.artifact_id == id for one in self._cloud.deployments.values()):
                raise RejectedError("something serves it", operation="delete-artifact")
            self._cloud.artifacts.pop(id, None)

        self._cloud.call("delete-artifact", remove)


def _folder(folder: Path) -> Artifact | None:
    if (folder / "model.pkl").exists():
        raise RejectedError(f"{folder} holds a pickle", operation="get-artifact")
    return Artifact(id=str(folder), kind="folder") if (folder / "model.safetensors").exists() else None


class FakeDeployments:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, request: DeploymentRequest) -> DeploymentReport:
        return self._cloud.call("create", lambda: _shown(self._cloud.create(request)))

    def list(self) -> Sequence[DeploymentReport]:
        return self._cloud.call("list", lambda: [_shown(one) for one in self._cloud.deployments.values()])

    def get(self, name_or_id: str) -> DeploymentReport | None:
        def look() -> DeploymentReport | None:
            self._cloud.reappear(name_or_id)
            one = self._cloud.named(name_or_id)
            if one is None:
                return None
            self._cloud.advance_deployment(one)
            return _shown(one)

        return self._cloud.call("get", look)

    def delete(self, name_or_id: str) -> None:
        self._cloud.call("delete", lambda: self._cloud.delete(name_or_id))


def _shown(one: Deployed) -> DeploymentReport:
    return DeploymentReport(
        id=one.id,
        name=one.name,
        status=one.status,
        outcome=one.outcome,
        artifact_id=one.artifact_id,
        endpoint=f"http://127.0.0.1/{one.name}",
        error=one.fails if one.outcome == "failed" else None,
        ours=one.ours,
        created_at=one.created_at if one.shown_created_at else None,
    )


class FakeChat:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        def answer() -> ChatChunk:
            self._cloud.chats.append((target, request))
            self._check(target)
            return {"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}

        return self._cloud.call("chat", answer)

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        def answer() -> list[dict[str, Any]]:
            self._cloud.chats.append((target, request))
            self._check(target)
            deltas: list[dict[str, Any]] = [{"role": "assistant"}, {"content": "Hel"}, {"content": "lo"}]
            return [{"choices": [{"delta": delta}]} for delta in deltas] + [{"choices": []}]

        yield from self._cloud.call("stream", answer)

    def _check(self, target: ServingTarget) -> None:
        if not self._cloud.answers:
            raise ChatError("loading", status=503)
        if self._cloud.capabilities.serving == "none":
            there = target.artifact.id in self._cloud.artifacts
        else:
            one = self._cloud.named(target.deployment_name or "")
            there = one is not None and one.outcome == "serving" and one.artifact_id == target.artifact.id
        if not there:
            raise ChatError("no such deployment", status=404)


class FakeProviders:
    """`Providers`: one `Cloud` per connection name, which outlives every door."""

    SERVING: Mapping[str, ServingNeed] = {"openai": "none", "azure-openai": "deployment", "huggingface": "deployment"}

    def __init__(self, clock: FakeClock) -> None:
        self.clouds: dict[str, Cloud] = {}
        self._clock = clock

    def of(self, connection: ConnectionState) -> FakeProvider:
        serving = self.SERVING.get(connection.provider)
        if serving is None:
            raise BadInputError(f"{connection.provider!r} is not a provider", field="provider")
        if "api_key" in connection.settings:
            raise BadInputError("api_key is a secret: name the variable that holds it, api_key_env", field="api_key")
        cloud = self.clouds.get(connection.name)
        if cloud is None:
            cloud = self.clouds[connection.name] = Cloud(self._clock, serving=serving)
        return FakeProvider(cloud)

    def close(self) -> None:
        """Doors hold nothing."""


def provider_error(kind: type[ProviderError], operation: str = "call") -> ProviderError:
    return kind(f"the provider says {kind.__name__}", operation=operation)
