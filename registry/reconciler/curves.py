"""Losses of training jobs: read while a job is under way, when it ends, and a while after: files may show late."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from providers.errors import ProviderError
from providers.ports import MetricPoint
from registry.application.ports import Metric, VersionQuery
from registry.domain.states import ConnectionState, VersionState
from registry.domain.versions import ref_of
from registry.reconciler.parts import Steps

logger = logging.getLogger("tenure.reconciler")
LATE_MAX = timedelta(hours=1)
"""How long after a job's end its losses are still looked for, at each sweep."""
LATE_READS_MAX = 20
"""Of a connection's newest versions, in one sweep: each takes calls of its own."""
SUCCEEDED = frozenset({"trained", "deploying", "active", "retired"})


class Curves(Steps):
    def read(self, version: VersionState, job_id: str) -> None:
        """What is new since the last look. Raises ProviderError."""
        key = (str(ref_of(version)), version.attempt)
        points = self._points(version, job_id, after_step=self._looks.metrics_step.get(key, 0))
        if points:
            # The last step is asked for again: its evaluation may be logged after its training loss.
            self._looks.metrics_step[key] = max(point.step for point in points) - 1

    def read_late(self, connection: ConnectionState) -> None:
        """Of jobs that have just ended, the curves that are not there yet. One that is not to be had is no failure."""
        query = VersionQuery(connection=connection.name, states=SUCCEEDED, limit=LATE_READS_MAX)
        since = self._clock() - LATE_MAX
        for version in self._log.versions(query).items:
            if version.job_id is None or version.trained_at is None or version.trained_at < since:
                continue
            if self._is_whole(version):
                continue
            try:
                self._points(version, version.job_id, after_step=0)
            except ProviderError as error:
                logger.warning("%s: its losses cannot be read: %s", ref_of(version), error.message)

    def _is_whole(self, version: VersionState) -> bool:
        wanted = {"train_loss"} if version.validation is None else {"train_loss", "valid_loss"}
        return wanted <= {one.name for one in self._log.metrics(ref_of(version), attempt=version.attempt)}

    def _points(self, version: VersionState, job_id: str, *, after_step: int) -> Sequence[MetricPoint]:
        """Those after a step, recorded."""
        points = self._provider(version.connection).training.metrics(job_id, after_step=after_step)
        now = self._clock()
        found = [
            Metric(
                attempt=version.attempt,
                step=point.step,
                name=name,
                value=value,
                epoch=point.epoch,
                recorded_at=point.recorded_at or now,
            )
            for point in points
            for name, value in point.metrics.items()
        ]
        if found:
            self._log.record_metrics(ref_of(version), found)
        return points
