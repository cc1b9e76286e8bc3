"""What stands against new work that costs money: a model's budget, and too little room to record what it does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from registry.application.ports import Clock, DeploymentQuery, EventLog, VersionQuery
from registry.domain import budget, deploying
from registry.domain.errors import UnavailableError
from registry.domain.policy import Policy
from registry.domain.states import ModelState, VersionState

FREE_BYTES_MIN = 256 * 2**20
"""Below this much room nothing new is begun that is billed: what it does could soon not be recorded."""
TRAINING_MAX = timedelta(days=60)
"""Longer than any training takes from its request to its end."""
PAGE = 200


class Limits:
    """`free_bytes`: how much room there is where the home lies; by default, what the file system says."""

    def __init__(self, *, log: EventLog, clock: Clock, home: Path, free_bytes: Callable[[], int] | None = None) -> None:
        self._log = log
        self._clock = clock
        self._home = home
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(home).free)
        self.money = threading.RLock()
        """Held from the check of a budget until what it allows is recorded: one process owns the log, and two
        deployments that fit one by one must not both be allowed."""

    def policy(self, model: ModelState | None) -> Policy:
        """Its own keys, then the registry's, then the defaults."""
        return Policy.of(model.policy if model else {}, self._log.registry().policy)

    def check_space(self) -> None:
        """Raises UnavailableError while there is too little room for what is new and billed."""
        free = self._free_bytes()
        if free < FREE_BYTES_MIN:
            raise UnavailableError(
                f"{free // 2**20} MiB are free at {self._home}: nothing that is billed is begun below"
                f" {FREE_BYTES_MIN // 2**20} MiB, because it could soon not be recorded",
                hint="make room; reading, deleting and what runs already go on",
            )

    def spending(self, name: str, *, activating: VersionState | None = None) -> tuple[Policy, budget.Spending]:
        """A model's policy, and its money now. `activating`: the version that the next deployment is for."""
        model = self._log.model(name)
        policy, now = self.policy(model), self._clock()
        if policy.max_hourly_cost is None and policy.max_monthly_cost is None:
            return policy, budget.Spending(model=name, now=now)
        deployments = self._log.deployments(DeploymentQuery(model=name))
        moving = self._log.versions(VersionQuery(model=name, states=frozenset({"deploying"}))).items
        served = {one.version for one in deployments if one.state in deploying.USABLE}
        mine = activating.version if activating is not None else None
        active = model.active if model is not None and activating is not None else None
        gone_soon = {one.id for one in deployments if one.version == active and policy.superseded == "delete"}
        return policy, budget.Spending(
            model=name,
            now=now,
            deployments=deployments,
            versions=self._trainings(name, budget.month(now)[0]) if policy.max_monthly_cost is not None else (),
            asked=sum(one.version != mine and one.version not in served and _waits(one, mine) for one in moving),
            replaced=frozenset(gone_soon),
        )

    def _trainings(self, model: str, since: datetime) -> list[VersionState]:
        """Under way, or over since then. Newest first, as far as one that was made long before."""
        found: list[VersionState] = []
        after = None
        while True:
            page = self._log.versions(VersionQuery(model=model, limit=PAGE, after=after))
            found += [
                one
                for one in page.items
                if one.state in budget.UNDER_WAY or (one.trained_at is not None and one.trained_at >= since)
            ]
            after, last = page.next, page.items[-1].created_at if page.items else None
            if after is None or last is None or last < since - TRAINING_MAX:
                return found


def _waits(version: VersionState, activating: int | None) -> bool:
    """Whether its activation goes on: a later one calls off an earlier one, but not the repair of the active one."""
    return activating is None or version.reactivating
