"""One seed: a registry, its people and its providers for some hours of virtual time, then quiet, then the reckoning."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded: a seed always plays the same
from typing import Any, cast

from providers.errors import ProviderError
from providers.ports import Artifact
from registry.application.ports import DeploymentQuery, EventLog, VersionQuery
from registry.domain.errors import ConflictError, IdempotencyConflictError, TenureError
from registry.domain.ids import VersionRef, deployment_stream
from registry.domain.plan import Step
from registry.domain.versions import Who
from registry.reconciler.lanes import Lanes
from tests.clock import FakeClock, SequentialIds
from tests.cloud import Crash, Deployed
from tests.simulation.disk import Disk
from tests.simulation.mortal import MortalLog
from tests.simulation.rules import Broken, Rules, at_rest, billed_is_shown
from tests.simulation.sky import LISTS_MIN, Results, Sky, StormyCloud, StormyProviders, WrongClock
from tests.stage import DOCUMENT, Stage

MODELS = ("bot", "desk")
CONNECTIONS = ("cloud", "alone")
PEOPLE = ("user:ana", "user:ben", "user:cy")
CHANGES: Sequence[dict[str, object]] = (
    {"superseded": "keep"},
    {"superseded": "delete", "superseded_grace": "1m"},
    {"activate": "on-trained"},
    {"deploy": "manual"},
    {"deploy": "on-activate"},
    {"approvals": 1},
    {"approvals": 0},
    {"idle_delete": "30m"},
    {"keep_artifacts": 1},
    {"max_hourly_cost": "4.00"},
    {"max_hourly_cost": None},
    {"max_monthly_cost": "10.00"},
)
STEPS = 60
QUIET_PASSES_MAX = 400
PASS_S = 20.0
SWEEP_EVERY = 30
GRACES = 5
"""Rounds of eleven minutes and a sweep, after the storm: longer than any grace of a policy here."""
CLOCKS_WRONG = 0.15
"""How many lives there are in which the registry's clock jumps, at so many of their steps:"""
JUMPS = 0.05


class OneLaneAfterAnother(Lanes):
    """So that a seed gives one order of things, always."""

    def run(self, names: Any, work: Any, *, wait: bool) -> list[Any]:
        del wait
        return [one for name in names for one in work(name)]


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    hours: float
    kills: int
    head: str
    """The hash of the last event, which covers all before it."""


