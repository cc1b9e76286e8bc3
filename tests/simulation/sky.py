"""Accounts whose calls fail as a seed says: before their effect, after it, staled, killed in the midst."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from random import Random  # noqa: TID251 -- seeded: a seed always plays the same
from typing import Any, TypeVar, cast

from providers.errors import ChatError, OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from providers.ports import DeploymentReport, DeploymentRequest, JobOutcome, JobReport, ServingNeed, TrainingRequest
from providers.waits import retry_after_s
from registry.domain.states import ConnectionState
from tests.clock import FakeClock
from tests.cloud import Cloud, Crash, Deployed, Job
from tests.fakes import FakeProvider, FakeProviders

_T = TypeVar("_T")

CREATES = frozenset({"submit", "create"})
CHANGES = CREATES | {"delete", "delete-artifact", "cancel"}
CHATS = frozenset({"chat", "stream"})
LISTS = frozenset({"list", "find"})
CUT = LISTS | {"list-artifacts", "poll"}
"""Answers about many things, which may come without the last of them and without an error."""
REPORTS = frozenset({"poll", "get"})
"""Answers that may overtake one another."""
LAGGING = 0.25
"""How often a list is stale while there is a storm: they lag behind by nature."""
STALE_MAX = timedelta(seconds=20)
"""A list may be this old, and a read of one thing half of it: less than the reads that make an absence take."""

HOUR = timedelta(hours=1)
TICK = timedelta(milliseconds=1)
"""What each question takes, so that no two times are the same."""
BEFORE = (
    *("throttled for 5 s", "throttled for 90 s", "throttled until a date", "throttled", "unavailable"),
    *("server error before", "timed out before", "unauthorized", "killed before"),
)
AFTER = ("server error after", "timed out after", "reset in mid-body", "killed after")
NATURE = ("lost", "broken", "moved", "stranger", "job fails", "deploy fails", "paused job", "odd status")
LISTS_MIN = 2
"""Without a job, until it may be sent again."""
SLOW_S = (10.0, 90.0)
"""How long an answer may be under way, on its way there and back again."""


class WrongClock(FakeClock):
    """The registry's own, which jumps by an hour now and then; accounts and their bills go by the truth."""

    def __init__(self, truth: FakeClock) -> None:
        super().__init__()
        self._truth = truth
        self.off = timedelta()
        self.off_max = timedelta()

    def __call__(self) -> datetime:
        self._truth.time += TICK
        return self._truth.time + self.off

    def jump(self, random: Random) -> None:
        self.off = random.choice([-HOUR, timedelta(), HOUR])
        self.off_max = max(self.off_max, abs(self.off))


@dataclass(slots=True)
class Sky:
    """Where faults come from. `rate`: how likely one is at each call; 0 once the storm is over."""

    random: Random
    clock: FakeClock
    tell: Callable[[str], None]
    rate: float = 0.0
    kills: int = 0
    intended: Callable[[str, str], None] = lambda _, __: None
    """Told of every create, with operation and name, before it has its effect."""
    again: Callable[[StormyCloud, str], None] = lambda _, __: None
    """Told of a submit of what has a job already, before it has its effect."""
    deleted: Callable[[StormyCloud, Deployed], None] = lambda _, __: None
    """Told of every delete that takes effect, before it does."""

    def draw(self, operation: str) -> str | None:
        if self.rate and operation in LISTS and self.random.random() < LAGGING:
            return "stale"
        if self.random.random() >= self.rate:
            return None
        kinds: list[str] = [*BEFORE, "slow"]
        if operation in CHANGES:
            kinds += AFTER
        elif operation not in CHATS:
            kinds += ["reset in mid-body"]
            kinds += ["stale"] * 3 if operation != "poll" else []
        if operation in CUT:
            kinds += ["cut short"] * 2
        if operation in REPORTS:
            kinds += ["out of order"] * 2
        if operation in CREATES:
            kinds += ["quota", "killed after", "killed after", "made twice", "made twice"]
        if operation in {"delete", "cancel"}:
            kinds += ["does nothing"]
        if operation == "delete":
            kinds += ["comes back"]
        return self.random.choice(kinds)

    def die(self) -> None:
        self.kills += 1
        raise Crash


@dataclass(slots=True)
class Snapshot:
    at: datetime
    jobs: dict[str, Job]
    deployments: dict[str, Deployed]


