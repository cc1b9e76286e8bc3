"""Commands about what serves: deploy, undeploy, attach, deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson, AsOf, Deployment, Key, Reason, Timeout, Version, Wait
from registry.cli.output import interactive, print_json, show_list
from registry.cli.session import LATER, opened, settle
from registry.domain.errors import TenureError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.application.views import ConnectionView, DeploymentView
    from registry.embedded import Tenure


def deploy(
    version: Version,
    wait: Wait = False,
    timeout: Timeout = None,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Deploy a version without making it active: a warm standby, which may be billed.

    Example: tenure deploy support-bot@3 --wait
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.deploy(version, reason=reason, idempotency_key=idempotency_key)
        _present(_finish(tenure, asked, frozenset({"serving"}), wait=wait, timeout_s=timeout), as_json=as_json)


def undeploy(
    deployment: Deployment,
    wait: Wait = False,
    timeout: Timeout = None,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Delete a deployment. It counts as billed until it has been seen gone.

    Example: tenure undeploy dep_4f1c2a --wait --reason "nobody calls it"
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.undeploy(deployment, reason=reason, idempotency_key=idempotency_key)
        _present(_finish(tenure, asked, frozenset({"deleted"}), wait=wait, timeout_s=timeout), as_json=as_json)


def attach(
    version: Version,
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="ID", help="The provider's name, resource id or ARN; or dep_….")
    ],
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Record a deployment that exists already as one of this version.

    Example: tenure attach support-bot@3 --deployment support-bot-prod
    """
    with opened(interrupted=LATER) as tenure:
        asked = tenure.attach(version, deployment, reason=reason, idempotency_key=idempotency_key)
        settle(tenure)
        _present(tenure.deployment(asked.id), as_json=as_json)


def deployments(
    billed: Annotated[bool, typer.Option("--billed", help="Only those that may be billed right now.")] = False,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Only this model's.")] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List deployments: what serves, for which version, what is billed, and what the providers show of it.

    The log and the providers stand side by side, with the difference in words; what only a provider has comes last, and
    connections of which nothing is known because they do not answer.
    With --as-of, the log alone. Training jobs that no version knows spend money too: they are named on stderr.

    Example: tenure deployments --billed
    """
    from registry.cli.columns import DEPLOYMENTS, SIDE_BY_SIDE

    empty = "Nothing is billed." if billed else "No deployments."
    only = True if billed else None
    with opened() as tenure:
        if as_of is not None:
            rows = tenure.deployments(billed=only, model=model, as_of=as_of)
            show_list(rows, DEPLOYMENTS, as_json=as_json, empty=empty)
        else:
            show_list(tenure.side_by_side(billed=only, model=model), SIDE_BY_SIDE, as_json=as_json, empty=empty)
        if model is None:
            _name_orphan_jobs(tenure.connections(as_of=as_of))


def _name_orphan_jobs(connections: Iterable[ConnectionView]) -> None:
    """On stderr: they are no deployments, and whoever looks for what costs money looks here."""
    for connection in connections:
        for job in connection.orphan_jobs:
            typer.echo(
                f"note: training job {job.id} ({job.name}) at {connection.name} runs and spends money, and no version"
                ' here knows it: stop it in the provider\'s console, or with orphans = "delete" (tenure apply)',
                err=True,
            )


def _finish(
    tenure: Tenure, asked: DeploymentView, states: frozenset[str], *, wait: bool, timeout_s: float | None
) -> DeploymentView:
    if wait:
        return tenure.wait_for_deployment(asked.id, until=states, timeout_s=timeout_s)
    settle(tenure)
    return tenure.deployment(asked.id)


def _present(view: DeploymentView, *, as_json: bool) -> None:
    if as_json:
        print_json(view.as_json())
    elif interactive():
        typer.secho(f"{view.id} of {view.ref} is {view.state}.", bold=True)
    else:
        from registry.cli.columns import DEPLOYMENTS

        show_list([view], DEPLOYMENTS, as_json=False, empty="")
    if view.state == "failed":
        raise TenureError(f"{view.id} failed: {view.error}", hint=f"tenure history {view.ref}")
