"""Steps about jobs and artifacts: submit, look up, poll, stop, delete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from providers.errors import OutcomeUnknownError, RejectedError, UnauthorizedError, UnavailableError
from providers.ports import JobReport
from registry.application.commands import training_request
from registry.application.ports import VersionQuery
from registry.application.unit import Command, Unit
from registry.domain import events as ev
from registry.domain import versions
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.domain.plan import Action, Step
from registry.domain.policy import SchedulerSettings
from registry.domain.states import VersionState
from registry.domain.versions import Who, ref_of
from registry.reconciler.curves import Curves
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import Done, Looking, Waiting

logger = logging.getLogger("tenure.reconciler")
SCHEDULER = Who(actor="scheduler")
CURVES_MAX = 20
"""With more jobs under way on a connection, losses are read when a job ends: each curve costs calls of its own."""


class JobSteps(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._home: Path = parts.commands.home
        self._curves = Curves(parts)
        self.performers: dict[Action, Callable[[Step], Done]] = {
            Action.SUBMIT: self.submit,
            Action.FIND_JOB: self.find,
            Action.STOP_JOB: self.stop_unknown,
            Action.CHECK_OWNER: self.check_owner,
            Action.DELETE_ARTIFACT: self.delete_artifact,
        }
        self.looking = Looking(look=self.look, record=self.record)

    def submit(self, step: Step) -> Done:
        """Intent first; then the create, once."""
        version = _version(step)
        registry = self._commands.registry_id()
        price = self._commands.training_price(version.connection, version.base_model)
        self._append(
            ref_of(version),
            lambda now: versions.submit(now, registry, SCHEDULER, price) if _may_submit(now) else [],
        )
        recorded = self._log.version(ref_of(version))
        if recorded is None or recorded.state != "queued":
            return None
        return self._create(recorded)

    def find(self, step: Step) -> Done:
        """The create may have happened, in this process or in one that was killed: look before anything is repeated."""
        version = _version(step)
        assert version.job_name is not None
        found = self._find(version)
        if isinstance(found, Waiting):
            return found
        if found:
            return self._adopt(version, found)
        self._commands.limits.check_space()
        again = ev.TrainingResubmitted(attempt=version.attempt)
        self._append(
            ref_of(version),
            lambda now: [SCHEDULER.says(f"version:{ref_of(now)}", again)] if now.state == "queued" else [],
        )
        return self._create(version)

    def _find(self, version: VersionState) -> Sequence[JobReport] | Waiting:
        """Every job of this attempt. That there is none is believed after several reads: a list may be stale.

        Where it was asked for long ago none is, but one may be cut short: two on end are enough.
        """
        provider = self._provider(version.connection)
        found = self._all_of(version)
        if not found and version.submitted:
            reads = provider.capabilities.absence_reads or self._looks.absence
            if version.job_name in self._looks.unheard:
                reads = 1
            missed = self._looks.miss(version.job_name or "")
            if missed < reads:
                if not self._long_ago(version, reads):
                    return Waiting(f"not shown in {missed} reads, and it may have been made")
                found = self._all_of(version)
        self._looks.seen(version.job_name or "")
        return found

    def _long_ago(self, version: VersionState, reads: int) -> bool:
        """Whether the create was last asked for before as many reads as an absence takes could have been made."""
        since = version.submitted_at
        poll = SchedulerSettings.of(self._log.registry().scheduler).poll
        return since is not None and self._clock() - since > reads * poll

    def _create(self, version: VersionState) -> Done:
        request = training_request(self._home, version, self._commands.registry_id())
        self._looks.unheard.discard(request.name)
        try:
            report = self._provider(version.connection).training.submit(request)
        except (UnauthorizedError, UnavailableError):
            if not version.outcome_unknown:
                self._looks.unheard.add(request.name)
            raise
        except RejectedError as refusal:
            message = refusal.message
            self._append(ref_of(version), lambda now: versions.failed(now, message, _provider_who(version)))
            return f"refused: {message}"
        except FileNotFoundError as gone:  # a home that was put back without its `data`
            message = f"{gone.filename} is missing: put it back from a copy of the home, and retry"
            self._append(ref_of(version), lambda now: versions.failed(now, message, SCHEDULER))
            return message
        except OutcomeUnknownError as error:
            unknown = ev.TrainingOutcomeUnknown(attempt=version.attempt, error=error.message)
            stream = f"version:{ref_of(version)}"
            self._append(
                ref_of(version),
                lambda now: [] if now.outcome_unknown else [SCHEDULER.says(stream, unknown)],
            )
            raise
        # A request can be delivered twice, with one answer: the provider then has two jobs.
        made = self._all_of(version)
        if all(one.id != report.id for one in made):
            made = [report, *made]
        elif len(made) == 1:
            self._looks.alone.add(report.id)
        return self._adopt(version, made)

    def _all_of(self, version: VersionState) -> Sequence[JobReport]:
        """Every job of an attempt, oldest first."""
        return self._provider(version.connection).training.find(
            name=version.job_name or "", token=version.job_token or ""
        )

    def _adopt(self, version: VersionState, found: Sequence[JobReport]) -> Done:
        """Record the first job; any other that the provider made all the same is recorded and removed before that."""
        known = (self._log.version(ref_of(version)) or version).duplicate_jobs
        first = next((one for one in found if one.id not in known), found[0])
        self._remove_duplicates(version, [one for one in found if one.id != first.id])
        job = ev.JobRef(id=first.id, name=first.name, status=first.status)
        self._append(ref_of(version), lambda now: versions.started(now, job, _provider_who(version)))
        return f"job {first.id}"

    def _remove_duplicates(self, version: VersionState, duplicates: Sequence[JobReport]) -> None:
        provider = self._provider(version.connection)
        for one in duplicates:
            duplicate = ev.DuplicateJobFound(job=ev.JobRef(id=one.id, name=one.name, status=one.status))
            self._append(
                ref_of(version),
                lambda now, found=duplicate: (
                    [] if found.job.id in now.duplicate_jobs else [SCHEDULER.says(f"version:{ref_of(now)}", found)]
                ),
            )
            if one.artifact is not None:
                provider.artifacts.delete(one.artifact.id)
            elif one.outcome == "running":
                provider.training.cancel(one.id)

    def look(self, steps: Sequence[Step]) -> Mapping[str, JobReport]:
        """All jobs of a connection that are under way or being stopped, with one poll."""
        jobs = {str(_version(step).job_id): step.subject for step in steps}
        reports = self._provider(_version(steps[0]).connection).training.poll(list(jobs))
        self._looks.without_curves[steps[0].connection] = len(jobs) > CURVES_MAX
        return {jobs[job]: report for job, report in reports.items()}

    def record(self, step: Step, report: JobReport | None) -> Done:
        version = _version(step)
        if version.job_id is not None and not self._is_clear(version, version.job_id, report):
            return Waiting("not shown")
        if report is not None and not self._is_alone(version, report):
            return Waiting("what else was made of this attempt is not known yet, or still runs")
        if step.action == Action.STOP_JOB:
            return self._stop(version, report)
        assert version.job_id is not None
        if report is None:
            error = f"the provider no longer has job {version.job_id}"
            self._append(ref_of(version), lambda now: versions.failed(now, error, _provider_who(version)))
            return error
        if report.outcome != "running" or not self._looks.without_curves.get(step.connection):
            self._record_losses(version, version.job_id, ended=report.outcome != "running")
        return self._record(version, report)

    def _is_clear(self, version: VersionState, job_id: str, report: JobReport | None) -> bool:
        """Whether it is shown, or several reads in a row have not shown it: one may be older than the job."""
        if report is not None:
            self._looks.seen(job_id)
            return True
        needed = self._provider(version.connection).capabilities.absence_reads or self._looks.absence
        if self._looks.miss(job_id) < needed:
            return False
        self._looks.seen(job_id)
        return True

    def _is_alone(self, version: VersionState, report: JobReport) -> bool:
        """Whether its attempt can end, because no other job of it runs: asked once by each process, and at its end.

        A request may be delivered again later, a stop may do nothing, and a list that does not even show the job that
        is there is too old; what several lists do not show is not waited for.
        """
        if report.outcome == "running" and report.id in self._looks.alone:
            return True
        made = self._all_of(version)
        others = [one for one in made if one.id != report.id]
        self._remove_duplicates(version, others)
        running = any(one.outcome == "running" for one in others)
        if len(made) > len(others) and not running:
            self._looks.alone.add(report.id)
            return True
        return report.outcome == "running" or (not running and self._is_clear(version, f"list of {report.id}", None))

    def _record_losses(self, version: VersionState, job_id: str, *, ended: bool) -> None:
        """Losses that may not be read keep no job from ending."""
        try:
            self._curves.read(version, job_id)
        except RejectedError as refusal:
            if not ended:
                raise
            logger.warning("%s: its losses are not to be had: %s", ref_of(version), refusal.message)

    def _record(self, version: VersionState, report: JobReport) -> Done:
        who = _provider_who(version)
        if report.outcome == "running" and _told(version, report):
            return Waiting(_progress(report))
        if report.outcome == "running":
            changed = ev.JobStatusChanged(status=report.status, estimated_finish_at=report.estimated_finish_at)
            stream = f"version:{ref_of(version)}"
            self._append(
                ref_of(version),
                lambda now: [] if _told(now, report) or now.job_final else [who.says(stream, changed)],
            )
            return Waiting(_progress(report))
        result = versions.Finished(
            outcome=report.outcome,
            status=report.status,
            artifact=ev.ArtifactRef(id=report.artifact.id, digest=report.artifact.digest) if report.artifact else None,
            error=report.error,
            metrics=dict(report.metrics) or self._last_metrics(version),
            trained_tokens=report.trained_tokens,
            duration_s=report.duration_s,
            finished_at=report.finished_at,
            seen_at=self._clock(),
        )
        ref = ref_of(version)

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            now = unit.version(ref)
            return ([] if now is None else self._commands.finished(unit, now, result, who)), {}

        command = Command(name="reconcile", body={"ref": str(ref)}, who=SCHEDULER)
        with self._commands.limits.money:
            self._door.run(command, decide, because=version)
        return report.status

    def stop_unknown(self, step: Step) -> Done:
        """The version is over, and whether it has a job is not known: one that is found is recorded, to be stopped."""
        version = _version(step)
        found = self._find(version)
        if isinstance(found, Waiting):
            return found
        if found:
            return self._adopt(version, found)
        result = versions.Finished(outcome="cancelled", status="never started")
        self._append(ref_of(version), lambda now: versions.finished(now, result, SCHEDULER))
        return "there was no job"

    def _stop(self, version: VersionState, report: JobReport | None) -> Done:
        """The version is over: its job is asked to stop until it is seen in a final status."""
        assert version.job_id is not None
        if report is not None and report.outcome == "running":
            training = self._provider(version.connection).training
            training.cancel(version.job_id)
            report = training.poll([version.job_id]).get(version.job_id)
            if report is not None and report.outcome == "running":
                return Waiting("stopping")
        ended = versions.Finished(
            outcome=report.outcome if report else "cancelled",
            status=report.status if report else "gone",
            artifact=ev.ArtifactRef(id=report.artifact.id, digest=report.artifact.digest)
            if report and report.artifact
            else None,
        )
        self._append(ref_of(version), lambda now: versions.finished(now, ended, _provider_who(version)))
        return ended.status

    def check_owner(self, step: Step) -> Done:
        """A version that somebody's own code trains, in this process or one that was heard of lately, is left alone."""
        version = _version(step)
        if self._commands.trainers.believed(ref_of(version)):
            return Waiting("somebody trains it")
        gone = "the process that trained it ended without a result"
        self._append(
            ref_of(version),
            lambda now: versions.failed(now, gone, SCHEDULER) if now.state == "training" and now.job_final else [],
        )
        return gone

    def delete_artifact(self, step: Step) -> Done:
        version = _version(step)
        if version.artifact_id is not None and not self._shared(version):
            try:
                self._provider(version.connection).artifacts.delete(version.artifact_id)
            except RejectedError:
                # A folder that was imported from elsewhere on this machine is not ours to delete: it stays.
                if version.method != "imported" or version.provider != "huggingface":
                    raise
        self._append(ref_of(version), lambda now: versions.deleted(now, _requested_by(version)))
        return version.artifact_id or "there was no artifact"

    def _shared(self, version: VersionState) -> bool:
        """Whether another version has the same artifact, perhaps by another connection to the account."""
        return any(
            one.state != "deleted"
            for one in self._log.versions(VersionQuery(artifact=version.artifact_id)).items
            if one.provider == version.provider and (one.model, one.version) != (version.model, version.version)
        )

    def _last_metrics(self, version: VersionState) -> dict[str, float]:
        """The last value of each curve of this attempt."""
        last: dict[str, float] = {}
        for one in self._log.metrics(ref_of(version), attempt=version.attempt):
            if one.name in {"train_loss", "valid_loss"}:
                last[one.name] = one.value
        return last

    def _append(self, ref: VersionRef, decide: Callable[[VersionState], list[NewEvent]]) -> None:
        def decision(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            version = unit.version(ref)
            return ([] if version is None else decide(version)), {}

        command = Command(name="reconcile", body={"ref": str(ref)}, who=SCHEDULER)
        self._door.run(command, decision, because=self._log.version(ref))


def _may_submit(version: VersionState) -> bool:
    return version.state == "queued" and not version.submitted


def _version(step: Step) -> VersionState:
    assert step.version is not None
    return step.version


def _provider_who(version: VersionState) -> Who:
    return Who(actor=f"provider:{version.connection}")


def _requested_by(version: VersionState) -> Who:
    return Who(actor="scheduler", reason=f"deletion of {ref_of(version)} was asked for")


def _progress(report: JobReport) -> str | None:
    if report.step is None:
        return report.status
    return f"{report.status}, step {report.step}" + (f" of {report.steps_total}" if report.steps_total else "")


def _told(version: VersionState, report: JobReport) -> bool:
    """Whether the log has this status, and an estimate of the end if there is one."""
    known = version.job_estimated_finish_at is not None or report.estimated_finish_at is None
    return version.job_status == report.status and known
