"""`tenure chat`: talk to a version. stdout gets the answer and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson, Ref
from registry.cli.output import interactive, print_json, visible
from registry.cli.session import opened
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.embedded import Tenure

Message = dict[str, object]


def chat(
    ref: Ref,
    message: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE]", help="Else: what is piped in; on a terminal, a conversation.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system message.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", metavar="X", min=0)] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", metavar="X", min=0, max=1)] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", metavar="N", min=1)] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="The answer ends before this text; repeat it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Talk to the active version of a model, or to any version that is deployed. The answer comes as it is made.

    With --json it comes whole, in the shape of the gateway's chat completions.

    Example: tenure chat support-bot "How do I get a refund?"
    """
    options = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "stop": stop or None}
    given: dict[str, object] = {key: value for key, value in options.items() if value is not None}
    before: list[Message] = [{"role": "system", "content": system}] if system else []
    text = message if message is not None or sys.stdin.isatty() else sys.stdin.read()
    if text is not None and not text.strip():
        raise BadInputError("There is nothing to say: the message is empty.", field="MESSAGE")
    if text is None and as_json:
        raise BadInputError("There is nothing to say: --json answers one message.", field="MESSAGE")
    with opened(interrupted="The answer was cut off.") as tenure:
        if text is not None and as_json:
            content = "".join(tenure.chat(ref, [*before, {"role": "user", "content": text}], **given))
            choice: Message = {"index": 0, "message": {"role": "assistant", "content": content}}
            print_json({"object": "chat.completion", "model": ref, "choices": [choice]})
        elif text is not None:
            _write(tenure.chat(ref, [*before, {"role": "user", "content": text}], **given))
        else:
            _converse(tenure, ref, before, given)


def _converse(tenure: Tenure, ref: str, messages: list[Message], options: dict[str, object]) -> None:
    """Question and answer until end of input (Ctrl-D)."""
    typer.secho(f"You talk to {ref}. Ctrl-D ends.", dim=True, err=True)
    while True:
        typer.secho("> ", bold=True, err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            typer.echo(err=True)
            return
        if line.strip():
            messages.append({"role": "user", "content": line.strip()})
            answer = _write(tenure.chat(ref, messages, **options))
            messages.append({"role": "assistant", "content": answer})


def _write(pieces: Iterable[str]) -> str:
    """Write an answer as it comes, and a line break at its end."""
    whole: list[str] = []
    for piece in pieces:
        whole.append(piece)
        sys.stdout.write(visible(piece) if interactive() else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return "".join(whole)
