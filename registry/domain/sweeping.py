"""What a connection's account has, against what the log says: who owns each thing, and what of ours is missing.

Pure. The list is taken before the log is read, so that everything in it that is ours has its intent in the log: the
intent is durable before the create. A list that failed or was cut short never gets here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from providers.ports import DeploymentReport
from registry.domain import events as ev
from registry.domain.deploying import DEPLOYABLE, GONE, deployment_id, key_of, same
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import connection_stream, deployment_stream
from registry.domain.states import ConnectionState, DeploymentState, Foreign, VersionState
from registry.domain.versions import Who, ref_of

SETTLED = frozenset({"serving"})
"""Deployments that a list must show; others are on their way, and have steps of their own that look at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one list says. Everything in it is new: a sweep that finds what is known finds nothing."""

    accepted: tuple[tuple[DeploymentState, DeploymentReport], ...] = ()
    """Intents whose create has happened, though nobody heard of it."""
    orphans: tuple[tuple[DeploymentReport, DeploymentState | None], ...] = ()
    """Ours by their tag, with no intent; and the deployment that each is a duplicate of."""
    reappeared: tuple[tuple[DeploymentState, DeploymentReport], ...] = ()
    """Believed gone, and there."""
    foreign: tuple[DeploymentReport, ...] = ()
    foreign_gone: tuple[Foreign, ...] = ()
    present: tuple[tuple[DeploymentState, DeploymentReport], ...] = ()
    """Known and shown."""
    missing: tuple[DeploymentState, ...] = ()
    """Known to serve, and not shown: one read that missed it, not yet an absence."""

    @property
    def is_news(self) -> bool:
        """Whether the log does not tell it yet. What is missing is none: the next read may show it."""
        return bool(self.accepted or self.orphans or self.reappeared or self.foreign or self.foreign_gone)


def parted(
    every: Iterable[DeploymentState], name: str, connections: Iterable[ConnectionState]
) -> tuple[list[DeploymentState], list[DeploymentState]]:
    """(what a connection ever had, what others ever had which are still declared, and look after it)"""
    every = list(every)
    others = {one.name for one in connections if not one.removed and one.name != name}
    return [one for one in every if one.connection == name], [one for one in every if one.connection in others]


def compare(
    connection: ConnectionState,
    known: Iterable[DeploymentState],
    shown: Sequence[DeploymentReport],
    *,
    elsewhere: Iterable[DeploymentState] = (),
    all_foreign: bool = False,
) -> Sweep:
    """`known`: every deployment that the connection ever had, oldest first. `all_foreign`: also those seen before.

    `elsewhere`: what other connections have, perhaps in the same account; their own sweeps look after it.
    """
    mine, others = list(known), list(elsewhere)
    if not (mine or shown or connection.foreign):
        return Sweep()
    other_ids = {key_of(one.provider_id) for one in others if one.provider_id is not None}
    other_names = {key_of(one.name) for one in others if one.provider_id is None}
    by_id = {key_of(one.provider_id): one for one in mine if one.provider_id is not None}
    by_name = {key_of(one.name): one for one in mine if not one.attached}
    """Names that we gave, which are never reused: under one whose id nobody has heard of, it is that one."""
    orphans: list[tuple[DeploymentReport, DeploymentState | None]] = []
    reappeared: list[tuple[DeploymentState, DeploymentReport]] = []
    foreign: list[DeploymentReport] = []
    present: list[tuple[DeploymentState, DeploymentReport]] = []
    for report in shown:
        namesake = by_name.get(key_of(report.name))
        owner = _owner(report, by_id.get(key_of(report.id)), namesake)
        if owner is None and (key_of(report.id) in other_ids or key_of(report.name) in other_names):
            continue
        if owner is None and not report.ours:
            foreign.append(report)
        elif owner is None:
            orphans.append((report, namesake))
        elif owner.state in GONE:
            reappeared.append((owner, report))
        else:
            present.append((owner, report))
    seen = {one.id for one, _ in present}
    there = {key_of(one.id) for one in foreign}
    before = {key_of(one.provider_id) for one in connection.foreign}
    return Sweep(
        accepted=tuple((owner, report) for owner, report in present if owner.state == "requested"),
        orphans=tuple(orphans),
        reappeared=tuple(reappeared),
        foreign=tuple(one for one in foreign if all_foreign or key_of(one.id) not in before),
        foreign_gone=tuple(one for one in connection.foreign if key_of(one.provider_id) not in there),
        present=tuple(present),
        missing=tuple(one for one in mine if one.state in SETTLED and one.id not in seen),
    )


def _owner(
    report: DeploymentReport, by_id: DeploymentState | None, namesake: DeploymentState | None
) -> DeploymentState | None:
    """Whose deployment is shown: of two of one name, the one whose id it has."""
    owner = by_id
    if owner is None and namesake is not None and namesake.provider_id is None:
        owner = namesake
    return owner if owner is not None and _same(owner, report) else None


def _same(owner: DeploymentState, report: DeploymentReport) -> bool:
    """Whether what is shown is what we knew. Somebody else may make one under a name that an attached one had."""
    if report.ours or owner.state not in GONE:
        return True
    return report.created_at is not None and owner.billed_to is not None and report.created_at < owner.billed_to


# What follows


def orphan_found(
    connection: ConnectionState,
    report: DeploymentReport,
    *,
    price: ev.Price,
    suspected: VersionState | None,
    duplicate_of: DeploymentState | None,
    now: datetime,
    who: Who,
) -> list[NewEvent]:
    account = connection.name if connection.provider == "huggingface" else connection.provider
    found = deployment_id(f"found:{account}:{report.id}")  # one, whichever connection to an account finds it first
    since = now if report.created_at is None else min(report.created_at, now)
    payload = ev.OrphanFound(
        deployment=found,
        connection=connection.name,
        provider=connection.provider,
        name=report.name,
        provider_id=report.id,
        status=report.status,
        price=price,
        billed_from=since,
        artifact_id=report.artifact_id,
        endpoint=report.endpoint,
        suspected=str(ref_of(suspected)) if suspected else None,
        duplicate_of=duplicate_of.id if duplicate_of else None,
    )
    events: list[NewEvent] = [who.says(deployment_stream(found), payload)]
    if report.committed_until is not None:
        committed = ev.DeploymentAccepted(
            provider_id=report.id, billed_from=since, committed_until=report.committed_until
        )
        events.append(who.says(deployment_stream(found), committed))
    return events


def adopt(orphan: DeploymentState, version: VersionState, who: Who) -> list[NewEvent]:
    """It belongs to the version whose artifact it serves. Raises RefusedError where it does not fit."""
    ref = ref_of(version)
    if not orphan.orphan:
        return []
    if orphan.state != "serving":
        raise RefusedError(f"{orphan.id} is {orphan.state}: it cannot be adopted", state=orphan.state)
    if version.state not in DEPLOYABLE or version.deletion_requested or version.artifact_id is None:
        raise RefusedError(f"{ref} is {version.state}: nothing can be adopted for it", state=version.state)
    if not same(orphan.artifact_id, version.artifact_id) or orphan.connection != version.connection:
        raise RefusedError(f"{orphan.id} does not serve {ref}'s artifact", state=orphan.state)
    artifact = ev.ArtifactRef(id=version.artifact_id, digest=version.artifact_digest)
    payload = ev.OrphanAdopted(deployment=orphan.id, model=ref.model, version=ref.number, artifact=artifact)
    return [who.says(deployment_stream(orphan.id), payload)]


def reappeared(deployment: DeploymentState, report: DeploymentReport, who: Who) -> list[NewEvent]:
    if deployment.state not in GONE:
        return []
    payload = ev.DeploymentReappeared(deployment=deployment.id, seen_as=report.status)
    return [who.says(deployment_stream(deployment.id), payload)]


def strangers(connection: ConnectionState, sweep: Sweep, who: Who) -> list[NewEvent]:
    """What others have in the account, as far as it has changed."""
    known: Mapping[str, Foreign] = {one.provider_id: one for one in connection.foreign}
    stream = connection_stream(connection.name)
    came = [
        ev.ForeignFound(
            connection=connection.name,
            provider_id=one.id,
            name=one.name,
            status=one.status,
            artifact_id=one.artifact_id,
            created_at=one.created_at,
        )
        for one in sweep.foreign
        if one.id not in known
    ]
    went = [
        ev.ForeignGone(connection=connection.name, provider_id=one.provider_id)
        for one in sweep.foreign_gone
        if one.provider_id in known
    ]
    return [who.says(stream, one) for one in (*came, *went)]
