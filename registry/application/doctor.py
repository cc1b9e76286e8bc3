"""`tenure doctor`: what a careful person would look at, with what to do about each thing that is not well."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from registry.application.limits import FREE_BYTES_MIN as SPACE_FLOOR
from registry.application.ports import LogTools, VersionQuery
from registry.application.reading import Reading
from registry.application.views import CheckView, ConnectionView
from registry.domain import retirement
from registry.domain.errors import TenureError

FREE_BYTES_MIN = 1_000_000_000
CLOCK_SLACK = timedelta(seconds=5)
SLOW = timedelta(minutes=30)
"""A deployment that takes longer to come up is told about."""


def examine(
    home: Path, tools: LogTools, reading: Reading, test_connection: Callable[[str], list[CheckView]]
) -> list[CheckView]:
    checks = [_space(home), _chain(tools), _clock(reading)]
    for connection in reading.connections():
        if connection.error is not None:
            checks.append(_stopped(connection))
        try:
            found = test_connection(connection.name)
        except TenureError as error:
            found = [CheckView(name="opens", passed=False, detail=error.message, remedy=error.hint)]
        checks += [
            CheckView(name=f"{connection.name}: {one.name}", passed=one.passed, detail=one.detail, remedy=one.remedy)
            for one in found
        ]
    return [*checks, *_versions(reading), *_deployments(reading), *_slow(reading), *_retirements(reading)]


def _stopped(connection: ConnectionView) -> CheckView:
    return CheckView(
        name=f"{connection.name}: polling",
        passed=False,
        detail=f"stands still: {connection.error}",
        remedy=f"it is tried again by itself; tenure connections test {connection.name} says what is missing",
    )


def _space(home: Path) -> CheckView:
    free = shutil.disk_usage(home).free
    return CheckView(
        name="space",
        passed=free >= FREE_BYTES_MIN,
        detail=f"{free / 1e9:.1f} GB free at {home}",
        remedy=None
        if free >= FREE_BYTES_MIN
        else "make room: artifacts of versions you no longer need (tenure delete). Nothing that is billed is begun"
        f" below {SPACE_FLOOR / 1e9:.1f} GB",
    )


def _chain(tools: LogTools) -> CheckView:
    try:
        count = tools.verify()
    except TenureError as error:
        return CheckView(name="log", passed=False, detail=error.message, remedy=error.hint)
    return CheckView(name="log", passed=True, detail=f"{count} events, every hash as it was written")


def _clock(reading: Reading) -> CheckView:
    """What is billed is counted by it."""
    newest, now = reading.newest_at(), reading.now()
    behind = newest - now
    well = behind < CLOCK_SLACK
    return CheckView(
        name="clock",
        passed=well,
        detail=f"{now:%Y-%m-%d %H:%M:%S} UTC" + ("" if well else f", {behind} before the newest event was recorded"),
        remedy=None if well else "set this machine's clock, and let NTP keep it",
    )


def _versions(reading: Reading) -> list[CheckView]:
    failed, _ = reading.versions(VersionQuery(states=frozenset({"failed"})))
    return [
        CheckView(
            name=f"version {one.ref}",
            passed=False,
            detail=f"failed: {one.error}",
            remedy=f"tenure retry {one.ref}, or tenure delete {one.ref}",
        )
        for one in failed
    ]


def _slow(reading: Reading) -> list[CheckView]:
    """What is billed and does not come up."""
    now = reading.now()
    return [
        CheckView(
            name=f"deployment {one.id}",
            passed=False,
            detail=f"{one.state} since {one.requested_at.isoformat(timespec='minutes')}, for {one.ref}, and billed",
            remedy=f"it is given up by itself when it takes too long; tenure undeploy {one.id} does so now",
        )
        for one in reading.deployments(billed=True)
        if one.state == "provisioning" and now - one.requested_at > SLOW
    ]


def _retirements(reading: Reading) -> list[CheckView]:
    """Versions that may be served and whose base model is taken away soon, or has been."""
    versions, _ = reading.versions(VersionQuery(states=frozenset({"trained", "deploying", "active"})))
    checks: list[CheckView] = []
    now = reading.now()
    for one in versions:
        left = None if one.retires_on is None else retirement.days_left(one.retires_on, now)
        if one.retires_on is None or left is None or left > retirement.WARNED_DAYS[-1]:
            continue
        when = f"in {left} days" if left > 0 else "that is now" if left == 0 else f"{-left} days ago"
        urgent = "urgent: " if left <= retirement.WARNED_DAYS[0] else ""
        checks.append(
            CheckView(
                name=f"retirement {one.ref}",
                passed=False,
                detail=f"{urgent}{one.ref} is {one.state}, and its provider takes {one.base_model} away on"
                f" {one.retires_on.isoformat()}, {when}",
                remedy=f"fine-tune {one.model} from another base model, and activate that version before",
            )
        )
    return checks


def _deployments(reading: Reading) -> list[CheckView]:
    """What is billed although its version is not active."""
    models = reading.models()
    wanted = {one.active for one in models} | {ref for one in models for ref in one.moving}
    return [
        CheckView(
            name=f"deployment {one.id}",
            passed=False,
            detail=f"{one.state}, for "
            + (f"{one.ref}, which is not active" if one.ref else "no version that is known here")
            + f": {one.requested_by}, {one.reason or 'no reason'}",
            remedy=f"tenure undeploy {one.id}",
        )
        for one in reading.deployments(billed=True)
        if one.ref not in wanted and one.state != "deleting"
    ]
