"""Commands that set the registry up and look after it: apply, connections, policy, reconcile, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.cli.options import AsJson, AsOf, File, Model, Plan
from registry.cli.output import interactive, print_json, show_fields, show_list
from registry.cli.session import LATER, opened, settle
from registry.domain.errors import BadInputError, TenureError, UnavailableError

connections = typer.Typer(name="connections", invoke_without_command=True, rich_markup_mode=None)
policy = typer.Typer(name="policy", no_args_is_help=True, rich_markup_mode=None)


def apply(
    file: File,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Declare connections, models and policies from a TOML file. What the file does not name is left alone.

    Example: tenure apply tenure.toml --plan
    """
    from registry.cli.columns import CHANGES

    with opened(interrupted=LATER) as tenure:
        try:
            changes = tenure.apply(file, plan=plan)
        except BadInputError as error:
            if not error.message.startswith(str(file)):
                error.message = f"{file}: {error.message}"
            raise
        if not plan and any(change.kind != "same" for change in changes):
            settle(tenure)
    show_list(changes, CHANGES, as_json=as_json, empty=f"{file} names nothing.")


@connections.callback()
def list_connections(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the connections: accounts at providers, as `tenure apply` declared them.

    Example: tenure connections
    """
    if context.invoked_subcommand is not None:
        return
    from registry.cli.columns import CONNECTIONS

    with opened() as tenure:
        rows = tenure.connections(as_of=as_of)
    show_list(rows, CONNECTIONS, as_json=as_json, empty="No connections. Declare one: tenure apply FILE")


@connections.command("test")
def try_connection(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: AsJson = False) -> None:
    """Try a connection: its credential, its address, and what it may do. Changes nothing.

    Example: tenure connections test azure-prod
    """
    from registry.cli.columns import CHECKS

    with opened() as tenure:
        checks = tenure.test_connection(name)
    show_list(checks, CHECKS, as_json=as_json, empty=f"{name} has nothing to test.")
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise UnavailableError(f"{name} is not usable: {', '.join(failed)}.")


@policy.callback()
def policy_group() -> None:
    """See a model's policy, and what it would do now.

    Example: tenure policy show support-bot
    """


@policy.command("show")
def policy_show(model: Model, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show every rule of a model's policy with its value.

    Example: tenure policy show support-bot
    """
    with opened() as tenure:
        rules = tenure.policy(model, as_of=as_of)
    if as_json:
        print_json(dict(rules))
    else:
        show_fields(rules, with_empty=True)


@policy.command("plan")
def policy_plan(model: Model, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Say what a model's policy would do now (or would have done then), and why. Changes nothing.

    Example: tenure policy plan support-bot
    """
    from registry.cli.columns import STEPS

    with opened() as tenure:
        steps = tenure.policy_plan(model, as_of=as_of)
    show_list(steps, STEPS, as_json=as_json, empty="Nothing to do.")


@policy.command("replay")
def policy_replay(
    model: Model,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="The other policy, in TOML; by default the one in force."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run another policy over a model's recorded history: what it would have deployed, deleted and spent.

    Example: tenure policy replay support-bot --policy thrifty.toml
    """
    from registry.cli.columns import REPLAYED, money

    with opened() as tenure:
        told = tenure.policy_replay(model, policy)
    if as_json:
        print_json(told.as_json())
        return
    show_list(told.acts, REPLAYED, as_json=False, empty="Nothing would have been done, and nothing was.")
    if interactive():
        more = f"; {told.unpriced} deployments have no known price" if told.unpriced else ""
        typer.echo(
            f"Serving would have cost {money(told.cost, told)}; it has cost {money(told.recorded_cost, told)}:"
            f" a difference of {money(told.difference, told)}{more}."
        )


def reconcile(plan: Plan = False, as_json: AsJson = False) -> None:
    """Do all that can be done now: start, poll, deploy, probe, switch, delete. Exit 5 if a step could not be done.

    Example: tenure reconcile --plan
    """
    from registry.cli.columns import STEPS

    with opened(interrupted=LATER) as tenure:
        steps = tenure.reconcile(plan=plan)
    show_list(steps, STEPS, as_json=as_json, empty="Nothing to do.")
    failed = [step for step in steps if step.outcome == "failed"]
    if failed:
        raise UnavailableError(f"{len(failed)} of {len(steps)} steps could not be done.", hint=LATER)


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and this home: interpreter, extras, disk, log, device. Exit 1 if something is wrong.

    Example: tenure doctor
    """
    from registry.cli.columns import CHECKS

    with opened() as tenure:
        checks = tenure.doctor()
    show_list(checks, CHECKS, as_json=as_json, empty="")
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise TenureError(f"Not well: {', '.join(failed)}.")
