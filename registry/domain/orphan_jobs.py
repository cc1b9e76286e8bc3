"""Training jobs that bear our name and that no version here knows: they spend money, and nobody waits for them.

They come of a home that was restored from an older backup, of creates that a provider did twice, and of jobs that no
list showed before they were made again, and that may have ended by then. A list alone never decides: what is new in it,
and what is missing from it, is asked for once more by its id. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

from providers.ports import JobReport
from registry.domain import events as ev
from registry.domain.events import Event, NewEvent
from registry.domain.ids import VersionRef, connection_stream
from registry.domain.plan import Action, Step, plain
from registry.domain.policy import Policy
from registry.domain.states import ConnectionState, OrphanJob, VersionState
from registry.domain.versions import Who

_NAME = re.compile(r"tenure-[^-]+-(?P<model>.+)-(?P<number>\d{1,9})-\d{1,9}(?:-[a-z]{4})?")
"""As `resource_name` gives it, where nothing had to be cut."""


def made_for(name: str, models: Collection[str]) -> VersionRef | None:
    """The version that the name was made for, whether or not it is known; None where its model is not."""
    parts = _NAME.fullmatch(name)
    return None if parts is None or parts["model"] not in models else VersionRef(parts["model"], int(parts["number"]))


def named_by(event: Event) -> str | None:
    """The job that the event makes known."""
    match event.payload:
        case ev.TrainingStarted(job=job) | ev.DuplicateJobFound(job=job) | ev.OrphanJobFound(job=job):
            return job.id
        case _:
            return None


def strays(
    connection: ConnectionState,
    in_motion: Iterable[VersionState],
    shown: Sequence[JobReport],
    others: Iterable[ConnectionState] = (),
) -> list[tuple[JobReport, VersionState | None]]:
    """What of ours runs there and is nobody's job; and the version in motion whose job it is a second one of.

    `others`: the other connections, perhaps to the same account; what is theirs, their own sweeps look after.
    """
    every = list(in_motion)
    versions = [one for one in every if one.connection == connection.name]
    elsewhere = [one for one in every if one.connection != connection.name]
    wanted = {one.job_id for one in every} | {job_id for one in elsewhere for job_id in one.duplicate_jobs}
    theirs = {one.job_name for one in elsewhere if one.job_name is not None}
    told = {one.job_id for each in (connection, *others) for one in each.orphan_jobs}
    names = {one.job_name: one for one in versions if one.job_name is not None}
    doubled = {job_id: one for one in versions for job_id in one.duplicate_jobs}
    return [
        (one, doubled.get(one.id) or names.get(one.name))
        for one in shown
        if one.outcome == "running" and one.id not in wanted | told and one.name not in theirs
    ]


def found(
    connection: ConnectionState,
    others: Iterable[ConnectionState],
    report: JobReport,
    duplicate_of: VersionState | None,
    models: Collection[str],
    who: Who,
) -> list[NewEvent]:
    """One that has ended by itself is found and seen to end in one append."""
    if any(one.job_id == report.id for each in (connection, *others) for one in each.orphan_jobs):
        return []
    original = None if duplicate_of is None else VersionRef(duplicate_of.model, duplicate_of.version)
    suspected = original or made_for(report.name, models)
    payload = ev.OrphanJobFound(
        connection=connection.name,
        job=ev.JobRef(id=report.id, name=report.name, status=report.status),
        suspected=None if suspected is None else str(suspected),
        duplicate=original is not None,
    )
    events = [who.says(connection_stream(connection.name), payload)]
    if report.outcome != "running":
        end = ev.OrphanJobEnded(connection=connection.name, job_id=report.id, status=report.status)
        events.append(who.says(connection_stream(connection.name), end))
    return events


def ended(connection: ConnectionState, job_id: str, status: str, who: Who) -> list[NewEvent]:
    if all(one.job_id != job_id for one in connection.orphan_jobs):
        return []
    payload = ev.OrphanJobEnded(connection=connection.name, job_id=job_id, status=status)
    return [who.says(connection_stream(connection.name), payload)]


def steps(connections: Iterable[ConnectionState], policy: Callable[[str], Policy], grace: timedelta) -> Iterable[Step]:
    """What the policy of the model that each seems to belong to does about it; `policy("")` is the registry's own."""
    for connection in connections:
        for one in connection.orphan_jobs:
            model = (one.suspected or "").rpartition("@")[0]
            if one.duplicate:
                why, actor = f"a second job of {one.suspected}", "policy:delete-duplicates"
                yield _stop(connection, one, model, why, actor, timedelta())
            elif policy(model).orphans == "delete":
                why = f"orphans = delete, {plain(grace)} after it was found: no version here is trained by it"
                yield _stop(connection, one, model, why, "policy:delete-orphans", grace)


def _stop(connection: ConnectionState, one: OrphanJob, model: str, why: str, actor: str, grace: timedelta) -> Step:
    return Step(
        action=Action.STOP_ORPHAN_JOB,
        connection=connection.name,
        model=model or None,
        job=one,
        why=why,
        actor=actor,
        due_at=one.found_at + grace,
    )
