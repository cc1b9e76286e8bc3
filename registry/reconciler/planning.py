"""What the plan looks at, kept in memory and brought up to date by what was appended since: only that is planned again.

A registry has far more versions than it has in motion. This holds what is in motion, model by model, with the steps
that follow; an event about a model throws away that model's steps and no others'. The log stays the truth: whoever is
far behind, or new, reads it afresh.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from registry.application.garbage import collector_paused
from registry.application.ports import DeploymentQuery, EventLog, Providers
from registry.domain import orphan_jobs
from registry.domain.deploying import GONE
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef
from registry.domain.plan import Action, Step, World, plan
from registry.domain.policy import Policy, SchedulerSettings
from registry.domain.states import ConnectionState, DeploymentState, ModelState, RegistryState, VersionState
from registry.reconciler.using import Uses

BEHIND_MAX = 5_000
"""Events that are followed one by one; with more, everything in motion is read afresh."""
MOVING = frozenset({"queued", "training", "deploying"})
OVER = frozenset({"failed", "cancelled"})
NEAR_RETIRED = frozenset({"retired", "deploying", "deleted"})
"""States of a version that has just joined or left those that are retired."""


@dataclass(slots=True)
class _Group:
    """What is not at rest of one model, or of nothing that is known (an orphan): its steps follow from this alone."""

    model: ModelState | None = None
    versions: dict[int, VersionState] = field(default_factory=dict[int, VersionState])
    deployments: dict[str, DeploymentState] = field(default_factory=dict[str, DeploymentState])
    surplus: tuple[VersionState, ...] | None = None
    """Retired versions beyond those that the policy keeps; None: to be asked for, if it limits them."""
    policy: Policy | None = None
    steps: list[Step] | None = None


class Planning:
    """Safe to use from many threads; states that it hands out are never changed."""

    def __init__(self, log: EventLog, providers: Providers, uses: Uses) -> None:
        self._log = log
        self._providers = providers
        self._uses = uses
        self._lock = threading.Lock()
        self._at: int | None = None
        self._registry = RegistryState()
        self._default = Policy.of({})
        """The registry's own policy: of what belongs to no model."""
        self._policies: dict[str, Policy] = {}
        """As they are written: those of many models are the same."""
        self._connections: dict[str, ConnectionState] = {}
        self._groups: dict[str, _Group] = {}
        self._planned: list[Step] | None = None
        self._swept: dict[str, list[Step]] = {}
        """A sweep's steps of each connection that has been opened since it was declared or changed."""
        self.settings = SchedulerSettings.of({})
        self.replanned = 0
        """Models whose steps were worked out anew, ever; benchmarks and tests read it."""

    def steps(self, *, sweep: bool = False) -> list[Step]:
        """Everything that should be done, now or later. `sweep`: also a look at what each connection has."""
        with self._lock:
            self._catch_up()
            planned = self._planned
            if planned is None:
                planned = self._plan()
                if all(group.steps is not None for group in self._groups.values()):
                    self._planned = planned
            return [*self._sweeps(), *planned] if sweep else [*planned]

    def connection(self, name: str) -> ConnectionState | None:
        """As of the last look at the steps; None where it is not declared, or no longer."""
        return self._connections.get(name)

    def in_motion(self) -> bool:
        """Whether anything is under way (a deployment that simply serves is not)."""
        with self._lock:
            self._catch_up()
            return any(
                any(_is_moving(one) for one in group.versions.values())
                or any(one.state not in GONE | {"serving"} for one in group.deployments.values())
                for group in self._groups.values()
            )

    # Keeping up

    def _catch_up(self) -> None:
        head = self._log.head()
        if self._at is None or not self._at <= head <= self._at + BEHIND_MAX:
            with collector_paused():
                self._load(head)
        elif head > self._at:
            touched = dict.fromkeys(event.stream for event in self._log.read(after=self._at, until=head))
            for stream in touched:
                self._touch(stream)
            self._at = head
            self._planned = None

    def _load(self, head: int) -> None:
        """Everything in motion. What is appended meanwhile is followed next time."""
        self._at = None
        motion = self._log.motion()
        self._registry = self._log.registry()
        self._connections = {one.name: one for one in self._log.connections() if not one.removed}
        self._swept = {}
        self._groups = {}
        self._set_registry()
        for model in motion.models:
            self._group(model.name).model = model
        for version in (*motion.versions, *motion.serving):
            self._group(version.model).versions[version.version] = version
        for deployment in motion.deployments:
            self._group(model_of(deployment)).deployments[deployment.id] = deployment
        for version in motion.versions:
            if version.state == "deploying" or version.deletion_requested:
                group = self._group(version.model)
                for one in self._log.deployments(DeploymentQuery(model=version.model, version=version.version)):
                    group.deployments[one.id] = one
        self._load_surplus()
        self._at = head
        self._planned = None

    def _load_surplus(self) -> None:
        """Of all models at once: one by one they are asked for only when something has happened to them."""
        models = {one.name: one for one in self._log.models()}
        policies = {name: self._policy(model) for name, model in models.items()}
        keep = {name: one.keep_artifacts for name, one in policies.items() if one.keep_artifacts is not None}
        found: dict[str, list[VersionState]] = {}
        for version in self._log.surplus(keep) if keep else ():
            found.setdefault(version.model, []).append(version)
        for name in found:
            self._group(name).model = models[name]
        for name, group in self._groups.items():
            group.surplus = tuple(found.get(name, ()))
            group.policy = policies.get(name)

    def _touch(self, stream: str) -> None:
        match self._log.load(stream):
            case RegistryState() as registry:
                self._registry = registry
                self._set_registry()
                self._load_surplus()
            case ConnectionState() as connection:
                self._set_connection(connection)
            case ModelState() as model:
                self._set_model(model)
            case VersionState() as version:
                self._set_version(version)
            case DeploymentState() as deployment:
                self._set_deployment(deployment)
            case _:
                pass

    def _set_registry(self) -> None:
        self.settings = SchedulerSettings.of(self._registry.scheduler)
        self._default = Policy.of({}, self._registry.policy)
        self._policies = {}
        for group in self._groups.values():
            group.policy = group.steps = None

    def _set_connection(self, connection: ConnectionState) -> None:
        self._swept.pop(connection.name, None)
        if connection.removed:
            self._connections.pop(connection.name, None)
        else:
            self._connections[connection.name] = connection
        for group in self._groups.values():
            if any(one.connection == connection.name for one in group.versions.values()):
                group.steps = None

    def _set_model(self, model: ModelState) -> None:
        group = self._group(model.name)
        group.model, group.policy, group.surplus, group.steps = model, None, None, None

    def _set_version(self, version: VersionState) -> None:
        group = self._group(version.model)
        group.steps = None
        group.versions[version.version] = version
        if version.state in NEAR_RETIRED:
            group.surplus = None

    def _set_deployment(self, deployment: DeploymentState) -> None:
        name = model_of(deployment)
        group = self._group(name)
        group.steps = None
        group.deployments[deployment.id] = deployment
        if deployment.model and deployment.version not in group.versions:
            version = self._log.version(VersionRef(deployment.model, deployment.version))
            if version is not None:
                group.versions[version.version] = version

    def _group(self, model: str) -> _Group:
        group = self._groups.get(model)
        if group is None:
            known = self._log.model(model) if model and self._at is not None else None
            group = self._groups[model] = _Group(model=known)
        return group

    # Steps

    def _plan(self) -> list[Step]:
        orphans = orphan_jobs.steps(self._connections.values(), self._policy_of, self.settings.orphan_grace)
        steps = [step for name, group in self._groups.items() for step in self._steps_of(name, group)]
        return sorted([*orphans, *steps], key=_order)

    def _steps_of(self, name: str, group: _Group) -> list[Step]:
        if group.steps is not None:
            return group.steps
        self.replanned += 1
        _forget_what_rests(group)
        if group.policy is None:
            group.policy = self._policy(group.model)
        surplus = self._surplus(name, group, group.policy.keep_artifacts)
        deploying = {one.connection for one in group.versions.values() if one.state == "deploying"}
        asks = group.policy.idle_delete is not None
        world = World(
            versions=tuple(group.versions.values()),
            deployments=tuple(sorted(group.deployments.values(), key=_age)),
            policies={name: group.policy} if name else {},
            default=self._default,
            serves_alone=frozenset(one for one in deploying if self._needs_no_deployment(one)),
            surplus={name: surplus} if surplus else {},
            last_used=self._uses.all() if asks else {},
            orphan_grace=self.settings.orphan_grace,
        )
        steps = plan(world)
        # When a standby was last called changes without an event: what depends on it is worked out every time.
        if not (asks and _has_standby(group)):
            group.steps = steps
        return steps

    def _surplus(self, name: str, group: _Group, keep: int | None) -> tuple[VersionState, ...]:
        if keep is None or not name:
            return ()
        if group.surplus is None:
            group.surplus = tuple(self._log.surplus({name: keep}))
        return group.surplus

    def _policy(self, model: ModelState | None) -> Policy:
        """Read once for all models that say the same."""
        if model is None:
            return self._default
        policy = self._policies.get(written := repr(model.policy))
        if policy is None:
            policy = self._policies[written] = Policy.of(model.policy, self._registry.policy)
        return policy

    def _policy_of(self, model: str) -> Policy:
        return self._policy(self._log.model(model) if model else None)

    def _sweeps(self) -> list[Step]:
        return [step for name in self._connections for step in self._swept.get(name) or self._sweep_of(name)]

    def _sweep_of(self, name: str) -> list[Step]:
        if self._needs_no_deployment(name) is None:
            return []
        read = Step(action=Action.READ_RETIREMENTS, connection=name, why="when base models are taken away")
        sweep = Step(action=Action.SWEEP, connection=name, why="what the provider has, against the log")
        steps = self._swept[name] = [sweep, read]
        return steps

    def _needs_no_deployment(self, name: str) -> bool | None:
        """None where the connection cannot be opened."""
        connection = self._connections.get(name)
        if connection is None:
            return None
        try:
            return self._providers.of(connection).capabilities.serving == "none"
        except TenureError:
            return None


