"""Getting work done: a pass now, and waits that drive the work while they last."""

from __future__ import annotations

import time
from collections.abc import Iterator

from registry.application.views import DeploymentView, EventView, StepView, VersionView
from registry.domain.errors import TenureError
from registry.embedded.questions import Questions
from registry.embedded.version import ENDED, GONE, Progress, Which

STEP_S = 0.2
"""How often a wait looks whether there is something to do or to show, in seconds."""
CLEAN_UP_S_MAX = 120.0
"""How long a wait goes on, after what was asked for is so, until superseded deployments are seen gone."""


class Working(Questions):
    def reconcile(self, *, plan: bool = False, sweep: bool = True) -> list[StepView]:
        """One full pass now; returns when nothing more can be done at once. `plan` says what it would do.

        `sweep`: also compares what each connection has with the log, one list call each.
        """
        reconciler = self._registry.reconciler
        return reconciler.plan(sweep=sweep) if plan else reconciler.run(sweep=sweep)

    def wait(
        self,
        ref: Which,
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

    def follow(
        self, ref: Which | None = None, *, after: int = 0, timeout_s: float | None = None
    ) -> Iterator[EventView]:
        """Events as they come, from a position on; ends when nothing came for `timeout_s`. Drives the work, too."""
        log = self._registry.log
        while True:
            head = log.head()
            streams = self._registry.reading.streams(str(ref)) if ref is not None else None
            for event in log.read(streams=streams, after=after, until=head):
                yield EventView.of(event)
            after = max(after, head)
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while log.head() <= after:
                if deadline is not None and time.monotonic() > deadline:
                    return
                self._drive(None, "")

    def wait_for_deployment(self, id: str, *, until: frozenset[str], timeout_s: float | None = None) -> DeploymentView:
        """Until it is in one of these states (or has failed), driving the work."""
        ends = until | {"failed", "deleted", "lost"}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (view := self.deployment(id)).state not in ends:
            self._drive(deadline, f"{id} is still {view.state}")
        return view


class _Told:
    """What a wait has shown already."""

    def __init__(self, tenure: Working, ref: str, on_progress: Progress | None) -> None:
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
                one
                for one in self._tenure.metrics(self._ref)
                if one.attempt == view.attempt and (one.attempt, one.step, one.name) not in self._seen
            ]
            self._seen.update((one.attempt, one.step, one.name) for one in new)
            self._on_progress(view, new)
        return view
