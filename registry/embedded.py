"""`registry.open()`: a registry that runs in this process, with its scheduler inside, and the methods that users call.

The same methods, with the same arguments and answers, are spoken over HTTP to a registry elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from registry.application.bills import ReconciliationView, compare
from registry.application.commands import FineTune, provider_errors
from registry.application.declaring import read_toml
from registry.application.focus import Focus
from registry.application.ports import DataSource, VersionQuery
from registry.application.reading import AsOf
from registry.application.replaying import ReplayView
from registry.application.views import (
    AuditView,
    ChangeView,
    CheckpointView,
    CheckView,
    ConnectionView,
    DeploymentView,
    EstimateView,
    EventView,
    MetricView,
    ModelView,
    SideBySideView,
    StepView,
    VersionView,
)
from registry.composition import Registry, open_home, read_bill
from registry.domain.errors import RefusedError, TenureError
from registry.domain.events import Json
from registry.domain.ids import VersionRef, parse_ref
from registry.domain.versions import Who
from registry.scheduler import Scheduler

if TYPE_CHECKING:
    from registry.application.ports import LogTools

ENDED = frozenset({"trained", "active", "retired", "failed", "cancelled", "deleted"})
"""States in which nothing is under way by itself."""
WANTED = ENDED - {"failed", "cancelled"}
GONE = frozenset({"deleted"})
STEP_S = 0.2
"""How often a wait looks whether there is something to do or to show, in seconds."""
CLEAN_UP_S_MAX = 120.0
"""How long a wait goes on, after what was asked for is so, until superseded deployments are seen gone."""

Progress = Callable[[VersionView, list[MetricView]], None]


def default_home() -> Path:
    """`TENURE_HOME`, else `~/.tenure`."""
    return Path(os.environ.get("TENURE_HOME") or "~/.tenure").expanduser().absolute()


def default_actor() -> str:
    """`TENURE_ACTOR`, else `user:` and the login name."""
    import getpass

    given = os.environ.get("TENURE_ACTOR")
    if given:
        return given if ":" in given else f"user:{given}"
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"user:{os.getuid()}"


def open(  # noqa: A001 - the public name is `registry.open`
    home: Path | str | None = None, *, actor: str | None = None, background: bool = True
) -> Tenure:
    """Open a home, making it when it is new. Use it as a context manager.

    `background` False runs nothing by itself: work goes on in `wait` and `reconcile` only, as single commands want it.
    Raises HomeInUseError naming the process that has the home, BadInputError where it cannot be written.
    """
    path = Path(home).expanduser().absolute() if home is not None else default_home()
    return Tenure(open_home(path), actor=actor or default_actor(), background=background)


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it was when it was last read; attributes are `VersionView`'s. `refresh()` reads it again."""

    tenure: Tenure
    view: VersionView
    until: frozenset[str] = WANTED

    def __getattr__(self, name: str) -> object:
        return getattr(object.__getattribute__(self, "view"), name)

    def __str__(self) -> str:
        return self.view.ref

    def as_json(self) -> dict[str, object]:
        return self.view.as_json()

    def refresh(self) -> Version:
        return Version(self.tenure, self.tenure.version(self.view.ref), self.until)

    def wait(self, timeout_s: float | None = None, on_progress: Progress | None = None) -> Version:
        """Until what was asked for has come about, driving the work. Raises TenureError when it came to nothing."""
        view = self.tenure.wait(self.view.ref, until=self.until, timeout_s=timeout_s, on_progress=on_progress)
        if view.state not in self.until:
            raise TenureError(f"{view.ref} is {view.state}: {view.error or 'stopped'}")
        if view.error is not None and view.state == "trained":
            raise TenureError(f"{view.ref} was not activated: {view.error}")
        return Version(self.tenure, view, self.until)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that is trained by the code in its `with` block: save a model in safetensors into `directory`."""

    ref: str
    version: int
    directory: Path


class Tenure:
    """One open registry. Safe to use from several threads. Every command takes `reason` and `idempotency_key`."""

    elsewhere = False
    """Whether a server does the work, so that nothing has to be driven from here."""

    def __init__(self, registry: Registry, *, actor: str, background: bool) -> None:
        self._registry = registry
        self._actor = actor
        self._scheduler: Scheduler | None = None
        if background:
            self._scheduler = Scheduler(
                log=registry.log,
                clock=registry.clock,
                run_pass=lambda: registry.reconciler.run(paced=True, sweep=True),
                next_due=lambda: registry.reconciler.next_due(sweep=True),
            )
            self._scheduler.start()

    @property
    def home(self) -> Path:
        return self._registry.home

    @property
    def log(self) -> LogTools:
        """verify, rebuild, export, import_, backup."""
        return self._registry.tools

    def close(self) -> None:
        """Release the home; training and deployments go on in their own processes. May be repeated."""
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Training

    def fine_tune(
        self,
        model: str,
        *,
        connection: str,
        base_model: str,
        train: Path | str,
        validation: Path | str | None = None,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        system_column: str | None = None,
        system: str | None = None,
        method: str = "supervised",
        hyperparameters: Mapping[str, object] | None = None,
        code: Path | str | None = None,
        activate: bool = False,
        force: bool = False,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        """Check everything, then queue a new version. `force`: also of a base model that its provider soon takes away.

        Raises BadInputError with every fault, RefusedError, NotFoundError.
        """
        command = _fine_tune(
            model,
            connection,
            base_model,
            train,
            validation,
            prompt_column,
            completion_column,
            system_column,
            system,
            method,
            hyperparameters,
            code,
            activate,
            force,
        )
        ref = self._registry.commands.fine_tune(command, self._who(reason), idempotency_key)
        return Version(self, self.version(ref))

    def estimate(
        self,
        model: str,
        *,
        connection: str,
        base_model: str,
        train: Path | str,
        validation: Path | str | None = None,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        system_column: str | None = None,
        system: str | None = None,
        method: str = "supervised",
        hyperparameters: Mapping[str, object] | None = None,
        code: Path | str | None = None,
        activate: bool = False,
        force: bool = False,
    ) -> EstimateView:
        """What training would take and cost; starts nothing and records nothing."""
        command = _fine_tune(
            model,
            connection,
            base_model,
            train,
            validation,
            prompt_column,
            completion_column,
            system_column,
            system,
            method,
            hyperparameters,
            code,
            activate,
            force,
        )
        checked, estimate = self._registry.commands.estimate(command)
        return EstimateView(
            train={"rows": checked.train.rows, "tokens": checked.train.tokens, "sha256": checked.train.sha256},
            validation={"rows": checked.validation.rows, "tokens": checked.validation.tokens}
            if checked.validation
            else None,
            tokens=estimate.tokens,
            steps=estimate.steps,
            duration_s=estimate.duration_s,
            cost=estimate.cost,
            currency=estimate.currency,
            notes=estimate.notes,
            warnings=checked.warnings,
        )

    def import_version(
        self,
        model: str,
        *,
        connection: str,
        artifact: str,
        base_model: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        ref = self._registry.commands.import_version(
            model, connection, artifact, base_model, self._who(reason), idempotency_key
        )
        return Version(self, self.version(ref))

    def importable(self, connection: str) -> list[Json]:
        """The artifacts that a connection's account has."""
        provider = self._registry.providers.of(self._registry.reading.connection_state(connection))
        with provider_errors():
            found = provider.artifacts.list()
        return [{"id": one.id, "digest": one.digest, "base_model": one.base_model, "kind": one.kind} for one in found]

    @contextmanager
    def new_version(
        self, model: str, *, connection: str, base_model: str | None = None, reason: str | None = None
    ) -> Generator[NewVersion]:
        """Train it yourself: leave a model in safetensors in `.directory`.

        When the block ends without an error the folder has been checked and the version is durably `trained`; with an
        error it is `failed`, and the error goes on.
        """
        commands = self._registry.commands
        who = self._who(reason)
        ref, folder = commands.own_training(model, connection, base_model, who)
        try:
            yield NewVersion(str(ref), ref.number, folder)
        except BaseException as error:
            kind = type(error).__name__
            with suppress(TenureError):
                commands.own_training_ended(ref, folder, f"{kind} in the training code", who)
            raise
        commands.own_training_ended(ref, folder, None, who)

    # Moves

    def activate(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        """Make it the active version: deploy it where needed, probe it, move the pointer, retire what was active."""
        ref = _ref(version)
        self._registry.commands.activate(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref), frozenset({"active", "trained", "retired", "deleted"}))

    def retire(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        ref = _ref(version)
        self._registry.commands.retire(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref))

    def cancel(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        ref = _ref(version)
        self._registry.commands.cancel(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref), frozenset({"cancelled"}))

    def pause(self, version: str | Version, *, reason: str | None = None) -> Version:
        """Pause the job of a version that trains, where the provider can."""
        self._registry.jobs.steer(_ref(version), "pause", self._who(reason))
        return Version(self, self.version(_ref(version)))

    def resume(self, version: str | Version, *, reason: str | None = None) -> Version:
        self._registry.jobs.steer(_ref(version), "resume", self._who(reason))
        return Version(self, self.version(_ref(version)))

    def retry(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        ref = _ref(version)
        self._registry.commands.retry(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref))

    def approve(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        ref = _ref(version)
        self._registry.commands.approve(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref))

    def delete(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Version:
        """Delete the artifact for good, after every deployment of it."""
        ref = _ref(version)
        self._registry.commands.delete(ref, self._who(reason), idempotency_key)
        return Version(self, self.version(ref), GONE)

    # Deployments

    def deploy(
        self, version: str | Version, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        """A warm standby: it serves, and may be billed, without being active."""
        return self.deployment(self._registry.commands.deploy(_ref(version), self._who(reason), idempotency_key))

    def undeploy(
        self, deployment: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        return self.deployment(self._registry.commands.undeploy(deployment, self._who(reason), idempotency_key))

    def attach(
        self,
        version: str | Version,
        deployment: str,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeploymentView:
        """Take over a deployment that exists already, by the provider's name, its id, or the registry's."""
        attached = self._registry.commands.attach(_ref(version), deployment, self._who(reason), idempotency_key)
        return self.deployment(attached)

    def wait_for_deployment(self, id: str, *, until: frozenset[str], timeout_s: float | None = None) -> DeploymentView:
        """Until it is in one of these states (or has failed), driving the work."""
        ends = until | {"failed", "deleted", "lost"}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (view := self.deployment(id)).state not in ends:
            self._drive(deadline, f"{id} is still {view.state}")
        return view

    # Declarations

    def apply(self, source: Path | str | Mapping[str, object], *, plan: bool = False) -> list[ChangeView]:
        """Connections, models, policies, prices and the scheduler from TOML; `plan` only says what would change."""
        document = source if isinstance(source, Mapping) else read_toml(Path(source))
        return self._registry.declaring.apply(document, self._who(None), plan=plan)

    def declare_connection(self, name: str, settings: Mapping[str, object]) -> ConnectionView:
        self._registry.declaring.declare_connection(name, settings, self._who(None))
        return next(one for one in self.connections() if one.name == name)

    def remove_connection(self, name: str) -> None:
        self._registry.declaring.remove_connection(name, self._who(None))

    def set_policy(self, model: str, policy: Mapping[str, object]) -> Json:
        self._registry.declaring.set_policy(model, policy, self._who(None))
        return self.policy(model)

    def policy(self, model: str) -> Json:
        """Every key with its value."""
        return self._registry.reading.policy(model)

    def policy_plan(self, model: str) -> list[StepView]:
        """What the policy would do for one model, now or when it is due, on which policy's word, and why."""
        self._registry.reading.model_state(model)
        return self._registry.reconciler.policy_plan(model)

    def policy_replay(self, model: str, source: Path | str | Mapping[str, object] | None = None) -> ReplayView:
        """Another policy (a TOML file, or its keys) over the recorded history: what it would have deployed, deleted
        and spent, beside what was. None: the policy in force. Changes nothing.
        """
        document = source if isinstance(source, Mapping) or source is None else read_toml(Path(source))
        return self._registry.replaying.replay(model, document)

    # Questions

    def models(self, *, as_of: AsOf = None) -> list[ModelView]:
        return self._registry.reading.models(as_of)

    def versions(
        self, model: str, *, states: Sequence[str] = (), limit: int | None = None, as_of: AsOf = None
    ) -> list[VersionView]:
        """Newest first."""
        query = VersionQuery(model=model, states=frozenset(states), limit=limit)
        return self._registry.reading.versions(query, as_of)[0]

    def version(self, ref: str | VersionRef, *, as_of: AsOf = None) -> VersionView:
        return self._registry.reading.version(ref if isinstance(ref, VersionRef) else VersionRef.parse(ref), as_of)

    def show(self, ref: str, *, as_of: AsOf = None) -> ModelView | VersionView:
        model, number = parse_ref(ref)
        if number is None:
            return self._registry.reading.model(model, as_of)
        return self._registry.reading.version(VersionRef(model, number), as_of)

    def history(self, ref: str | Version, *, as_of: AsOf = None, after: int = 0) -> list[EventView]:
        """Everything that happened to a model, or to one version and its deployments, in order."""
        return self._registry.reading.history(str(ref), as_of, after=after)

    def events(self, *, after: int = 0, limit: int | None = None) -> list[EventView]:
        """The whole log, in order."""
        return [EventView.of(event) for event in self._registry.log.read(after=after, limit=limit)]

    def follow(self, ref: str | None = None, *, after: int = 0, timeout_s: float | None = None) -> Iterator[EventView]:
        """Events as they come, from a position on; ends when nothing came for `timeout_s`. Drives the work, too."""
        log = self._registry.log
        while True:
            head = log.head()
            streams = self._registry.reading.streams(ref) if ref is not None else None
            for event in log.read(streams=streams, after=after, until=head):
                yield EventView.of(event)
            after = max(after, head)
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while log.head() <= after:
                if deadline is not None and time.monotonic() > deadline:
                    return
                self._drive(None, "")

    def metrics(self, ref: str | Version) -> list[MetricView]:
        """The curves of a version's newest attempt."""
        return self._registry.reading.metrics(_ref(ref))

    def checkpoints(self, ref: str | Version) -> list[CheckpointView]:
        """Those of a version's training that the provider keeps; each can be imported as a version of its own."""
        return self._registry.jobs.checkpoints(_ref(ref))

    def deployments(
        self, *, billed: bool | None = None, model: str | None = None, as_of: AsOf = None
    ) -> list[DeploymentView]:
        return self._registry.reading.deployments(billed=billed, model=model, as_of=as_of)

    def side_by_side(self, *, billed: bool | None = None, model: str | None = None) -> list[SideBySideView]:
        """Deployments as the log has them beside what the providers show now, with the differences. Only looks."""
        return self._registry.comparing.side_by_side(billed=billed, model=model)

    def deployment(self, id: str, *, as_of: AsOf = None) -> DeploymentView:
        return self._registry.reading.deployment(id, as_of)

    def audit(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        by: str | None = None,
        as_of: AsOf = None,
    ) -> AuditView:
        """What was billed from one time to another, for which version, since when, on whose word."""
        return self._registry.auditing.audit(from_=from_, to=to, by=by, as_of=as_of)

    def audit_focus(self, *, from_: datetime | None = None, to: datetime | None = None, as_of: AsOf = None) -> Focus:
        """The same in the rows of FOCUS 1.2; `.csv()` is the file."""
        return self._registry.auditing.focus(from_=from_, to=to, as_of=as_of)

    def audit_against(self, bill: Path | str) -> ReconciliationView:
        """A provider's bill (CSV or Parquet) beside the ledger, for the time that it is of."""
        read = read_bill(Path(bill).expanduser())
        return compare(read, self.audit(from_=read.from_, to=read.to))

    def connections(self, *, as_of: AsOf = None) -> list[ConnectionView]:
        return self._registry.reading.connections(as_of)

    def test_connection(self, name: str) -> list[CheckView]:
        provider = self._registry.providers.of(self._registry.reading.connection_state(name))
        return [
            CheckView(name=one.name, passed=one.passed, detail=one.detail, remedy=one.remedy)
            for one in provider.check()
        ]

    def doctor(self) -> list[CheckView]:
        """The home, the log's chain, every connection, what failed and what is billed for nothing."""
        from registry.application.doctor import examine

        return examine(self._registry.home, self._registry.tools, self._registry.reading, self.test_connection)

    # Work

    def reconcile(self, *, plan: bool = False, sweep: bool = True) -> list[StepView]:
        """One full pass now; returns when nothing more can be done at once. `plan` says what it would do.

        `sweep`: also compares what each connection has with the log, one list call each.
        """
        reconciler = self._registry.reconciler
        return reconciler.plan(sweep=sweep) if plan else reconciler.run(sweep=sweep)

    def wait(
        self,
        ref: str | Version,
        *,
        until: frozenset[str] = ENDED,
        timeout_s: float | None = None,
        on_progress: Progress | None = None,
    ) -> VersionView:
        """Until a version is in one of these states and nothing superseded is left to delete, driving the work here.

        `on_progress` gets the version and the points that came since it was last called. Raises TenureError after
        `timeout_s`.
        """
        ends = until if until == GONE else until | {"failed", "cancelled"}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        told = _Told(self, str(ref), on_progress)
        while True:
            view = told.tell()
            if view.state in ends:
                break
            self._drive(deadline, f"{ref} is still {view.state}")
        self._clean_up(view.model, deadline)
        return told.tell()

    def _clean_up(self, model: str, deadline: float | None) -> None:
        """Drive what follows at once from what has come about: deployments that are being deleted are seen gone."""
        limit = min(deadline or float("inf"), time.monotonic() + CLEAN_UP_S_MAX)
        if self._scheduler is None:
            self._registry.reconciler.run(paced=True)
        while time.monotonic() < limit:
            motion = self._registry.log.motion()
            leaving = any(one.model == model and one.state in {"deleting", "failed"} for one in motion.deployments)
            stopping = any(one.model == model and one.state in {"cancelled", "failed"} for one in motion.versions)
            if not leaving and not stopping:
                return
            self._drive(limit, "")

    def _drive(self, deadline: float | None, what: str) -> None:
        """Do what is due, here or in the scheduler, and wait a moment."""
        if deadline is not None and time.monotonic() > deadline:
            if what:
                raise TenureError(what, hint="it goes on; ask again later")
            return
        log = self._registry.log
        head = log.head()
        if self._scheduler is None:
            self._registry.reconciler.run(paced=True)
        log.wait(head, STEP_S)

    def chat(self, ref: str, messages: Sequence[Mapping[str, object]], **options: object) -> Iterator[str]:
        """The answer of the active version (or of the version named), piece by piece as it comes.

        `options` are those of OpenAI's chat completions. Raises RefusedError when nothing serves it.
        """
        from registry.application.chatting import stream_text

        one = self._registry
        return stream_text(one.reading, one.log, one.providers, ref, messages, options, clock=one.clock)

    def _who(self, reason: str | None) -> Who:
        return Who(actor=self._actor, reason=reason)


class _Told:
    """What a wait has shown already."""

    def __init__(self, tenure: Tenure, ref: str, on_progress: Progress | None) -> None:
        self._tenure = tenure
        self._ref = ref
        self._on_progress = on_progress
        self._seen: set[tuple[int, int, str]] = set()
        if on_progress is not None and tenure.version(ref).state not in {"queued", "training"}:
            self._seen.update((one.attempt, one.step, one.name) for one in tenure.metrics(ref))

    def tell(self) -> VersionView:
        view = self._tenure.version(self._ref)
        if self._on_progress is not None:
            new = [
                one for one in self._tenure.metrics(self._ref) if (one.attempt, one.step, one.name) not in self._seen
            ]
            self._seen.update((one.attempt, one.step, one.name) for one in new)
            self._on_progress(view, new)
        return view


def _fine_tune(
    model: str,
    connection: str,
    base_model: str,
    train: Path | str,
    validation: Path | str | None,
    prompt: str,
    completion: str,
    system_column: str | None,
    system: str | None,
    method: str,
    hyperparameters: Mapping[str, object] | None,
    code: Path | str | None,
    activate: bool,
    force: bool,
) -> FineTune:
    return FineTune(
        model=model,
        connection=connection,
        base_model=base_model,
        data=DataSource(
            train=Path(train).expanduser(),
            validation=Path(validation).expanduser() if validation is not None else None,
            prompt=prompt,
            completion=completion,
            system=system_column,
            system_text=system,
        ),
        method=method,
        hyperparameters=dict(hyperparameters or {}),
        code=Path(code).expanduser() if code is not None else None,
        activate=activate,
        force=force,
    )


def _ref(version: str | Version) -> VersionRef:
    return VersionRef.parse(str(version))


__all__ = ["NewVersion", "RefusedError", "Tenure", "Version", "default_home", "open"]