class StormyCloud(Cloud):
    """A `Cloud` under a `Sky`. Everything it is asked, and what went wrong, is told to the story."""

    def __init__(self, name: str, sky: Sky, *, serving: ServingNeed) -> None:
        super().__init__(sky.clock, serving=serving)
        self.name = name
        self.sky = sky
        self.idempotent = serving != "none"
        self.twice = False
        """The next create is delivered twice."""
        self._past: deque[Snapshot] = deque(maxlen=12)
        self._in_the_past = False
        self._cut: set[str] = set()
        """Operations whose last answer was cut short: it does not happen twice in a row."""
        self.shown: set[str] = set()
        """Jobs that a list showed to the process that runs now: it has no excuse for not knowing them."""
        self.twins: set[str] = set()
        """Jobs that were made of one request."""
        self.unshown: dict[str, int] = {}
        """By token: how many lists in a row did not show a job that had been made."""
        self._asked = ""
        self._told: dict[str, list[Any]] = {}
        """The last two reports that differ, of each job and deployment."""

    def call(self, operation: str, effect: Callable[[], _T]) -> _T:
        self.calls.append(operation)
        fault = self.sky.draw(operation)
        if fault or operation in CHANGES:
            self.sky.tell(f"    call   {self.name}: {operation}" + (f"  !! {fault}" if fault else ""))
        if self.sky.rate:
            self._remember()
        if fault in BEFORE:
            self._refuse(operation, fault)
        if fault == "quota":
            raise RejectedError("quota exceeded: 0 of 5 left", operation=operation)
        if fault == "stale":
            return self._seen(operation, self._stale(operation, effect))
        self.deletes_ignored += fault == "does nothing" and operation == "delete"
        self.cancels_ignored += fault == "does nothing" and operation == "cancel"
        self.reappearing += fault == "comes back"
        self.duplicate_jobs = int(fault == "made twice")
        self.twice = fault == "made twice"
        if fault == "slow":
            self.clock.advance(seconds=self.sky.random.choice(SLOW_S))
        if operation == "list":
            for one in self.deployments.values():
                self.advance_deployment(one)
        result = effect()
        if fault == "slow":
            self.clock.advance(seconds=self.sky.random.choice(SLOW_S))
        if fault == "killed after":
            self.sky.die()
        if fault in AFTER:
            self._lose(operation, str(fault))
        return self._seen(operation, self._distorted(operation, fault, result))

    def _seen(self, operation: str, answer: _T) -> _T:
        """What a list of jobs showed to whoever asked, and what it hid from them."""
        if operation == "find":
            shown = [one.id for one in cast("list[JobReport]", answer)]
            self.shown.update(shown)
            hidden = super().jobs_of(self._asked) and not shown
            self.unshown[self._asked] = self.unshown.get(self._asked, 0) + 1 if hidden else 0
        return answer

    def _lose(self, operation: str, fault: str) -> None:
        """It has had its effect, and the answer does not arrive."""
        if operation in CHANGES:
            raise OutcomeUnknownError(fault, operation=operation)
        raise UnavailableError(fault, operation=operation)

    def _distorted(self, operation: str, fault: str | None, result: Any) -> Any:
        """An answer that says less than there is, or what was so before."""
        cut = fault == "cut short" and operation not in self._cut
        (self._cut.add if cut else self._cut.discard)(operation)
        answer = result
        if operation == "poll":
            reports = cast("dict[str, JobReport]", answer)
            answer = {id_: self._overtaken(one, late=fault == "out of order") for id_, one in reports.items()}
            if cut and answer:
                answer.popitem()
        elif operation in CUT and cut:
            answer = answer[:-1]
        elif isinstance(answer, DeploymentReport) and operation in REPORTS:
            answer = self._overtaken(answer, late=fault == "out of order")
        return answer

    def _overtaken(self, report: Any, *, late: bool) -> Any:
        """The report, or the one before it, where this one was faster."""
        told = self._told.setdefault(report.id, [report])
        if told[-1].status != report.status:
            told[:] = [told[-1], report]
        return told[0] if late else report

    def _refuse(self, operation: str, fault: str) -> None:
        match fault:
            case "killed before":
                self.sky.die()
            case "unauthorized":
                raise UnauthorizedError("the token has expired", operation=operation)
            case _ if fault.startswith("throttled"):
                wait_s = self._retry_after_s(fault)
                raise UnavailableError("too many requests", operation=operation, retry_after_s=wait_s)
            case "timed out before" | "server error before" if operation in CHANGES:
                raise OutcomeUnknownError(fault, operation=operation)
            case _ if operation in CHATS:
                raise ChatError("not now", status=503)
            case _:
                raise UnavailableError("service unavailable", operation=operation)

    def _retry_after_s(self, fault: str) -> float | None:
        now = self.clock.time
        word = {
            "throttled for 5 s": "5",
            "throttled for 90 s": "90",
            "throttled until a date": format_datetime(now + timedelta(seconds=30), usegmt=True),
        }.get(fault)
        headers = {"Date": format_datetime(now, usegmt=True)} | ({} if word is None else {"Retry-After": word})
        return retry_after_s(headers, now=now)

    def _remember(self) -> None:
        """For stale answers, of which there are none when the storm is over."""
        now = self.clock.time
        if not self._past or now - self._past[-1].at > timedelta(seconds=2):
            self._past.append(Snapshot(now, self.jobs.copy(), self.deployments.copy()))

    def _stale(self, operation: str, effect: Callable[[], _T]) -> _T:
        """The answer as of a while ago: what has been made since is missing, what has gone is there."""
        oldest = self.clock.time - (STALE_MAX if operation in LISTS else STALE_MAX / 2)
        past = next((one for one in self._past if one.at >= oldest), None)
        if past is None:
            return effect()
        jobs, deployments = self.jobs, self.deployments
        self.jobs, self.deployments, self._in_the_past = past.jobs, past.deployments, True
        try:
            return effect()
        finally:
            self.jobs, self.deployments, self._in_the_past = jobs, deployments, False

    def reappear(self, name_or_id: str) -> None:
        if not self._in_the_past:
            super().reappear(name_or_id)

    def jobs_of(self, token: str) -> list[Job]:
        self._asked = token
        return super().jobs_of(token)

    # What changes the truth

    def submit(self, request: TrainingRequest) -> Job:
        self.sky.intended("submit", request.token)
        if super().jobs_of(request.token):
            self.sky.again(self, request.token)
        before = self.jobs.keys() | set[str]()
        made = super().submit(request)
        new = self.jobs.keys() - before
        if len(new) > 1:
            self.twins |= new
        return made

    def create(self, request: DeploymentRequest) -> Deployed:
        self.sky.intended("create", request.name)
        known = next((one for one in self.deployments.values() if one.name == request.name), None)
        if known is not None:
            return known
        made = super().create(request)
        if self.twice:
            self.sky.tell(f"           and a second one: {self._deploy_again(made).id}")
        return made

    def _deploy_again(self, one: Deployed) -> Deployed:
        """Under the same name: neither name nor token keeps the second one from being made."""
        return self._deploy(one.name, token=one.token, artifact_id=one.artifact_id)

    def delete(self, name: str) -> None:
        one = self.named(name)
        if one is not None and not self.deletes_ignored:
            self.sky.deleted(self, one)
        super().delete(name)

    def nature(self, random: Random) -> str | None:  # noqa: PLR0911 -- one for each thing that happens
        """Something happens at the provider by itself, or by other hands."""
        serving = [one for one in self.deployments.values() if one.ours and one.outcome == "serving"]
        running = [one for one in self.jobs.values() if one.outcome == "running"]
        match random.choice(NATURE):
            case "lost" if serving:
                one = random.choice(serving)
                self.lose(one.name)
                return f"{one.name} is deleted in the console"
            case "broken" if serving:
                one = random.choice(serving)
                self.break_down(one.name)
                return f"{one.name} breaks down"
            case "moved" if serving:
                one = random.choice(serving)
                one.shown_artifact = None if one.shown_artifact else "ft:of-others"
                return f"{one.name} is made to serve {one.shown_artifact or 'its own model again'}"
            case "stranger" if len(self.deployments) < 6:
                number = self.next_id("stranger")
                self.stranger(number, artifact_id="theirs")
                return f"somebody makes {number}"
            case "job fails" if running:
                one = random.choice(running)
                one.outcome, one.status, one.error = "failed", "failed", "loss is nan"
                return f"{one.id} fails"
            case "deploy fails":
                self.deploy_failures.append("no capacity in this region")
                return "the next deployment will fail"
            case "odd status" if serving:
                one = random.choice(serving)
                one.outcome, one.status, one.polls_left = "provisioning", "Rebalancing?", random.randint(0, 2)
                return f"{one.name} is {one.status}"
            case "paused job" if running:
                one = random.choice(running)
                one.status, one.polls_left = random.choice(["paused", "Pausing?"]), random.randint(1, 4)
                return f"{one.id} is {one.status}"
            case _:
                return None


class StormyProviders(FakeProviders):
    def __init__(self, sky: Sky) -> None:
        super().__init__(sky.clock)
        self._sky = sky
        self._doors: dict[str, FakeProvider] = {}

    def of(self, connection: ConnectionState) -> FakeProvider:
        """One door per connection, as in a real registry: no connection's settings change here."""
        door = self._doors.get(connection.name)
        if door is None:
            serving = self.SERVING[connection.provider]
            self.clouds[connection.name] = StormyCloud(connection.name, self._sky, serving=serving)
            door = self._doors[connection.name] = super().of(connection)
        return door

    def all(self) -> list[StormyCloud]:
        return [cloud for cloud in self.clouds.values() if isinstance(cloud, StormyCloud)]


@dataclass(slots=True)
class Results:
    """How jobs end, by the seed."""

    random: Random
    losses: list[float] = field(default_factory=list[float])

    def next(self) -> tuple[JobOutcome, Mapping[str, float] | str]:
        if self.random.random() < 0.15:
            return "failed", "the data were refused"
        self.losses.append(round(self.random.uniform(0.5, 2.0), 3))
        return "succeeded", {"valid_loss": self.losses[-1]}
