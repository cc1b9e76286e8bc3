"""Commands that move one version: activate, retire, cancel, retry, approve, delete. Each may be repeated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from registry.cli.options import AsJson, Key, Reason, Timeout, Version, Wait
from registry.cli.output import interactive, print_json, show_list
from registry.cli.progress import progress
from registry.cli.session import LATER, note, opened, settle
from registry.domain.errors import TenureError

if TYPE_CHECKING:
    from registry.application.views import MetricView, VersionView
    from registry.cli.progress import Report
    from registry.embedded import Tenure
    from registry.embedded import Version as Handle

MIND_S = 1.0
"""Between looks at the connection of what is waited for."""
_NEXT = {
    "queued": "It starts with the next `tenure reconcile`.",
    "training": "Watch it: tenure history {ref} --follow    Loss: tenure metrics {ref}",
    "trained": "Make it active: tenure activate {ref} --wait",
    "deploying": "It becomes active when it serves: tenure reconcile",
    "active": "Talk to it: tenure chat {model}",
    "failed": "Try again: tenure retry {ref}",
    "cancelled": "Try again: tenure retry {ref}",
}


def activate(
    version: Version,
    wait: Wait = False,
    timeout: Timeout = None,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the active one; the model's callers reach it as soon as it serves.

    The version that is active now keeps serving until then, and stays if the new one cannot be deployed.

    Example: tenure activate support-bot@3 --wait --reason "better on refunds"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.activate(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked, wait=wait, timeout_s=timeout), as_json=as_json)


def retire(version: Version, reason: Reason = None, idempotency_key: Key = None, as_json: AsJson = False) -> None:
    """Take the active version out of service, without a successor.

    Example: tenure retire support-bot@3 --reason "end of the pilot"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.retire(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked), as_json=as_json)


def cancel(version: Version, reason: Reason = None, idempotency_key: Key = None, as_json: AsJson = False) -> None:
    """Stop the training of a version.

    Example: tenure cancel support-bot@3 --reason "wrong data"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.cancel(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked), as_json=as_json)


def pause(version: Version, reason: Reason = None, as_json: AsJson = False) -> None:
    """Pause the training of a version, where the provider can.

    Example: tenure pause support-bot@3 --reason "the data are looked at again"
    """
    with opened(interrupted=LATER) as tenure:
        present(tenure.pause(version, reason=reason), as_json=as_json)


def resume(version: Version, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let a paused training go on.

    Example: tenure resume support-bot@3
    """
    with opened(interrupted=LATER) as tenure:
        present(tenure.resume(version, reason=reason), as_json=as_json)


def retry(
    version: Version,
    wait: Wait = False,
    timeout: Timeout = None,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Train a failed or cancelled version again, as another attempt with the same data and settings.

    Example: tenure retry support-bot@3 --wait
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.retry(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked, wait=wait, timeout_s=timeout), as_json=as_json)


def approve(version: Version, reason: Reason = None, idempotency_key: Key = None, as_json: AsJson = False) -> None:
    """Give your word for a version whose model's policy asks for approvals.

    Example: tenure approve support-bot@3 --reason "checked on the golden set"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.approve(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked), as_json=as_json)


def delete(
    version: Version,
    wait: Wait = False,
    timeout: Timeout = None,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Delete a version's artifact for good, at the provider too, after its deployments; its history stays.

    Example: tenure delete support-bot@1 --wait --reason "superseded long ago"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.delete(version, reason=reason, idempotency_key=idempotency_key)
        present(finish(tenure, asked, wait=wait, timeout_s=timeout), as_json=as_json)


def finish(tenure: Tenure, version: Handle, *, wait: bool = False, timeout_s: float | None = None) -> VersionView:
    """Where the version stands after one pass of the reconciler, or with `wait` when its work has ended."""
    if wait:
        with progress() as report:
            return version.wait(timeout_s=timeout_s, on_progress=_minding(tenure, report))
    settle(tenure)
    return version.refresh()


def _minding(tenure: Tenure, report: Report) -> Report:
    """Also notes, once, that the connection does not answer: nothing else would say why nothing moves."""
    noted: str | None = None
    look_at = 0.0

    def mind(view: VersionView, points: list[MetricView]) -> None:
        nonlocal noted, look_at
        report(view, points)
        if time.monotonic() < look_at:
            return
        look_at = time.monotonic() + MIND_S
        error = next((one.error for one in tenure.connections() if one.name == view.connection), None)
        if error is not None and noted is None:
            note(f"{view.connection} does not answer, and is asked again until it does: {error}")
        noted = error

    return mind


def present(view: VersionView, *, as_json: bool) -> None:
    """The version after a command. Raises TenureError when what was asked for has already failed."""
    if as_json:
        print_json(view.as_json())
    elif interactive():
        typer.secho(f"{view.ref} is {view.state}.", bold=True)
        if view.state in _NEXT:
            typer.secho("  " + _NEXT[view.state].format(ref=view.ref, model=view.model), dim=True)
    else:
        from registry.cli.columns import VERSIONS

        show_list([view], VERSIONS, as_json=False, empty="")
    if view.state == "failed":
        raise TenureError(f"{view.ref} failed: {view.error}", hint=f"tenure retry {view.ref}")
