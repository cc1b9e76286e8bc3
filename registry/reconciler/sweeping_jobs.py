"""The part of a sweep that looks for training jobs of ours which no version knows; and their end, by policy.

Those that run, and those that ended of late: a create that was not heard may have made one that no list showed in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from providers.errors import RejectedError
from providers.ports import JobReport, Provider
from registry.application.unit import Command, Unit
from registry.domain import orphan_jobs
from registry.domain.events import NewEvent
from registry.domain.ids import numbers_in
from registry.domain.plan import Action, Step
from registry.domain.states import ConnectionState, OrphanJob, VersionState
from registry.domain.versions import Who, job_name
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import Done, Waiting

Stray = tuple[JobReport, VersionState | None]
"""A job, and the version that it is a second job of."""
Decided = tuple[list[NewEvent], dict[str, object]]
ENDED = timedelta(days=7)
"""How long ago a job may have ended by itself to be looked for: the registry may have been down meanwhile."""
_BEFORE_THAT = timedelta(days=1)
"""Clocks differ, and a provider need not tell how long a job took."""


class SweepingJobs(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._known: dict[str, frozenset[str]] = {}
        """By connection, jobs that have ended and that the log names."""
        self._recording = threading.Lock()
        self.performers: dict[Action, Callable[[Step], Done]] = {Action.STOP_ORPHAN_JOB: self.stop}

    def sweep(self, connection: ConnectionState) -> list[str]:
        """Records what is new; what it says is for people."""
        strays = self.look(connection)
        if strays:
            self._record(connection.name, strays)
        over = self._over(connection)
        if not (strays or over):
            return []
        seen = Who(actor=f"provider:{connection.name}")
        for job_id, status in over.items():
            self._append(connection.name, lambda now, job=job_id, word=status: orphan_jobs.ended(now, job, word, seen))
        return [*sentences(strays), *(f"{job_id} runs no more ({status})" for job_id, status in over.items())]

    def _record(self, name: str, strays: list[Stray]) -> None:
        who = Who(actor=f"provider:{name}", reason="it bears our name, and no version here knows it")
        models = self._models()
        with self._recording:  # another connection to the same account may have found the same
            for report, original in strays:
                if report.outcome != "running" and report.id in self._named_since(begun_at(report)):
                    continue

                def decide(unit: Unit, job: JobReport = report, of: VersionState | None = original) -> Decided:
                    now = unit.connection(name)
                    others = [state for one in self._others(name) if (state := unit.connection(one.name))]
                    return ([] if now is None else orphan_jobs.found(now, others, job, of, models, who)), {}

                self._door.run(Command(name="orphan-job", body={"job": report.id}, who=who), decide)

    def look(self, connection: ConnectionState) -> list[Stray]:
        """The list first, then the log: what is in the list was asked for before, and its intent is in the log."""
        provider = self._providers.of(connection)
        if not provider.capabilities.fine_tuning:
            return []
        shown = provider.training.unfinished(or_ended_since=self._clock() - ENDED)
        if not shown:
            return []
        versions = self._log.motion().versions
        strays = orphan_jobs.strays(connection, versions, shown, self._others(connection.name))
        ended = self._unheard_of(connection.name, [one for one in shown if one.outcome != "running"])
        if not (strays or ended):
            return []
        awaited = self._awaited(provider, connection, versions)
        still = provider.training.poll([one.id for one, _ in strays])
        running = [
            (still[one.id], original)
            for one, original in strays
            if one.id not in awaited and one.id in still and still[one.id].outcome == "running"
        ]
        return running + [(one, original) for one, original in ended if one.id not in awaited]

    def _unheard_of(self, name: str, ended: list[JobReport]) -> list[Stray]:
        """Those that the log does not name, once, and once their version's own polls look for no more of them."""
        models, unsure = self._models(), list[Stray]()
        for one in ended:
            version = self._owner(one.name, models)
            over = version is None or version.state not in {"queued", "training"}
            if over and (version is None or one.id not in (version.job_id, *version.duplicate_jobs)):
                unsure.append((one, version))
        known = self._known.get(name, frozenset())
        if any(one.id not in known for one, _ in unsure):
            known = self._known[name] = self._named_since(min(begun_at(one) for one, _ in unsure))
        return [(one, version) for one, version in unsure if one.id not in known]

    def _owner(self, name: str, models: set[str]) -> VersionState | None:
        """The version that the name was made for; one to which its number was given out again is another."""
        ref, numbers = orphan_jobs.made_for(name, models), numbers_in(name)
        version = None if ref is None else self._log.version(ref)
        if version is None or numbers is None:
            return None
        return version if job_name(self._commands.registry_id(), version, numbers[1]) == name else None

    def _named_since(self, moment: datetime) -> frozenset[str]:
        after = self._log.position_at(moment)
        named = (orphan_jobs.named_by(event) for event in self._log.read(after=after))
        return frozenset(one for one in named if one is not None)

    def _models(self) -> set[str]:
        return {one.name for one in self._log.models()}

    def _others(self, name: str) -> list[ConnectionState]:
        return [one for one in self._log.connections() if one.name != name and not one.removed]

    def _awaited(self, provider: Provider, connection: ConnectionState, versions: tuple[VersionState, ...]) -> set[str]:
        """Jobs whose create was asked for, and whose answer is not recorded yet: they are looked up, and adopted.

        Also by another connection, which may be to the same account.
        """
        kin = [one for one in versions if one.provider == connection.provider]
        awaited: set[str] = set()
        for one in kin:
            if one.submitted and one.job_id is None:
                made = provider.training.find(name=one.job_name or "", token=one.job_token or "")
                if made:
                    self._looks.seen(one.job_name or "")
                awaited.update(job.id for job in made)
        return awaited

    def _over(self, connection: ConnectionState) -> dict[str, str]:
        """Those that are known as strays and run no more, by their own reports."""
        known = [one.job_id for one in connection.orphan_jobs]
        if not known:
            return {}
        reports = self._providers.of(connection).training.poll(known)
        return {
            job_id: reports[job_id].status if job_id in reports else "gone"
            for job_id in known
            if job_id not in reports or reports[job_id].outcome != "running"
        }

    def stop(self, step: Step) -> Done:
        """Asked to stop until it is seen to have ended."""
        assert step.job is not None
        connection, job_id = self._log.connection(step.connection), step.job.job_id
        if connection is None or connection.removed:
            raise RejectedError(f"connection {step.connection!r} is not declared", operation="connect")
        training = self._providers.of(connection).training
        report = training.poll([job_id]).get(job_id)
        if report is not None and report.outcome == "running":
            training.cancel(job_id)
            report = training.poll([job_id]).get(job_id)
            if report is not None and report.outcome == "running":
                return Waiting("stopping")
        status = report.status if report is not None else "gone"
        who = Who(actor=step.actor, reason=step.why)
        self._append(connection.name, lambda now: orphan_jobs.ended(now, job_id, status, who))
        return status

    def _append(self, name: str, decide: Callable[[ConnectionState], list[NewEvent]]) -> None:
        def decision(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            current = unit.connection(name)
            return ([] if current is None else decide(current)), {}

        command = Command(name="orphan-job", body={"connection": name}, who=Who(actor="scheduler"))
        self._door.run(command, decision)


def begun_at(ended: JobReport) -> datetime:
    """Nothing in the log can name it before."""
    assert ended.finished_at is not None
    return ended.finished_at - timedelta(seconds=ended.duration_s or 0.0) - _BEFORE_THAT


def sentences(strays: list[Stray], known: Sequence[OrphanJob] = ()) -> list[str]:
    """What was found, for people. `known`: what an earlier sweep had found, and nobody has seen to end."""
    told = [
        f"training job {one.job_id} ({one.name}) runs since {one.found_at:%Y-%m-%d %H:%M} UTC at least, and no version"
        " here knows it"
        for one in known
    ]
    return told + [
        f"training job {one.id} ({one.name}) {_stands(one)}, and no version here knows it"
        if original is None
        else f"training job {one.id} is a second one of {original.model}@{original.version}, and {_stands(one)}"
        for one, original in strays
    ]


def _stands(job: JobReport) -> str:
    return "runs" if job.outcome == "running" else f"has ended ({job.status})"
