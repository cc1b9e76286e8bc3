"""One process has a home; whoever else wants it is told who."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from registry.domain.errors import BadInputError, HomeInUseError, UnavailableError
from registry.store.duckdb_log import open_log
from registry.store.home import Home, holder_of
from tests.store.samples import Counting, Log, Ticking, add, requested

CHILD = """
import sys
from pathlib import Path
from registry.store.duckdb_log import open_log
from tests.store.samples import Counting, Ticking
log = open_log(Path(sys.argv[1]), clock=Ticking(), ids=Counting())
print("open", flush=True)
sys.stdin.read()
"""


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home", clock=Ticking())
    assert home.path.stat().st_mode & 0o777 == 0o700
    home.close()


@pytest.mark.parametrize("name", ["with spaces", "höme-日本", "ho%20me %s %", "#1;'\"", "x" * 200])
def test_a_home_may_have_any_name_that_a_folder_has(tmp_path: Path, name: str) -> None:
    log = open_log(tmp_path / name, clock=Ticking(), ids=Counting())
    add(cast("Log", log), requested("bot", 1))
    log.close()
    log = open_log(tmp_path / name, clock=Ticking(), ids=Counting())
    assert log.head() == 1
    log.close()


@pytest.mark.parametrize("name", ["what?", "back\\slash"])
def test_a_home_whose_path_duckdb_cannot_open_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match=r"no file whose path has a \? or a backslash"):
        Home(tmp_path / name, clock=Ticking())
    assert not any(tmp_path.iterdir())


def test_a_second_process_is_told_who_has_the_home(home: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(HomeInUseError, match=rf"process {child.pid} \(`.*{home}`, since 2026-11-22T20:10:01"):
            open_log(home, clock=Ticking(), ids=Counting())
    finally:
        child.kill()
        child.communicate()
    open_log(home, clock=Ticking(), ids=Counting()).close()


def test_the_same_process_cannot_have_a_home_twice_and_can_have_two_homes(tmp_path: Path) -> None:
    first = open_log(tmp_path / "a", clock=Ticking(), ids=Counting())
    second = open_log(tmp_path / "b", clock=Ticking(), ids=Counting())
    with pytest.raises(HomeInUseError, match=f"process {os.getpid()} "):
        open_log(tmp_path / "a", clock=Ticking(), ids=Counting())
    first.close()
    second.close()
    first.home.close()


def test_the_url_of_a_server_is_part_of_the_answer(home: Path) -> None:
    held = Home(home, clock=Ticking())
    held.announce("http://127.0.0.1:8420")
    assert holder_of(home)["url"] == "http://127.0.0.1:8420"
    with pytest.raises(HomeInUseError) as error:
        Home(home, clock=Ticking())
    assert error.value.hint is not None
    assert "http://127.0.0.1:8420" in error.value.hint
    held.close()
    assert holder_of(home) == {}


@pytest.mark.parametrize("text", ["", "[]", "{broken"])
def test_a_holder_that_does_not_say_who_it_is_is_another_process(home: Path, text: str) -> None:
    held = Home(home, clock=Ticking())
    (home / "lock").write_text(text)
    with pytest.raises(HomeInUseError, match="another process"):
        Home(home, clock=Ticking())
    held.close()


def test_a_home_that_cannot_be_made_or_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "home", Path("/proc/home")):
        with pytest.raises(BadInputError, match=f"{path} cannot be used as a home"):
            open_log(path, clock=Ticking(), ids=Counting())


def test_a_full_disk_is_named_when_the_home_cannot_be_written() -> None:
    (where := Path("/dev/shm") / f"full-{os.getpid()}").mkdir()
    try:
        (where / "lock").symlink_to("/dev/full")
        with pytest.raises(BadInputError, match="the disk is full"):
            Home(where, clock=Ticking())
    finally:
        (where / "lock").unlink()
        where.rmdir()


def test_a_home_whose_opening_fails_is_released(home: Path) -> None:
    home.mkdir()
    (home / "tenure.duckdb").write_bytes(b"not a database, but long enough to look at" * 1000)
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            open_log(home, clock=Ticking(), ids=Counting())


def _in_a_child(log: Log, home: Path, answers: multiprocessing.SimpleQueue[str]) -> None:
    for use in (log.head, lambda: add(log, requested("a", 2)), lambda: open_log(home, clock=Ticking(), ids=Counting())):
        try:
            use()
        except (UnavailableError, HomeInUseError) as exc:
            answers.put(str(exc))
    log.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_shares_nothing(home: Path) -> None:
    log = cast("Log", open_log(home, clock=Ticking(), ids=Counting()))
    add(log, requested("a", 1))
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(log, home, answers))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert f"opened by process {os.getpid()}" in answers.get()
    assert f"opened by process {os.getpid()}" in answers.get()
    assert f"in use by process {os.getpid()}" in answers.get()
    assert json.loads((home / "lock").read_text())["pid"] == os.getpid()
    assert add(log, requested("a", 2)) == 2
    log.close()
    again = cast("Log", open_log(home, clock=Ticking(), ids=Counting()))
    assert again.verify() == 2
    again.close()
