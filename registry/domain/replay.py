"""Let another policy live through a model's recorded history: what it would have deployed and deleted, and its cost.

Pure and deterministic: a small simulation with the recorded happenings as its input. What people asked for stays as it
was; what policies did is decided anew. A deployment takes as long to come up, and costs as much, as the version's own
did, or as the model's others did in the middle.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from registry.domain import budget, ledger
from registry.domain.activating import by_policy, loss_of
from registry.domain.deploying import GONE
from registry.domain.errors import RefusedError
from registry.domain.events import Price
from registry.domain.plan import idle_since
from registry.domain.policy import Policy
from registry.domain.recorded import Happening, Lasted, Record
from registry.domain.states import DeploymentState, VersionState

EVENTS_MAX = 1_000_000
"""Of one replay: a policy that never comes to rest is a bug, not a long wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`what`: activate | deploy | delete deployment | delete version | refuse."""

    at: datetime
    what: str
    subject: str
    actor: str
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`cost`: of serving, as far as prices are known; `unpriced` deployments are in no sum."""

    acts: tuple[Act, ...]
    deployments: tuple[DeploymentState, ...]
    cost: Decimal
    recorded: tuple[Act, ...]
    recorded_cost: Decimal
    unpriced: int

    @property
    def difference(self) -> Decimal:
        return self.cost - self.recorded_cost


def replay(
    model: str, record: Record, policy: Policy, *, until: datetime, needs_deployment: bool = True, price: Price | None
) -> Replay:
    """`price`: what an hour costs today, for versions that were never deployed; None: unknown."""
    world = _World(model, record, policy, until, needs_deployment=needs_deployment, price=price)
    world.run()
    costs = [_cost(one, until) for one in world.deployments]
    return Replay(
        acts=tuple(world.acts),
        deployments=tuple(world.deployments),
        cost=sum((one for one in costs if one is not None), Decimal(0)),
        recorded=tuple(Act(at=at, what=what, subject=on, actor=who, why=why) for at, what, on, who, why in record.acts),
        recorded_cost=sum((_cost(one, until) or Decimal(0) for one in record.deployments), Decimal(0)),
        unpriced=sum(one is None for one in costs),
    )


def _cost(deployment: DeploymentState, until: datetime) -> Decimal | None:
    since = ledger.billed_since(deployment)
    if since is None or since >= until:
        return Decimal(0)
    return ledger.total(one.cost for one in ledger.charges(deployment, from_=since, to=until))


@dataclass(order=True, slots=True)
class _Due:
    at: datetime
    order: int
    do: Callable[[], None] = field(compare=False)


