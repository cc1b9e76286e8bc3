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

STATES_KEPT_MAX = 150_000
"""About 1 KB each. The last fold is kept whatever its size; those before it as long as all have room."""

States = Mapping[str, State]


class Past:
    """Positions are ones that have been applied. Answers are the caller's own. Safe to use from many threads."""

    def __init__(self, database: Database, reads: Reads, *, states_max: int = STATES_KEPT_MAX) -> None:
        self._states_max = states_max
        self._database = database
        self._reads = reads
        self._kept: dict[tuple[str, int], States] = {}
        """By the beginning of the streams' names, and position; the last used last."""
        self._lock = threading.Lock()
        """Held while folding: who asks for the same meanwhile gets it from what is kept."""

    def state(self, stream: str, at: int) -> State | None:
        kept = self._kept.get((_kind(stream), at))
        state = self._reads.folded([stream], at=at).get(stream) if kept is None else kept.get(stream)
        return None if state is None else copy_of(state)

    def all_of(self, kind: str, at: int) -> Sequence[State]:
        return [copy_of(one) for one in sorted(self._states(f"{kind}:", at), key=attrgetter("name"))]

    def versions(self, query: VersionQuery, at: int) -> VersionPage:
        prefix = "version:" if query.model is None else f"version:{query.model}@"
        page = select_versions(cast("Collection[VersionState]", self._states(prefix, at)), query)
        return VersionPage(items=tuple(copy_of(one) for one in page.items), next=page.next)

    def deployments(self, query: DeploymentQuery, at: int) -> Sequence[DeploymentState]:
        if query.model is None or ("deployment:", at) in self._kept:
            states = self._states("deployment:", at)
        else:
            names = [name for name in self._reads.model_streams(query.model) if name.startswith("deployment:")]
            states = self._reads.folded(names, at=at).values()
        return [copy_of(one) for one in select_deployments(cast("Collection[DeploymentState]", states), query)]

    def _states(self, prefix: str, at: int) -> Collection[State]:
        """Shared: to be copied before anybody gets them."""
        with self._lock:
            whole = self._kept.get((_kind(prefix), at))
            if whole is not None and prefix != _kind(prefix):
                return [state for stream, state in whole.items() if stream.startswith(prefix)]
            key = (prefix, at)
            states = self._kept.pop(key, None)
            if states is None:
                states = self._database.asked(lambda cursor: fold(cursor, until=at, prefix=prefix))
            self._kept[key] = states
            self._forget()
            return states.values()

    def _forget(self) -> None:
        held = sum(map(len, self._kept.values()))
        for key in list(self._kept)[:-1]:
            if held <= self._states_max:
                return
            held -= len(self._kept.pop(key))


def _kind(stream: str) -> str:
    return f"{split(stream)[0]}:"
