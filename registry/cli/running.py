"""Runs the command that was typed and turns whatever it raises into a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import cast

import typer

from registry.domain.errors import BadInputError, RefusedError, TenureError, UnavailableError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
_STORAGE_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT)


class StoppedError(TenureError):
    """Ctrl-C. The message says what goes on all the same."""

    exit_code = INTERRUPTED


def run(arguments: Sequence[str]) -> int:
    from registry.cli.app import command

    try:
        code = cast("object", command().main(_json_last(arguments), prog_name="tenure", standalone_mode=False))
        sys.stdout.flush()
    except SystemExit as exc:
        if not isinstance(exc.__context__, BrokenPipeError):
            raise  # shell completion has answered
        return _explain(exc.__context__)
    except Exception as exc:  # noqa: BLE001 - the outermost frame: nothing passes it untold
        return _explain(exc)
    if code == INTERRUPTED:  # Ctrl-C where no command had a better sentence for it
        return _tell(StoppedError("Interrupted."))
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    match error:
        case TenureError():
            code = _tell(error)
        case typer.TyperException():
            code = _tell_usage(error)
        case typer.Abort():
            code = _tell(StoppedError("Interrupted."))
        case BrokenPipeError():
            _silence_stdout()
            code = 0
        case OSError(errno=number) if number in _STORAGE_ERRORS:
            where = f": {error.filename}" if error.filename else ""
            hint = "Free some space or permit writing there, or set TENURE_HOME elsewhere."
            code = _tell(UnavailableError(f"{error.strerror}{where}", hint=hint))
        case _:
            code = _tell_bug(error)
    return code


def _json_last(arguments: Sequence[str]) -> list[str]:
    """`--json` may stand anywhere, also between a group and its command; the parser wants it behind the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, rest = arguments[:end], arguments[end:]
    plain = [one for one in options if one != "--json"]
    return [*plain, *(["--json"] if len(plain) < len(options) else []), *rest]


def _tell(error: TenureError) -> int:
    """What is wrong, why, and what to do."""
    label = "interrupted" if error.exit_code == INTERRUPTED else "error"
    typer.secho(f"{label}: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(error.message, err=True)
    if isinstance(error, BadInputError):
        for fault in error.faults:
            if fault not in error.message:
                typer.echo(f"  - {fault}", err=True)
    if isinstance(error, RefusedError) and error.state is not None:
        legal = ", ".join(error.legal) or "nothing"
        typer.echo(f"  It is {error.state}; from here: {legal}.", err=True)
    if error.hint:
        typer.secho(f"  {error.hint}", fg="cyan", err=True)
    return error.exit_code


def _tell_usage(error: typer.TyperException) -> int:
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(error.format_message(), err=True)
    context = cast("typer.Context | None", getattr(error, "ctx", None))
    if context is not None:
        typer.echo(f"  {context.get_usage()}", err=True)
        typer.secho(f"  See: {context.command_path} --help", fg="cyan", err=True)
    return error.exit_code


def _tell_bug(error: Exception) -> int:
    """One line; the traceback goes to a file, or to stderr with TENURE_DEBUG=1."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(error))
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(f"A bug in tenure: {type(error).__name__}: {error}", err=True)
    if os.environ.get("TENURE_DEBUG", "") not in {"", "0"}:
        typer.echo(trace, err=True)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="tenure-bug-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(trace)
    typer.echo(f"  The traceback is in {file.name}; TENURE_DEBUG=1 shows it here.", err=True)
    return 1


def _silence_stdout() -> None:
    """Whoever read the output has left: let the interpreter's last flush go nowhere, without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
