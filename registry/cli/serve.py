"""`tenure serve`, and the tokens that its users show."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson
from registry.cli.output import interactive, print_json, show_fields, show_list
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.application.access import Token
    from registry.store.tokens import TokenFile

tokens = typer.Typer(name="tokens", no_args_is_help=True, rich_markup_mode=None)

SECRET_BYTES = 32
ID_BYTES = 5


def serve(
    host: Annotated[str, typer.Option("--host", metavar="H", help="The address to answer on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=0, max=65535, help="0: any that is free.", show_default=True)
    ] = 8321,
    auth: Annotated[
        bool,
        typer.Option("--auth", help="Ask for a token also on loopback, as behind a proxy."),
    ] = False,
) -> None:
    """Serve the API, the web pages, the gateway and the scheduler in one process, until it is stopped.

    On loopback whoever is on this machine has full rights. On any other address a token is asked for, and there must
    be one: `tenure tokens create`. Commands on this machine find the server by themselves. Logs are JSON lines on
    stderr.

    Example: tenure serve --port 8321
    """
    from registry.cli.session import serving
    from registry.embedded import default_actor, default_home

    serving(default_home(), default_actor(), host, port, auth=auth, ready=_say)


def _say(url: str) -> None:
    typer.echo(f"Tenure serves {url}")
    if interactive():
        typer.secho(f"  pages {url}/   API {url}/api/v1   OpenAI-compatible {url}/v1   Ctrl-C stops", dim=True)


@tokens.callback()
def tokens_group() -> None:
    """Make, list and revoke the tokens with which people and programs ask a server.

    Example: tenure tokens list
    """


def _token_file() -> TokenFile:
    """Of the home here: a server elsewhere has its own, and hands out no rights over the network."""
    import os

    from registry.cli.session import note
    from registry.embedded import default_home
    from registry.store.tokens import TokenFile

    if url := os.environ.get("TENURE_URL"):
        note(f"these are the tokens of {default_home()}; those of {url} are made on its own machine")
    return TokenFile(default_home())


@tokens.command()
def create(
    actor: Annotated[str, typer.Option("--actor", metavar="WHO", help="Whose it is, as events name it: user:ana.")],
    role: Annotated[
        list[str],
        typer.Option("--role", metavar="ROLE[:MODEL]", help="viewer, user, developer, approver or admin; repeat it."),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="SPAN", help="After 90d, 12h, …; never, if not given.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.01, help="Requests a second at most.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once, and kept as a digest.

    Example: tenure tokens create --actor user:ana --role developer --role approver:support-bot --expires 90d
    """
    import os

    from registry.application.access import Grant, issue
    from registry.domain.durations import duration
    from registry.embedded import default_actor
    from registry.system import now

    made_at = now()
    lasts = duration(expires, "--expires") if expires is not None else None
    if lasts is not None and not lasts:
        raise BadInputError(f"--expires = {expires!r}: such a token is of no use", field="--expires")
    token, shown = issue(
        actor,
        frozenset(Grant.parse(one) for one in role),
        id=os.urandom(ID_BYTES).hex(),
        secret=os.urandom(SECRET_BYTES),
        now=made_at,
        by=default_actor(),
        expires_at=made_at + lasts if lasts is not None else None,
        rate_max=rate,
    )
    _token_file().add(token)
    if as_json:
        print_json({**token.as_json(), "token": shown})
    elif interactive():
        show_fields(token.as_json())
        typer.echo()
        typer.secho(shown, bold=True)
        typer.secho("  It is shown this once. Use it as TENURE_TOKEN, or as an OpenAI client's api_key.", dim=True)
    else:
        typer.echo(shown)


@tokens.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the tokens: whose, with which roles, until when, last used when. Never the tokens themselves.

    Example: tenure tokens list
    """
    from registry.cli.columns import TOKENS, of_mappings

    rows = [one.as_json() for one in _token_file().all()]
    show_list(rows, of_mappings(rows, TOKENS), as_json=as_json, empty="No tokens.")


@tokens.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `tenure tokens list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Make a token worthless at once, on a running server too.

    Example: tenure tokens revoke 4f1c2a9b03
    """
    from registry.system import now

    if "_" in token:
        raise BadInputError("give the token's id, not the token itself", field="ID", hint="tenure tokens list")
    _show(_token_file().revoke(token, now()), as_json=as_json)


def _show(token: Token, *, as_json: bool) -> None:
    if as_json:
        print_json(token.as_json())
    else:
        typer.echo(f"{token.id} of {token.actor} is revoked since {_text(token.revoked_at)}.")


def _text(time: datetime | None) -> str:
    return time.isoformat(timespec="seconds") if time else "-"
