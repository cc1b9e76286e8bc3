"""One account at a provider, in memory, with a truth of its own and faults on request.

A `Cloud` outlives the doors that are opened to it, as a real account outlives a registry that is killed. Every call
goes through `Cloud.call`, which counts it, so that any call can be made to fail before or after its effect.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeVar

from providers.ports import (
    Artifact,
    Capabilities,
    ChatRequest,
    Checkpoint,
    DeploymentOutcome,
    DeploymentRequest,
    JobOutcome,
    MetricPoint,
    ServingNeed,
    ServingTarget,
    TrainingRequest,
    Upstream,
)
from tests.clock import FakeClock

When = Literal["before", "after"]
_T = TypeVar("_T")


def unmarked(name: str) -> str:
    """A name without the mark at its end, by which a number that is given out twice is told apart."""
    return re.sub(r"-[a-z]{4}$", "", name)


class Crash(BaseException):
    """The registry was killed here."""


@dataclass(frozen=True, slots=True)
class Fault:
    error: BaseException
    when: When


@dataclass(slots=True, kw_only=True)
class Job:
    id: str
    name: str
    token: str
    request: TrainingRequest
    outcome: JobOutcome = "running"
    status: str = "running"
    error: str | None = None
    finished_at: datetime | None = None
    data_kept: bool = True
    ours: bool = True
    tokens: int = 1000
    polls_left: int = 1
    points: list[MetricPoint] = field(default_factory=list[MetricPoint])
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])


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
    last_used_at: datetime | None = None
    committed_until: datetime | None = None
    shown_artifact: str | None = None
    """What reads show it to serve, where that is not `artifact_id`."""


@dataclass(slots=True, kw_only=True)
class Bill:
    """What the provider bills in truth: from the create to the moment it is gone."""

    id: str
    name: str
    from_: datetime
    to: datetime | None = None
    committed_until: datetime | None = None


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
        self.crash_at: tuple[int, When] | None = None
        """Dies at the call of this number, counted from 1."""
        self.crash_every: tuple[int, When] | None = None
        self.results: deque[tuple[JobOutcome, Mapping[str, float] | str]] = deque()
        """How the next jobs end: succeeded with these final figures, or failed for this reason. Default: succeeded."""
        self.estimated: Decimal | None = Decimal("0.50")
        """What it says that a training will cost."""
        self.deploy_failures: deque[str] = deque()
        self.idempotent = True
        """Whether asking again with the same token answers what is there already."""
        self.answers = True
        """Whether deployments answer a chat."""
        self.reached: Callable[[ServingTarget], Upstream] | None = None
        """Where OpenAI's own requests are taken; None: nowhere, so that they have to be translated."""
        self.retirements: dict[str, date] = {}
        self.lists_wrong: deque[Exception | None] = deque()
        """What comes instead of the next lists of jobs that are not empty: an error, or None for an empty one."""
        self.duplicate_jobs = 0
        self.cancels_ignored = 0
        self.deletes_ignored = 0
        self.reappearing = 0
        """How many deletes are undone at the second read after them."""
        self._back: dict[str, tuple[int, Deployed]] = {}
        self._serial = 0

    # Faults

    def fail(self, operation: str, error: BaseException, *, when: When = "before", times: int = 1) -> None:
        """The next calls of an operation raise this, before or after their effect."""
        self.faults.setdefault(operation, deque()).extend(Fault(error, when) for _ in range(times))

    def call(self, operation: str, effect: Callable[[], _T]) -> _T:
        with self.lock:
            self.calls.append(operation)
            number = len(self.calls)
            queued = self.faults.get(operation)
            fault = queued.popleft() if queued else None
            self._crash(number, "before")
            if fault is not None and fault.when == "before":
                raise fault.error
            result = effect()
            self._crash(number, "after")
            if fault is not None:
                raise fault.error
            return result

    def struck(self, operation: str, answer: _T) -> _T:
        """A read that is not counted among the calls: it fails when it was told to."""
        queued = self.faults.get(operation)
        if queued:
            raise queued.popleft().error
        return answer

    def _crash(self, number: int, when: When) -> None:
        if self.crash_at == (number, when):
            raise Crash
        if self.crash_every is not None and self.crash_every[1] == when and number % self.crash_every[0] == 0:
            raise Crash

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
        self.bills.append(Bill(id=one.id, name=name, from_=one.created_at))
        return one

    def _remove(self, name: str) -> Deployed | None:
        one = self.named(name)
        if one is not None:
            del self.deployments[one.id]
            for bill in self.bills:
                if bill.id == one.id and bill.to is None:
                    bill.to = self.clock()
        return one

    def delete(self, name: str) -> None:
        if self.deletes_ignored:
            self.deletes_ignored -= 1
            return
        one = self._remove(name)
        if one is not None and self.reappearing:
            self.reappearing -= 1
            self._back[one.id] = (2, one)

    def reappear(self, name_or_id: str) -> None:
        reads, one = next((back for back in self._back.values() if name_or_id in {back[1].id, back[1].name}), (0, None))
        if one is None:
            return
        if reads > 1:
            self._back[one.id] = (reads - 1, one)
            return
        del self._back[one.id]
        self.deployments[one.id] = one
        self.bills.append(Bill(id=one.id, name=one.name, from_=self.clock(), committed_until=one.committed_until))

    def create(self, request: DeploymentRequest) -> Deployed:
        known = next((one for one in self.deployments.values() if one.token == request.token), None)
        if known is not None and self.idempotent:
            return known
        return self._deploy(request.name, token=request.token, artifact_id=request.artifact.id)

    def jobs_of(self, token: str) -> list[Job]:
        found = [one for one in self.jobs.values() if one.token == token]
        if found and self.lists_wrong:
            error = self.lists_wrong.popleft()
            if error is not None:
                raise error
            return []
        return found

    def submit(self, request: TrainingRequest) -> Job:
        known = next((one for one in self.jobs.values() if one.token == request.token), None)
        if known is not None and self.idempotent:
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
        job.finished_at = job.finished_at or self.clock()
        if isinstance(detail, str):
            job.error = detail
        else:
            name = f"ft:{unmarked(job.name)}"
            self.artifacts[name] = Artifact(id=name, digest="sha256:" + "0" * 64)
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
