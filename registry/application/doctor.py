"""`tenure doctor`: what a careful person would look at, with what to do about each thing that is not well."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from registry.application.ports import LogTools, VersionQuery
from registry.application.reading import Reading
from registry.application.views import CheckView
from registry.domain.errors import TenureError

FREE_BYTES_MIN = 1_000_000_000


def examine(
    home: Path, tools: LogTools, reading: Reading, test_connection: Callable[[str], list[CheckView]]
) -> list[CheckView]:
    checks = [_space(home), _chain(tools)]
    for connection in reading.connections():
        try:
            found = test_connection(connection.name)
        except TenureError as error:
            found = [CheckView(name="opens", passed=False, detail=error.message, remedy=error.hint)]
        checks += [
            CheckView(name=f"{connection.name}: {one.name}", passed=one.passed, detail=one.detail, remedy=one.remedy)
            for one in found
        ]
    return [*checks, *_versions(reading), *_deployments(reading)]


def _space(home: Path) -> CheckView:
    free = shutil.disk_usage(home).free
    return CheckView(
        name="space",
        passed=free >= FREE_BYTES_MIN,
        detail=f"{free / 1e9:.1f} GB free at {home}",
        remedy=None
        if free >= FREE_BYTES_MIN
        else "make room: artifacts of versions you no longer need (tenure delete)",
    )


def _chain(tools: LogTools) -> CheckView:
    try:
        count = tools.verify()
    except TenureError as error:
        return CheckView(name="log", passed=False, detail=error.message, remedy=error.hint)
    return CheckView(name="log", passed=True, detail=f"{count} events, every hash as it was written")


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


def _deployments(reading: Reading) -> list[CheckView]:
    """What is billed although its version is not active."""
    models = reading.models()
    wanted = {one.active for one in models} | {ref for one in models for ref in one.moving}
    return [
        CheckView(
            name=f"deployment {one.id}",
            passed=False,
            detail=f"{one.state}, for {one.ref}, which is not active: {one.requested_by}, {one.reason or 'no reason'}",
            remedy=f"tenure undeploy {one.id}",
        )
        for one in reading.deployments(billed=True)
        if one.ref not in wanted and one.state != "deleting"
    ]
