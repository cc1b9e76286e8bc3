"""The commands, by name. What each does is in the module that it comes from; this is the table of contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Protocol, cast

import typer
from typer.core import TyperGroup

from registry.cli import audit, chat, demo, deployments, reads, rehearse, serve, setup, training, versions
from registry.cli.log import log

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Begin": {"demo": demo.demo, "rehearse": rehearse.rehearse, "apply": setup.apply, "doctor": setup.doctor},
    "Make versions": {"fine-tune": training.fine_tune, "import": training.import_},
    "Move versions": {
        "activate": versions.activate,
        "retire": versions.retire,
        "cancel": versions.cancel,
        "pause": versions.pause,
        "resume": versions.resume,
        "retry": versions.retry,
        "approve": versions.approve,
        "delete": versions.delete,
    },
    "Serve": {
        "serve": serve.serve,
        "chat": chat.chat,
        "deploy": deployments.deploy,
        "undeploy": deployments.undeploy,
        "attach": deployments.attach,
    },
    "Look": {
        "models": reads.models,
        "versions": reads.versions,
        "show": reads.show,
        "history": reads.history,
        "metrics": reads.metrics,
        "checkpoints": reads.checkpoints,
        "deployments": deployments.deployments,
        "audit": audit.audit,
    },
    "Look after": {"reconcile": setup.reconcile},
}
GROUPS: dict[str, list[typer.Typer]] = {"Look after": [setup.connections, setup.policy, log, serve.tokens]}


class _Formatter(Protocol):
    """What typer formats help with; its own type is private."""

    def section(self, name: str) -> AbstractContextManager[None]: ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


class _Sections(TyperGroup):
    """Help with the commands in sections, without rich: it must answer within 0.3 s."""

    def format_commands(self, ctx: object, formatter: _Formatter) -> None:  # noqa: ARG002 - typer's signature
        for title in COMMANDS:
            rows = [
                (name, command.get_short_help_str(limit=90))
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == title
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def command() -> TyperGroup:
    """The whole command line as one object that parses and runs."""
    app = typer.Typer(
        cls=_Sections,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 100, "help_option_names": ["--help", "-h"]},
    )
    app.callback()(tenure)
    for section, commands in COMMANDS.items():
        for name, function in commands.items():
            app.command(name, rich_help_panel=section)(function)
    for section, groups in GROUPS.items():
        for group in groups:
            app.add_typer(group, rich_help_panel=section)
    return cast("TyperGroup", typer.main.get_command(app))


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tenure {version('tenure')}")
        raise typer.Exit


def tenure(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which tenure this is.")
    ] = False,
) -> None:
    """A registry for fine-tuned language models: what happened, what serves, what is billed.

    Answers are tables on a terminal, tab-separated rows with a header line when piped, and JSON with --json. Exit
    codes: 0 done, 1 failed, 2 usage or bad input, 3 refused in this state, 4 not found, 5 unavailable, 130 interrupted.

    TENURE_HOME (~/.tenure) is where everything is kept. TENURE_URL and TENURE_TOKEN are a server elsewhere.
    TENURE_ACTOR is who is named in the events, if not user:<login name>. TENURE_LOG=DEBUG shows what goes on inside.

    Example: tenure demo
    """
