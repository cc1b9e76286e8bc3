"""`tenure rehearse`: three clouds on this machine for as long as it runs, with connections to them declared."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.session import opened
from registry.domain.errors import UnavailableError

if TYPE_CHECKING:
    from providers.rehearsal import Rehearsal

PORT = 8701
FILES = ("train.csv", "validation.csv")
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BASE_MODELS = {
    "rehearsal-openai": "gpt-4.1-mini-2025-04-14",
    "rehearsal-azure": "gpt-4.1-mini-2025-04-14",
    "rehearsal-aws": "amazon.nova-lite-v1:0:300k",
    "rehearsal-aws-on-demand": "amazon.nova-lite-v1:0:300k",
}
KINDS = {
    "rehearsal-openai": "OpenAI",
    "rehearsal-azure": "Azure OpenAI",
    "rehearsal-aws": "Bedrock, provisioned throughput",
    "rehearsal-aws-on-demand": "Bedrock, on demand",
}


def rehearse(
    port: Annotated[
        int,
        typer.Option("--port", metavar="P", min=0, max=65530, help="The first of six; 0: any free.", show_default=True),
    ] = PORT,
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", min=0.01, help="How fast time goes there: 60 is a minute a second.")
    ] = 1.0,
) -> None:
    """Emulate OpenAI, Azure OpenAI and Bedrock on this machine, with connections ready, until Ctrl-C.

    Nothing is trained, nothing leaves this machine, nothing costs anything; every answer says that it is a rehearsal.
    Leave it running and use the connections rehearsal-openai, rehearsal-azure, rehearsal-aws and
    rehearsal-aws-on-demand in another terminal, with the same TENURE_HOME.

    Example: tenure rehearse --speed 10
    """
    from providers.rehearsal import Rehearsal

    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ended.set()

    try:
        rehearsal = Rehearsal(port=port, speed=speed)
    except OSError as error:
        raise UnavailableError(
            f"Ports {port} to {port + 5} are not free: {error.strerror}.",
            hint="Is another rehearsal running? Else choose others: tenure rehearse --port 9001",
        ) from error
    before = {one: signal.signal(one, end) for one in ENDINGS}
    try:
        with rehearsal:
            home = _declare(rehearsal)
            _welcome(home)
            ended.wait()
            _farewell(rehearsal)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _declare(rehearsal: Rehearsal) -> Path:
    """The connections, and training data to try them with. The home is free for other commands afterwards."""
    with opened() as tenure:
        folder = tenure.home / "rehearsal"
        tenure.apply({"connections": rehearsal.declaration()})
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_bytes(resources.files("registry.cli").joinpath("demo_data", name).read_bytes())
    return folder


def _welcome(folder: Path) -> None:
    typer.secho("Three clouds are being rehearsed on this machine: nothing is trained, nothing is paid for.", bold=True)
    width = max(map(len, KINDS))
    for name, kind in KINDS.items():
        typer.echo(f"  {name:<{width}}  {kind}, for example {BASE_MODELS[name]}")
    typer.echo("\nIn another terminal:")
    if home := os.environ.get("TENURE_HOME"):
        _command("export", f"TENURE_HOME={home}", program=())
    train, validation = (str(folder / name) for name in FILES)
    name = "rehearsal-azure"
    files = ("--train", train, "--validation", validation, "--system-column", "system")
    _command(
        "fine-tune", "my-bot", "--connection", name, "--base-model", BASE_MODELS[name], *files, "--activate", "--wait"
    )
    _command("chat", "my-bot", "Where is my order?")
    _command("deployments", "--billed")
    typer.echo("\nCtrl-C ends it; the clouds then forget everything, and the registry does not.")


def _command(*words: str, program: tuple[str, ...] = ("tenure",)) -> None:
    typer.secho(f"  $ {shlex.join((*program, *words))}", fg="cyan")


def _farewell(rehearsal: Rehearsal) -> None:
    """What would still cost money, were it not a rehearsal."""
    billed = [thing for thing in rehearsal.truth.billed() if thing.bills is not None and thing.bills[0] == "hour"]
    typer.echo("\nThe rehearsal is over.")
    for thing in billed:
        typer.echo(f"  In truth it would go on being billed: {thing.name} ({thing.kind})")
