"""Runs the command that was typed and turns whatever it raises into a sentence and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import typer

from registry.cli.output import visible
from registry.domain.errors import BadInputError, RefusedError, TenureError, UnavailableError

if TYPE_CHECKING:
    from typer.core import TyperGroup

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
_STORAGE_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT)


class StoppedError(TenureError):
    """Ctrl-C. The message says what goes on all the same."""

    exit_code = INTERRUPTED


def run(command: Callable[[], TyperGroup], arguments: Sequence[str]) -> int:
    _ready_streams()
    try:
        _check_text(arguments)
        code = cast("object", command().main(_json_last(arguments), prog_name="tenure", standalone_mode=False))
        sys.stdout.flush()
    except SystemExit as exc:
        if not isinstance(exc.__context__, BrokenPipeError):
            raise  # shell completion has answered
        return _explain(exc.__context__)
    except KeyboardInterrupt:
        return _explain(typer.Abort())
    except Exception as exc:  # noqa: BLE001 - the outermost frame: nothing passes it untold
        return _explain(exc)
    if code == INTERRUPTED:  # Ctrl-C where no command had a better sentence for it
        return _tell(StoppedError("Interrupted."))
    return code if isinstance(code, int) else 0


def debugging() -> bool:
    """TENURE_LOG=DEBUG: what is otherwise told in a sentence is shown whole."""
    return os.environ.get("TENURE_LOG", "").upper() == "DEBUG"


def _ready_streams() -> None:
    """Whatever the locale, what is piped is UTF-8; a terminal is shown what it can show; what is closed is nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = cast("object", getattr(sys, name))
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - open as long as we run
        elif isinstance(stream, io.TextIOWrapper) and mode == "r":
            stream.reconfigure(errors="replace")
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _check_text(arguments: Sequence[str]) -> None:
    """Names and reasons are kept as text. Raises BadInputError for bytes that the locale does not read as such."""
    for one in arguments:
        try:
            one.encode()
        except UnicodeEncodeError:
            shown = ascii(os.fsencode(one))[1:]
            raise BadInputError(
                f"the argument {shown} is not text in this locale.", hint="Write UTF-8; LC_ALL=C.UTF-8 reads it."
            ) from None


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
    typer.echo(visible(error.message), err=True)
    if isinstance(error, BadInputError):
        for fault in error.faults:
            if fault not in error.message:
                typer.echo(visible(f"  - {fault}"), err=True)
    if isinstance(error, RefusedError) and error.legal and "legal from" not in error.message:
        typer.echo(f"  It is {error.state}; from here: {', '.join(error.legal)}.", err=True)
    if error.hint:
        typer.secho(visible(f"  {error.hint}"), fg="cyan", err=True)
    return error.exit_code


def _tell_usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return error.exit_code
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(error.format_message(), err=True)
    context = cast("typer.Context | None", getattr(error, "ctx", None))
    if context is not None:
        typer.echo(f"  {context.get_usage()}", err=True)
        typer.secho(f"  See: {context.command_path} --help", fg="cyan", err=True)
    return error.exit_code


def _tell_bug(error: Exception) -> int:
    """What to do; the traceback goes to a file, or to stderr with TENURE_LOG=DEBUG."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(error))
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(f"A bug in tenure: {type(error).__name__}: {error}", err=True)
    if debugging():
        typer.echo(trace, err=True)
        return 1
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tenure-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(trace)
    except OSError:
        typer.echo("  TENURE_LOG=DEBUG shows the traceback: please report it.", err=True)
        return 1
    typer.echo(f"  The traceback is in {file.name}; TENURE_LOG=DEBUG shows it here. Please report it.", err=True)
    return 1


def _silence_stdout() -> None:
    """Whoever read the output has left: let the interpreter's last flush go nowhere, without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
