"""States as of an earlier position, folded from the log; what they were then never changes, so the last ones are kept.

A page of the past asks a dozen questions of one position. Each kind of state is folded once for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import cast

from registry.application.ports import DeploymentQuery, VersionPage, VersionQuery
from registry.domain.states import DeploymentState, State, VersionState
from registry.store.database import Database
from registry.store.folding import fold
from registry.store.projection import copy_of, split
from registry.store.reads import Reads
from registry.store.selection import select_deployments, select_versions

STATES_KEPT_MAX = 50_000
"""About 3 KB each. What was folded for the last position is kept whatever its size, for earlier ones while it fits."""
KEPT_S = 300.0
"""After the last question about the past, nothing of it is kept any longer."""

States = Mapping[str, State]


class Past:
    """Positions are ones that have been applied. Answers are the caller's own. Safe to use from many threads."""

    def __init__(
        self, database: Database, reads: Reads, *, states_max: int = STATES_KEPT_MAX, kept_s: float = KEPT_S
    ) -> None:
        self._database = database
        self._reads = reads
        self._states_max = states_max
        self._kept_s = kept_s
        self._kept: dict[int, dict[str, States]] = {}
        """By position, the last used last, and by the beginning of the streams' names."""
        self._lock = threading.Lock()
        """Held while folding: who asks for the same meanwhile gets it from what is kept."""
        self._timer: threading.Timer | None = None

    def forget(self) -> None:
        """Give the memory back; what is asked for next is folded anew."""
        with self._lock:
            self._kept.clear()
            if self._timer is not None:
                self._timer.cancel()

    def state(self, stream: str, at: int) -> State | None:
        kept = self._kept.get(at, {}).get(_kind(stream))
        state = self._reads.folded([stream], at=at).get(stream) if kept is None else kept.get(stream)
        return None if state is None else copy_of(state)

    def all_of(self, kind: str, at: int) -> Sequence[State]:
        return [copy_of(one) for one in sorted(self._states(f"{kind}:", at), key=attrgetter("name"))]

    def versions(self, query: VersionQuery, at: int) -> VersionPage:
        prefix = "version:" if query.model is None else f"version:{query.model}@"
        page = select_versions(cast("Collection[VersionState]", self._states(prefix, at)), query)
        return VersionPage(items=tuple(copy_of(one) for one in page.items), next=page.next)

    def deployments(self, query: DeploymentQuery, at: int) -> Sequence[DeploymentState]:
        if query.model is None or "deployment:" in self._kept.get(at, {}):
            states = self._states("deployment:", at)
        else:
            names = [name for name in self._reads.model_streams(query.model) if name.startswith("deployment:")]
            states = self._reads.folded(names, at=at).values()
        return [copy_of(one) for one in select_deployments(cast("Collection[DeploymentState]", states), query)]

    def _states(self, prefix: str, at: int) -> Collection[State]:
        """Shared: to be copied before anybody gets them."""
        with self._lock:
            kept = self._kept[at] = self._kept.pop(at, {})
            self._keep_a_while()
            whole = kept.get(_kind(prefix))
            if whole is not None and prefix != _kind(prefix):
                return [state for stream, state in whole.items() if stream.startswith(prefix)]
            if prefix not in kept:
                kept[prefix] = self._database.asked(lambda cursor: fold(cursor, until=at, prefix=prefix))
                self._make_room()
            return kept[prefix].values()

    def _make_room(self) -> None:
        sizes = {at: sum(map(len, kept.values())) for at, kept in self._kept.items()}
        held = sum(sizes.values())
        for at in list(sizes)[:-1]:
            if held <= self._states_max:
                return
            held -= sizes[at]
            del self._kept[at]

    def _keep_a_while(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._kept_s, self.forget)
        self._timer.daemon = True
        self._timer.start()


def _kind(stream: str) -> str:
    return f"{split(stream)[0]}:"
