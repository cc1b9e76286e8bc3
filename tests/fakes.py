"""Fake providers: doors to a `Cloud`, all of `providers.ports` in one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from providers.errors import ChatError, ProviderError, RejectedError
from providers.ports import (
    Artifact,
    Capabilities,
    ChatChunk,
    ChatRequest,
    Checkpoint,
    ConnectionCheck,
    DeploymentReport,
    DeploymentRequest,
    Estimate,
    JobReport,
    MetricPoint,
    ServingNeed,
    ServingTarget,
    TrainingRequest,
    Upstream,
)
from registry.domain.errors import BadInputError
from registry.domain.states import ConnectionState
from tests.clock import FakeClock, RealClock, SequentialIds
from tests.cloud import Cloud, Crash, Deployed, Job, When, unmarked

__all__ = [
    "Cloud",
    "Crash",
    "FakeClock",
    "FakeProvider",
    "FakeProviders",
    "RealClock",
    "SequentialIds",
    "When",
    "provider_error",
]


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

    def retires_on(self, base_model: str) -> date | None:
        return self.cloud.struck("retires-on", self.cloud.retirements.get(base_model))

    def close(self) -> None:
        self.closed = True


class FakeTraining:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def validate(self, request: TrainingRequest) -> None:
        if request.base_model != "base":
            raise RejectedError(f"no base model {request.base_model!r}; there is: base", operation="validate")

    def estimate(self, request: TrainingRequest) -> Estimate:
        cost = self._cloud.estimated
        return Estimate(tokens=request.train.rows * 10, steps=3, cost=cost, currency="USD" if cost else None)

    def submit(self, request: TrainingRequest) -> JobReport:
        return self._cloud.call("submit", lambda: self._report(self._cloud.submit(request)))

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        return self._cloud.call("find", lambda: [self._report(one) for one in self._cloud.jobs_of(token)])

    def unfinished(self, *, or_ended_since: datetime | None = None) -> Sequence[JobReport]:
        since = or_ended_since
        reports = [self._report(one) for one in self._cloud.jobs.values() if one.ours]
        shown = [
            one
            for one in reports
            if one.outcome == "running" or (since and one.finished_at is not None and one.finished_at >= since)
        ]
        return self._cloud.struck("unfinished", shown)

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        def look() -> dict[str, JobReport]:
            found = [self._cloud.jobs[one] for one in ids if one in self._cloud.jobs]
            for job in found:
                self._cloud.progress(job)
            return {job.id: self._report(job) for job in found}

        return self._cloud.call("poll", look)

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        points = [point for point in self._cloud.jobs[id].points if point.step > after_step]
        return self._cloud.struck("metrics", points)

    def checkpoints(self, id: str) -> Sequence[Checkpoint]:
        return self._cloud.jobs[id].checkpoints

    def pause(self, id: str) -> None:
        self._move(id, "pause", "paused")

    def resume(self, id: str) -> None:
        self._move(id, "resume", "running")

    def clean_up(self) -> Sequence[str]:
        """Data of a job whose status is final; it is deleted once."""

        def clean() -> list[str]:
            done = [one for one in self._cloud.jobs.values() if one.outcome != "running" and one.data_kept]
            for one in done:
                one.data_kept = False
            return [f"data of {one.id}" for one in done]

        return clean() if "clean_up" not in self._cloud.faults else self._cloud.call("clean_up", clean)

    def _move(self, id: str, what: str, status: str) -> None:
        def move() -> None:
            self._cloud.jobs[id].status = status

        self._cloud.call(what, move)

    def cancel(self, id: str) -> None:
        def stop() -> None:
            job = self._cloud.jobs.get(id)
            if self._cloud.cancels_ignored:
                self._cloud.cancels_ignored -= 1
                return
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
            artifact=self._cloud.artifacts.get(f"ft:{unmarked(job.name)}") if done else None,
            error=job.error,
            step=1,
            steps_total=3,
            finished_at=job.finished_at if done else None,
            trained_tokens=job.tokens if done else None,
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

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        def look() -> dict[str, datetime]:
            assert self._cloud.capabilities.use_lag is not None
            counted = self._cloud.clock() - self._cloud.capabilities.use_lag
            known = [one for one in self._cloud.deployments.values() if one.id in since]
            used = {one.id: one.last_used_at for one in known if one.last_used_at and one.last_used_at <= counted}
            return {one.id: max(since[one.id], used.get(one.id, since[one.id])) for one in known}

        return self._cloud.call("last-used", look)


def _shown(one: Deployed) -> DeploymentReport:
    return DeploymentReport(
        id=one.id,
        name=one.name,
        status=one.status,
        outcome=one.outcome,
        artifact_id=one.shown_artifact or one.artifact_id,
        endpoint=f"http://127.0.0.1/{one.name}",
        error=one.fails if one.outcome == "failed" else None,
        ours=one.ours,
        created_at=one.created_at if one.shown_created_at else None,
        committed_until=one.committed_until,
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

    def upstream(self, target: ServingTarget) -> Upstream | None:
        return self._cloud.reached(target) if self._cloud.reached is not None else None

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