class Drama:
    def __init__(
        self, seed: int, home: Path, *, forgets: bool = False, steps: int = STEPS, on_disk: bool = False
    ) -> None:
        self.seed = seed
        self.story: list[str] = []
        self.random = Random(seed)
        self.steps = steps
        self.rules = Rules()
        self.results = Results(Random(seed + 1))
        self._keys: list[tuple[str, str, VersionRef]] = []
        self.taken: set[str] = set()
        """Names of deployments that others made and a command took over."""
        home.mkdir(parents=True, exist_ok=True)
        self.clock = FakeClock()
        """The truth; the registry may believe something else."""
        self.believed = WrongClock(self.clock)
        self._disk = Disk(home / "disk", clock=self.believed, ids=SequentialIds()) if on_disk else None
        log = cast("EventLog", self._disk.log) if self._disk is not None else None
        self.stage = Stage(home, document={}, clock=self.believed, log=log)
        self.sky = Sky(Random(seed + 2), self.clock, self.tell)
        self.sky.intended, self.sky.deleted, self.sky.again = self._intended, self._deleting, self._sent_again
        self.clouds = StormyProviders(self.sky)
        self.mortal = MortalLog(self.stage.log, self.sky, forgets=forgets)
        self.log = self.stage.log = cast("EventLog", self.mortal)
        self.stage.providers = self.clouds
        self.begun = self.clock.time
        self._start()
        self._declare()

    def tell(self, line: str) -> None:
        self.story.append(f"{self.clock.time - self.begun}  {line}")

    def _restart(self) -> None:
        if self._disk is not None:
            self.mortal.stand_before(self._disk.kill())
        self._start()

    def _start(self) -> None:
        for cloud in self.clouds.all():
            cloud.shown.clear()
        self.stage.restart()
        reconciler = self.stage.registry.reconciler
        reconciler._lanes = OneLaneAfterAnother()
        reconciler._backoff._jitter = self.random.random
        failed = reconciler._failed

        def expected(step: Step, key: tuple[str, str], error: Exception, now: datetime) -> str:
            """The reconciler goes on after any error; here one that is nobody's answer ends the play."""
            if isinstance(error, ProviderError | TenureError):
                return failed(step, key, error, now)
            raise error

        reconciler._failed = expected

    def _declare(self) -> None:
        policies = {
            name: {
                "superseded": self.random.choice(["delete", "delete", "keep"]),
                "superseded_grace": self.random.choice(["0s", "2m", "10m"]),
                "activate": self.random.choice(["manual", "manual", "on-trained", "if-better"]),
                "deploy": self.random.choice(["on-activate", "on-activate", "on-trained"]),
                "orphans": self.random.choice(["report", "delete", "adopt"]),
            }
            for name in MODELS
        }
        default = {"orphans": self.random.choice(["report", "delete", "adopt"])}
        document = {**DOCUMENT, "models": {name: {"policy": policy} for name, policy in policies.items()}}
        document["policy"] = default
        self.tell(f"policies {policies}; of everything else {default}")
        self.stage.registry.declaring.apply(document, Who(actor="user:ana"), plan=False)

    # Acting

    def play(self) -> Outcome:
        """Raises Broken, with the story so far in `story`."""
        try:
            return self._play()
        finally:
            if self._disk is not None:
                self._disk.close()

    def _play(self) -> Outcome:
        for name in CONNECTIONS:
            self.stage.cloud(name)
        for cloud in self.clouds.all():
            cloud.results = _Endless(self.results)  # pyright: ignore[reportAttributeAccessIssue] -- as a deque
        self.sky.rate = self.random.choice([0.0, 0.05, 0.15, 0.3])
        self.mortal.rate = self.random.choice([0.0, 0.02, 0.05])
        jumps = self.random.random() < CLOCKS_WRONG
        self.tell(f"faults at {self.sky.rate:.0%} of calls, kills at {self.mortal.rate:.0%} of commits")
        for _ in range(self.steps):
            if jumps and self.random.random() < JUMPS:
                self.believed.jump(self.random)
                self.tell(f"  the registry's clock is off by {self.believed.off.total_seconds():+.0f} s")
            self._step()
        self._quiet()
        hours = (self.clock.time - self.begun).total_seconds() / 3600
        return Outcome(seed=self.seed, hours=hours, kills=self.sky.kills, head=self.rules.seen[self.rules.position])

    def _step(self) -> None:
        lot = self.random.random()
        if lot < 0.4:
            self._somebody()
        elif lot < 0.5:
            happened = self.random.choice(self.clouds.all()).nature(self.random)
            if happened:
                self.tell(f"  nature {happened}")
        elif lot < 0.53:
            self.tell("  the registry is killed and started again")
            self._restart()
        seconds = self.random.choice([1.0, 5.0, 20.0, 20.0, 60.0, 300.0, 1800.0])
        self.clock.advance(seconds=seconds)
        self._pass(paced=self.random.random() < 0.5, sweep=self.random.random() < 0.4)
        self._check()

    def _pass(self, *, paced: bool = False, sweep: bool = False) -> None:
        with self._mortal():
            self.stage.registry.reconciler.run(paced=paced, sweep=sweep)

    @contextlib.contextmanager
    def _mortal(self) -> Generator[None]:
        try:
            yield
        except Crash:
            self._revive()

    def _revive(self) -> None:
        self.tell("  killed; started again")
        self._restart()

    def _somebody(self) -> None:
        model = self.random.choice(MODELS)
        who = Who(actor=self.random.choice(PEOPLE), reason="it is my turn")
        versions = [VersionRef(one.model, one.version) for one in self.log.versions(VersionQuery(model=model)).items]
        deployments = self.log.deployments(DeploymentQuery(model=model))
        commands = self.stage.registry.commands
        kinds = ["fine-tune"] * 4 + ["again", "import", "policy"]
        if versions:
            kinds += ["activate"] * 6 + ["deploy", "retire", "cancel", "retry", "delete", "approve", "attach"]
        if deployments:
            kinds += ["undeploy"]
        kind = self.random.choice(kinds)
        ref = self.random.choice(versions) if versions else None
        match kind:
            case "fine-tune":
                key = f"key-{self.random.getrandbits(40)}" if self.random.random() < 0.5 else None
                connection = self.random.choice(CONNECTIONS)
                activate = self.random.random() < 0.4
                wanted = self.stage.wanted(model, connection, activate=activate)
                found = self._do(f"fine-tune {model} on {connection}", lambda: commands.fine_tune(wanted, who, key))
                if key and found:
                    self._keys.append((key, model, found))
            case "again":
                self._again(who)
            case "import":
                self._import(model, who)
            case "policy":
                change = self.random.choice(CHANGES)
                self._do(f"policy of {model}: {change}", lambda: self._change(model, change, who))
            case "attach":
                assert ref is not None
                self._attach(ref, who)
            case "undeploy":
                one = self.random.choice(list(deployments))
                self._do(f"undeploy {one.id}", lambda: commands.undeploy(one.id, who))
            case _:
                assert ref is not None
                self._do(f"{kind} {ref}", lambda: getattr(commands, kind)(ref, who))

    def _import(self, model: str, who: Who) -> None:
        connection = self.random.choice(CONNECTIONS)
        artifact = f"ft:elsewhere-{self.random.randint(1, 3)}"
        self.clouds.clouds[connection].artifacts[artifact] = Artifact(id=artifact)
        commands = self.stage.registry.commands
        self._do(
            f"import {artifact} from {connection} as {model}",
            lambda: commands.import_version(model, connection, artifact, None, who),
        )

    def _change(self, model: str, change: dict[str, object], who: Who) -> None:
        known = self.log.model(model)
        self.stage.registry.declaring.set_policy(model, {**(known.policy if known else {}), **change}, who)

    def _attach(self, ref: VersionRef, who: Who) -> None:
        """Somebody deployed the version by hand, and it is taken over."""
        version = self.log.version(ref)
        assert version is not None
        cloud = self.clouds.clouds[version.connection]
        if version.artifact_id is None or cloud.capabilities.serving == "none":
            return
        made = cloud.stranger(cloud.next_id("by-hand"), version.artifact_id)
        self.taken.add(made.name)
        commands = self.stage.registry.commands
        self._do(f"attach {made.name} to {ref}", lambda: commands.attach(ref, made.id, who))

    def _again(self, who: Who) -> None:
        """A key that was used: the same answer and nothing new, or a conflict with another body."""
        if not self._keys:
            return
        key, model, answered = self.random.choice(self._keys)
        before = self.log.head()
        other = next(one for one in MODELS if one != model)
        with self._mortal(), contextlib.suppress(IdempotencyConflictError):
            self.stage.registry.commands.fine_tune(self.stage.wanted(other, "cloud"), who, key)
            raise Broken(f"{key} was used for {model} and is taken for {other}")
        repeated = None
        for connection in CONNECTIONS:
            for activate in (False, True):
                wanted = self.stage.wanted(model, connection, activate=activate)
                with self._mortal(), contextlib.suppress(IdempotencyConflictError, TenureError):
                    repeated = self.stage.registry.commands.fine_tune(wanted, who, key)
        if (repeated is not None and repeated != answered) or self.log.head() != before:
            raise Broken(
                f"{key} was answered {answered} and then {repeated}, and left {self.log.head() - before} events"
            )

    def _do(self, what: str, command: Callable[[], Any]) -> Any:
        before = self.log.head()
        self.tell(f"  {what}")
        try:
            return command()
        except Crash:
            self._revive()
        except ConflictError as error:
            raise Broken(f"{what}: {error}") from error
        except TenureError as error:
            self.tell(f"  refused: {error}")
            if self.log.head() != before:
                raise Broken(f"{what} was refused, and left {self.log.head() - before} events") from error
        return None

    # Watching

    def _check(self) -> None:
        self.rules.take(self.log, self.clouds.all())
        self.rules.acknowledged(self.mortal.acknowledged)
        self.mortal.acknowledged.clear()

    def _intended(self, operation: str, name: str) -> None:
        """Every create has an earlier intent in the log."""
        if operation == "create":
            known = any(one.name == name for one in self.log.deployments(DeploymentQuery()))
        else:
            known = any(one.job_token == name and one.submitted for one in self.log.versions(VersionQuery()).items)
        if not known:
            raise Broken(f"{operation} of {name} without an intent in the log")

    def _sent_again(self, cloud: StormyCloud, token: str) -> None:
        """By a clock that jumped the create may seem to have been so long ago that one list is enough."""
        lists = cloud.unshown.get(token, 0)
        if lists < LISTS_MIN and not self.believed.off_max:
            raise Broken(f"{cloud.name} has a job for {token}, which is sent again after {lists} lists without it")

    def _deleting(self, cloud: StormyCloud, gone: Deployed) -> None:
        """What the active version is served by is not deleted, unless something else serves it."""
        if not gone.ours and gone.name not in self.taken:
            raise Broken(f"{gone.name} is deleted, and it is not ours")
        known = [one for one in self.log.deployments(DeploymentQuery(connection=cloud.name)) if one.name == gone.name]
        owner = next((one for one in known if (one.provider_id or gone.id) == gone.id), None)
        if owner is None or not owner.model or owner.orphan or owner.serving_at is None:
            return
        model = self.log.model(owner.model)
        if model is None or model.active != owner.version:
            return
        others = self.log.deployments(DeploymentQuery(model=owner.model, version=owner.version))
        left = any(one.state == "serving" and one.id != owner.id for one in others)
        history = self.log.read(stream=deployment_stream(owner.id))
        by_hand = any(one.type == "deployment-deletion-requested" and one.actor in PEOPLE for one in history)
        # Who asked was told that another serves, as the log had it: that one may have broken down since.
        if gone.outcome == "serving" and not left and not by_hand:
            ref = f"{owner.model}@{owner.version}"
            raise Broken(f"{gone.name} ({gone.id}) is deleted while {ref} is active and nothing else serves it")

    def _is_attached(self, provider_id: str) -> bool:
        return any(one.provider_id == provider_id for one in self.log.deployments(DeploymentQuery(live=True)))

    # The end

    def _quiet(self) -> None:
        """Faults stop. Within a bound, everything that is not final has moved on, and all is accounted for."""
        self.sky.rate = self.mortal.rate = 0.0
        self.tell("the storm is over")
        for cloud in self.clouds.all():
            cloud.deploy_failures.clear()
            cloud.deletes_ignored = cloud.reappearing = cloud.duplicate_jobs = 0
            for one in [*cloud.deployments.values()]:
                if not one.ours and not self._is_attached(one.id):
                    cloud.lose(one.name)  # what it serves could not be deleted as long as somebody else uses it
            for job in cloud.jobs.values():
                job.polls_left = max(0, min(job.polls_left, 1))
        self._settle()
        graces = GRACES if not self.believed.off_max else 2 * GRACES  # later by a clock that was ahead
        for _ in range(graces):
            self.clock.advance(minutes=11)
            for _ in range(5):
                self._pass(sweep=True)
                self.clock.advance(seconds=PASS_S)
        self._settle()
        self._check()
        wrong_s = 2 * self.believed.off_max.total_seconds()
        billed_is_shown(self.log, self.clouds.all(), self.clock.time, wrong_s=wrong_s)
        at_rest(self.log, self.clouds.all(), MODELS)
        self.stage.registry.tools.verify()

    def _settle(self) -> None:
        for number in range(QUIET_PASSES_MAX):
            self._pass(sweep=number % SWEEP_EVERY == SWEEP_EVERY - 1)
            self._check()
            if number > 5 and not self.stage.registry.reconciler.in_motion():
                return
            self.clock.advance(seconds=PASS_S)
        plan = [f"{one.action} {one.subject}" for one in self.stage.registry.reconciler.plan()]
        raise Broken(f"after {QUIET_PASSES_MAX} quiet passes this is still under way: {plan}")


class _Endless:
    """As the deque of results that a `Cloud` has, without an end."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def popleft(self) -> Any:
        return self._results.next()

    def __bool__(self) -> bool:
        return True
