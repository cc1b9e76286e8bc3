from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry.cli import reads, running
from registry.domain.errors import BadInputError, NotFoundError, RefusedError, UnavailableError
from tests.cli.shell import Run


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let opening the registry raise, whatever the command."""

    def opened(**_: object) -> None:
        raise error

    monkeypatch.setattr(reads, "opened", opened)


def test_help_names_every_command_in_its_section(tenure: Run) -> None:
    answer = tenure("--help")

    assert answer.code == 0
    for name in ("fine-tune", "activate", "undeploy", "history", "reconcile", "connections", "policy", "log", "demo"):
        assert re.search(rf"^  {name}\b", answer.out, re.MULTILINE), name
    assert "Serve:" in answer.out


def test_every_command_has_help_with_an_example(tenure: Run) -> None:
    from registry.cli.app import command

    def walk(group: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        inner = getattr(group, "commands", {})
        return [path, *(one for name, child in inner.items() for one in walk(child, (*path, name)))]

    for path in walk(command(), ()):
        answer = tenure(*path, "--help")
        assert answer.code == 0, path
        assert re.search(r"Example:\s+(TENURE_HOME=\S+ )?tenure", answer.out), path


def test_the_version_is_told(tenure: Run) -> None:
    answer = tenure("--version")
    assert answer.code == 0
    assert re.fullmatch(r"tenure \d+\.\d+\.\d+\n", answer.out)


def test_nothing_typed_shows_the_help(tenure: Run) -> None:
    answer = tenure()
    assert answer.code == 2
    assert answer.err.startswith("Usage: tenure")


def test_an_unknown_command_suggests_the_near_one(tenure: Run) -> None:
    answer = tenure("actvate", "support-bot@1")
    assert (answer.code, answer.out) == (2, "")
    assert "'activate'" in answer.err
    assert "tenure --help" in answer.err


def test_an_unknown_option_is_a_usage_error_that_points_to_the_commands_help(tenure: Run) -> None:
    answer = tenure("models", "--jsn")
    assert answer.code == 2
    assert "--jsn" in answer.err
    assert "tenure models --help" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [["--json", "policy", "show", "m"], ["policy", "--json", "show", "m"], ["policy", "show", "m", "--json"]],
)
def test_json_may_stand_anywhere(arguments: list[str]) -> None:
    assert running._json_last(arguments) == ["policy", "show", "m", "--json"]


def test_json_behind_a_double_dash_is_an_argument_like_any_other() -> None:
    assert running._json_last(["chat", "m", "--", "--json"]) == ["chat", "m", "--", "--json"]
    assert running._json_last(["--json", "chat", "m", "--", "hi"]) == ["chat", "m", "--json", "--", "hi"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("no"), 2),
        (RefusedError("no"), 3),
        (NotFoundError("no"), 4),
        (UnavailableError("no"), 5),
        (PermissionError(errno.EACCES, "Permission denied", "/home/x"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (OSError(errno.ENOTCONN, "strange"), 1),
        (RuntimeError("bug"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, tenure: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(error, monkeypatch)
    answer = tenure("models")
    assert (answer.code, answer.out) == (code, "")
    assert "Traceback" not in answer.err
    assert answer.err.startswith(("error: ", "interrupted: "))


def test_bad_input_lists_every_fault_and_the_hint(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ("train.csv, row 4711: completion is missing", "train.csv, row 4712: prompt is empty")
    raising(BadInputError("2 rows are wrong.", faults=faults, hint="Mend them."), monkeypatch)
    answer = tenure("models")
    assert answer.err == (
        "error: 2 rows are wrong.\n"
        "  - train.csv, row 4711: completion is missing\n"
        "  - train.csv, row 4712: prompt is empty\n"
        "  Mend them.\n"
    )


def test_a_refusal_names_the_state_and_what_is_legal(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RefusedError("Not now.", state="queued", legal=("cancel", "fail")), monkeypatch)
    assert "It is queued; from here: cancel, fail." in tenure("models").err
    raising(RefusedError("Never.", state="deleted"), monkeypatch)
    assert tenure("models").err == "error: Never.\n"


def test_a_bug_is_one_line_and_a_file_with_the_traceback(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RuntimeError("the roof is on fire"), monkeypatch)
    answer = tenure("models")
    file = re.search(r"is in (\S+);", answer.err)
    assert file
    trace = Path(file[1])
    assert "RuntimeError: the roof is on fire" in trace.read_text()
    trace.unlink()


def test_a_bug_where_nothing_can_be_written_is_told_all_the_same(
    tenure: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raising(RuntimeError("the roof is on fire"), monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    answer = tenure("models")
    assert answer.code == 1
    assert "TENURE_LOG=DEBUG shows the traceback" in answer.err


def test_with_tenure_log_at_debug_the_traceback_is_shown(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RuntimeError("the roof is on fire"), monkeypatch)
    monkeypatch.setenv("TENURE_LOG", "DEBUG")
    assert "Traceback (most recent call last)" in tenure("models").err


def test_aborting_a_prompt_is_an_interruption(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(EOFError(), monkeypatch)
    assert tenure("models").code == 130


def test_another_runtime_error_is_still_a_bug(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.embedded import Tenure

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(Tenure, "models", broken)
    assert tenure("models").code == 1


def test_a_step_that_failed_is_noted(tenure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.application.views import StepView
    from registry.embedded import Tenure

    def reconcile(*_: object, **__: object) -> list[StepView]:
        return [
            StepView(action="poll job", subject="m@1", why="", outcome="failed", detail="no route"),
            StepView(action="create deployment", subject="dep_1", why="", outcome="failed"),
        ]

    monkeypatch.setattr(Tenure, "reconcile", reconcile)
    file = tmp_path / "tenure.toml"
    file.write_text("[models.support-bot.policy]\napprovals = 1\n")
    answer = tenure("apply", str(file))
    assert answer.code == 0
    assert "note: could not poll job m@1 yet: no route\nnote: could not create deployment dep_1 yet\n" in answer.err
    assert tenure("reconcile").code == 5


def in_a_shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`line` with $TENURE for the program, and what the whole line wrote."""
    program = f"'{sys.executable}' -c 'import sys; from registry.cli import main; sys.exit(main())'"
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("$TENURE", program)],
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        check=False,
    )


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    done = in_a_shell("exec 3>&1; { $TENURE --help; echo $? >&3; } | true")
    assert (done.stdout.strip(), done.stderr) == (b"0", b"")