class _World:
    """Versions and deployments as they would have been. Everything happens in the order of time."""

    def __init__(
        self,
        model: str,
        record: Record,
        policy: Policy,
        until: datetime,
        *,
        needs_deployment: bool,
        price: Price | None,
    ) -> None:
        self.acts: list[Act] = []
        self.deployments: list[DeploymentState] = []
        self._model = model
        self._record = record
        self._policy = policy
        self._until = until
        self._needs_deployment = needs_deployment
        self._price = price
        self._versions: dict[int, VersionState] = {}
        self._used: dict[int, datetime] = {}
        self._active: int | None = None
        self._due: list[_Due] = []
        self._count = 0
        self._usual = record.usual()
        self.now = until

    def run(self) -> None:
        for one in self._record.happenings:
            self._at(one.at, lambda one=one: self._happens(one))
        for _ in range(EVENTS_MAX):
            if not self._due or self._due[0].at > self._until:
                return
            due = heapq.heappop(self._due)
            self.now = due.at
            due.do()
        raise AssertionError("a replay that never ends")

    def _at(self, at: datetime, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, _Due(at, self._count, do))

    def _act(self, what: str, version: int, actor: str, why: str | None) -> None:
        subject = f"{self._model}@{version}"
        self.acts.append(Act(at=self.now, what=what, subject=subject, actor=actor, why=why))

    # What happens whatever the policy says

    def _happens(self, one: Happening) -> None:
        match one.what:
            case "trained":
                self._trained(one)
            case "used":
                self._used[one.version] = one.at
            case _ if one.version in self._versions:
                self._asked(one, self._versions[one.version])
            case _:
                pass

    def _trained(self, one: Happening) -> None:
        self._versions[one.version] = VersionState(
            model=self._model,
            version=one.version,
            state="trained",
            method="imported" if one.imported else "supervised",
            metrics={} if one.valid_loss is None else {"valid_loss": one.valid_loss},
            changed_at=self.now,
        )
        if one.imported:
            return
        if self._policy.deploy == "on-trained":
            self._deploy(one.version, "standby", "policy:deploy-on-trained", "deploy = on-trained")
        self._policy_activates(self._versions[one.version])

    def _asked(self, one: Happening, version: VersionState) -> None:  # noqa: C901 - one line for each kind
        match one.what:
            case "approved":
                if one.actor not in version.approvals:
                    version.approvals = (*version.approvals, one.actor)
                    if version.state == "trained" and version.activation_requested_at is None:
                        self._policy_activates(version)
            case "activate":
                self._activate(version, one.actor, "asked for")
            case "deploy":
                self._deploy(one.version, "standby", one.actor, "asked for")
            case "attach":
                self._attach(version)
            case "retire" if self._active == one.version:
                self._active = None
                self._retire(version)
            case "undeploy":
                self._undeploy(version, one.actor)
            case "delete" if version.state in {"trained", "retired"}:
                self._delete_version(version, one.actor, "asked for")
            case "lost":
                self._lose(version)
            case _:
                pass

    # Activation

    def _policy_activates(self, version: VersionState) -> None:
        others = [one for one in version.approvals if one != self._record.authors.get(version.version)]
        if len(others) < self._policy.approvals:
            return
        active = self._versions[self._active] if self._active else None
        wish = by_policy(self._policy, loss_of(version.metrics), active)
        if wish is not None:
            self._activate(version, wish.actor, wish.reason, approved=True)

    def _activate(self, version: VersionState, actor: str, why: str | None, *, approved: bool = False) -> None:
        if version.state not in {"trained", "retired"}:
            return
        others = [one for one in version.approvals if one != actor]
        if not approved and len(others) < self._policy.approvals:
            self._act("refuse", version.version, actor, f"it needs {self._policy.approvals_needed}")
            return
        live = self._live(version.version)
        if self._needs_deployment and not live:
            if self._policy.deploy == "manual":
                self._act("refuse", version.version, actor, "deploy = manual, and it has no deployment")
                return
            if not self._deploy(version.version, "activation", actor, why):
                return
        for other in self._versions.values():
            if other.state == "deploying":
                other.state = "trained"
        self._act("activate", version.version, actor, why)
        version.state = "deploying"
        version.activation_requested_at = self.now
        self._switch(version)

    def _switch(self, version: VersionState) -> None:
        """If it is to become active and something serves it."""
        serves = not self._needs_deployment or any(one.state == "serving" for one in self._live(version.version))
        if version.state != "deploying" or not serves:
            return
        previous = self._versions[self._active] if self._active and self._active != version.version else None
        version.state, self._active = "active", version.version
        if previous is not None:
            self._retire(previous)

    def _retire(self, version: VersionState) -> None:
        version.state, version.retired_at = "retired", self.now
        if self._policy.superseded == "delete":
            grace = self._policy.superseded_grace
            self._at(self.now + grace, lambda: self._superseded(version))
        self._watch_idle(version)
        self._keep_artifacts()

    def _superseded(self, version: VersionState) -> None:
        since = version.retired_at
        if version.state != "retired" or since is None or self.now < since + self._policy.superseded_grace:
            return
        for one in self._live(version.version):
            if one.requested_at is not None and one.requested_at <= since:
                self._delete(one, "policy:delete-superseded", "superseded = delete")

    # Deployments

    def _live(self, version: int) -> list[DeploymentState]:
        return [one for one in self.deployments if one.version == version and one.state not in GONE | {"deleting"}]

    def _deploy(self, version: int, purpose: str, actor: str, why: str | None) -> bool:
        """Whether there is one now. Refused where the budget says so."""
        if not self._needs_deployment or self._live(version):
            return True
        lasted = self._lasted(version)
        price = Price(
            hourly=lasted.hourly,
            currency=self._price.currency if self._price else "USD",
            source="recorded" if lasted.hourly is not None else "unknown",
        )
        replaced = self._live(self._active) if self._active and purpose == "activation" else []
        spending = budget.Spending(
            model=self._model,
            now=self.now,
            deployments=tuple(self.deployments),
            replaced=frozenset(one.id for one in replaced if self._policy.superseded == "delete"),
        )
        try:
            budget.check_deployment(self._policy, price, spending)
        except RefusedError as refusal:
            self._act("refuse", version, actor, refusal.message)
            return False
        self._act("deploy", version, actor, why)
        one = self._made(version, purpose, lasted)
        self._at(self.now + lasted.serving, lambda: self._serves(one))
        return True

    def _made(self, version: int, purpose: str, lasted: Lasted) -> DeploymentState:
        one = DeploymentState(
            id=f"replayed-{len(self.deployments) + 1}",
            state="provisioning",
            model=self._model,
            version=version,
            purpose=purpose,
            hourly=lasted.hourly,
            requested_at=self.now,
            billed_from=self.now + lasted.billed,
        )
        self.deployments.append(one)
        return one

    def _attach(self, version: VersionState) -> None:
        if not self._live(version.version):
            one = self._made(version.version, "standby", self._lasted(version.version))
            one.attached, one.billed_from = True, self.now
            self._serves(one)

    def _lasted(self, version: int) -> Lasted:
        """What the version's next deployment takes: as its own did in truth, else as the model's others."""
        before = sum(one.version == version for one in self.deployments)
        known = self._record.lasted.get(version, [])
        if known:
            return known[min(before, len(known) - 1)]
        usual = self._usual
        hourly = usual.hourly if usual.hourly is not None else (self._price.hourly if self._price else None)
        return Lasted(billed=usual.billed, serving=usual.serving, gone=usual.gone, hourly=hourly)

    def _serves(self, one: DeploymentState) -> None:
        if one.state != "provisioning":
            return
        one.state, one.serving_at = "serving", self.now
        version = self._versions[one.version]
        self._switch(version)
        self._watch_idle(version)

    def _delete(self, one: DeploymentState, actor: str, why: str) -> None:
        self._act("delete deployment", one.version, actor, why)
        lasted = self._record.lasted.get(one.version, [self._usual])[0]
        one.state = "deleting"
        one.billed_to = max(self.now + lasted.gone, one.billed_from or self.now)
        self._at(one.billed_to, lambda: self._gone(one))

    def _gone(self, one: DeploymentState) -> None:
        one.state = "deleted"
        self._keep_artifacts()

    def _undeploy(self, version: VersionState, actor: str) -> None:
        live = self._live(version.version)
        if live and not (version.state == "active" and len(live) == 1):
            self._delete(live[0], actor, "asked for")

    def _lose(self, version: VersionState) -> None:
        """The provider drops it; the active version's is made again at once."""
        for one in self._live(version.version)[:1]:
            one.state, one.billed_to = "lost", self.now
            if version.state == "active":
                self._deploy(version.version, "activation", "scheduler", "the provider dropped it")

    # Cleaning up

    def _watch_idle(self, version: VersionState) -> None:
        limit = self._policy.idle_delete
        if limit is None:
            return
        for one in self._live(version.version):
            since = idle_since(one, version, self._used.get(version.version)) if one.state == "serving" else None
            if since is not None:
                self._at(max(since + limit, self.now), lambda one=one: self._idle(one, version, limit))

    def _idle(self, one: DeploymentState, version: VersionState, limit: timedelta) -> None:
        since = idle_since(one, version, self._used.get(version.version))
        if one.state != "serving" or since is None:
            return
        if since + limit <= self.now:
            self._delete(one, "policy:delete-idle", "idle_delete: nobody called it")
        else:
            self._at(since + limit, lambda: self._idle(one, version, limit))

    def _keep_artifacts(self) -> None:
        keep = self._policy.keep_artifacts
        if keep is None:
            return
        retired = sorted((one for one in self._versions.values() if one.state == "retired"), key=lambda v: -v.version)
        for version in reversed(retired[keep:]):
            leaving = any(one.version == version.version and one.state not in GONE for one in self.deployments)
            if not leaving and version.method != "imported":
                self._delete_version(version, "policy:keep-artifacts", f"keep_artifacts = {keep}")

    def _delete_version(self, version: VersionState, actor: str, why: str) -> None:
        self._act("delete version", version.version, actor, why)
        for one in self._live(version.version):
            self._delete(one, actor, why)
        version.state = "deleted"


def compared(replayed: Replay) -> list[tuple[Act, str]]:
    """Both histories as one list by time: each act with `both`, `replay` or `record`, whichever has it."""
    left = list(replayed.recorded)
    rows: list[tuple[Act, str]] = []
    for act in replayed.acts:
        same = next((one for one in left if (one.what, one.subject) == (act.what, act.subject)), None)
        if same is not None:
            left.remove(same)
        rows.append((act, "replay" if same is None else "both"))
    return sorted([*rows, *((one, "record") for one in left)], key=lambda row: row[0].at)