def _forget_what_rests(group: _Group) -> None:
    wanted = {one.version for one in group.versions.values() if _is_moving(one)}
    left = [one for one in group.deployments.values() if one.state not in GONE or one.version in wanted]
    group.deployments = {one.id: one for one in left}
    wanted |= {one.version for one in group.deployments.values()}
    group.versions = {number: one for number, one in group.versions.items() if number in wanted}


def _has_standby(group: _Group) -> bool:
    serving = (one.version for one in group.deployments.values() if one.state == "serving")
    return any(number in group.versions and group.versions[number].state != "active" for number in serving)


def _is_moving(version: VersionState) -> bool:
    return (
        version.state in MOVING
        or version.deletion_requested
        or (version.state in OVER and version.submitted and not version.job_final)
    )


def about(step: Step) -> str | None:
    """The model that a step is about."""
    if step.deployment is not None:
        return model_of(step.deployment)
    return step.version.model if step.version is not None else step.model


def model_of(deployment: DeploymentState) -> str:
    """Of an orphan: the model that it seems to belong to, whose policy says what is done about it."""
    return deployment.model or (deployment.suspected or "").rpartition("@")[0]


def _age(deployment: DeploymentState) -> tuple[float, str]:
    return (deployment.requested_at.timestamp() if deployment.requested_at else 0.0, deployment.id)


def _order(step: Step) -> tuple[bool, float]:
    """What may be billed goes before what is not yet; within that, the order of the plan, by age."""
    about = step.deployment
    if about is None or step.action in {Action.SWITCH, Action.ABANDON}:
        return (True, 0.0)
    return (False, _age(about)[0])