def test_streams_that_are_closed_are_no_error(home: Path, tmp_path: Path) -> None:
    done = in_a_shell("$TENURE models <&- >&-; echo $?; $TENURE show nobody 2>&-; echo $?")
    assert (done.stdout.split(), done.stderr) == ([b"0", b"4"], b"")


def test_what_is_piped_is_utf_8_whatever_the_locale(tenure: Run, tmp_path: Path) -> None:
    file = tmp_path / "tenure.toml"
    file.write_text('[connections.local]\nprovider = "huggingface"\nmodels = "/Grüße"\n', "utf-8")
    assert tenure("apply", str(file)).code == 0
    for command in ("connections", "connections --json", "log export"):
        done = in_a_shell(f"$TENURE {command}", PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert "/Grüße" in done.stdout.decode()


def test_ctrl_c_before_anything_has_begun_is_one_line(home: Path) -> None:
    program = (
        "import sys, builtins; plain = builtins.__import__\n"
        "def importing(name, *more):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return plain(name, *more)\n"
        "builtins.__import__ = importing\n"
        "from registry.cli import main; sys.exit(main(['models']))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, cwd=root, check=False)
    assert (done.returncode, done.stderr) == (130, b"interrupted: Nothing was begun.\n")


def test_an_argument_that_is_not_text_is_refused(home: Path) -> None:
    done = in_a_shell(r"""$TENURE retire m@1 --reason "$(printf 'caf\351')" """)
    assert (done.returncode, done.stdout) == (2, b"")
    assert rb"'caf\xe9' is not text" in done.stderr


def test_help_imports_nothing_heavy(home: Path) -> None:
    program = (
        "import sys; from registry.cli import main; main(['--help']); "
        "print([name for name in ('rich', 'duckdb', 'sqlmodel', 'sqlalchemy', 'pydantic', 'torch', 'transitions', "
        "'httpx2', 'registry.embedded', 'registry.store') if name in sys.modules], file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=root, check=True
    )
    assert done.stderr.strip() == "[]"
