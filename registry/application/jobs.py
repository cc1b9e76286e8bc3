"""What people ask of a training job itself, at the provider: pause it, let it go on, show its checkpoints."""

from __future__ import annotations

from typing import Literal

from providers.errors import RejectedError, UnauthorizedError
from providers.ports import JobReport, Provider
from registry.application.commands import provider_errors
from registry.application.ports import Providers
from registry.application.reading import Reading
from registry.application.unit import Command, Door, Unit
from registry.application.views import CheckpointView
from registry.domain import events as ev
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, version_stream
from registry.domain.states import VersionState
from registry.domain.versions import Who, refused

Steering = Literal["pause", "resume"]
PAUSED = frozenset({"paused", "pausing"})


class Jobs:
    def __init__(self, *, reading: Reading, providers: Providers, door: Door) -> None:
        self._reading = reading
        self._providers = providers
        self._door = door

    def steer(self, ref: VersionRef, what: Steering, who: Who) -> None:
        """Pause a job or let it go on; what is so already is success. The status that follows is recorded.

        Raises RefusedError where the provider has no pausing, nothing trains, or the job cannot do it now.
        """
        version, provider = self._of(ref)
        if not provider.capabilities.pause:
            raise refused(version, f"{version.provider} has no pausing")
        if version.state != "training" or version.job_id is None:
            raise refused(version, f"{ref} is {version.state}: there is no job to {what}")
        report = _steered(provider, version.job_id, what, ref)

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            now = unit.version(ref)
            if now is None or report is None or now.job_final or now.job_status == report.status:
                return [], {}
            finish = report.estimated_finish_at
            changed = ev.JobStatusChanged(status=report.status, estimated_finish_at=finish)
            return [who.says(version_stream(ref), changed)], {}

        self._door.run(Command(name=what, body={"ref": str(ref)}, who=who), decide)

    def checkpoints(self, ref: VersionRef) -> list[CheckpointView]:
        """Those that the provider has, in step order. Each can be imported as a version of its own."""
        version, provider = self._of(ref)
        if version.job_id is None or not provider.capabilities.checkpoints:
            return []
        with provider_errors():
            found = provider.training.checkpoints(version.job_id)
        return [CheckpointView(step=one.step, artifact=one.artifact.id, metrics=dict(one.metrics)) for one in found]

    def _of(self, ref: VersionRef) -> tuple[VersionState, Provider]:
        version = self._reading.version_state(ref)
        return version, self._providers.of(self._reading.connection_state(version.connection))


def _steered(provider: Provider, job: str, what: Steering, ref: VersionRef) -> JobReport | None:
    act = provider.training.pause if what == "pause" else provider.training.resume
    with provider_errors():
        try:
            act(job)
        except UnauthorizedError:
            raise
        except RejectedError as refusal:
            report = provider.training.poll([job]).get(job)
            if report is None or (report.status in PAUSED) != (what == "pause"):
                raise RefusedError(f"{ref} cannot {what}: {refusal.message}", state="training") from refusal
            return report
        return provider.training.poll([job]).get(job)
