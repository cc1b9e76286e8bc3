"""Copies of a log that a server owns: the same bytes that the home itself gives, and a backup that opens as a home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import registry
from registry.composition import Registry, open_home
from registry.domain.errors import BadInputError, RefusedError, UnavailableError
from registry.domain.versions import Who
from registry.remote import Remote, connect
from registry.transport.gate import Gate
from registry.transport.services import Services
from tests.api.conftest import Live

MODELS = 12


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Registry]:
    with open_home(tmp_path / "home") as opened:
        for number in range(MODELS):
            opened.declaring.set_policy(f"bot-{number}", {}, Who(actor="user:änna", reason="für alle"))
        yield opened


@pytest.fixture
def remote(opened: Registry) -> Iterator[Remote]:
    live = Live(Services(registry=opened, gate=Gate(open_to="user:ana")))
    with connect(live.url) as remote:
        yield remote
    live.stop()


def test_an_export_over_http_is_byte_for_byte_what_the_home_writes_and_can_be_imported(
    remote: Remote, opened: Registry, tmp_path: Path
) -> None:
    there, here = tmp_path / "there.jsonl", tmp_path / "here.jsonl"
    there.write_text("an older export")
    assert remote.log.export(there) == opened.tools.export(here) == opened.log.head()
    assert there.read_bytes() == here.read_bytes()
    with registry.open(tmp_path / "copy", background=False) as copy:
        assert copy.log.import_(there) == opened.log.head()
        assert len(copy.models()) == MODELS


def test_a_backup_over_http_opens_as_a_home_and_leaves_nothing_behind(
    remote: Remote, opened: Registry, tmp_path: Path
) -> None:
    target = tmp_path / "backup"
    target.mkdir()
    events = remote.log.backup(target)
    assert events == opened.log.head()
    assert target.stat().st_mode & 0o077 == 0
    with registry.open(target, background=False) as copy:
        assert copy.log.verify() == events
        assert len(copy.models()) == MODELS
    assert list(opened.home.glob("copy-*")) == []
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".tenure-")] == []


def test_what_is_there_already_is_left_alone(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(BadInputError, match="exists and is not an empty folder"):
        remote.log.backup(tmp_path / "full")
    with pytest.raises(BadInputError, match="cannot be written: No such file or directory"):
        remote.log.export(tmp_path / "missing" / "out.jsonl")
    with pytest.raises(BadInputError, match="cannot be written"):
        remote.log.backup(tmp_path / "missing" / "out")


def test_a_log_is_not_read_into_a_home_that_a_server_has(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is read into a home that is empty") as refused:
        remote.log.import_(tmp_path / "out.jsonl")
    assert "TENURE_HOME" in (refused.value.hint or "")


def test_a_copy_that_fails_leaves_nothing_behind(
    remote: Remote, opened: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path) -> int:
        target.write_text("half")
        raise BadInputError(f"{target.name} cannot be written: No space left on device")

    monkeypatch.setattr(opened.tools, "export", full)
    with pytest.raises(BadInputError, match="No space left on device"):
        remote.log.export(tmp_path / "out.jsonl")
    assert list(opened.home.glob("copy-*")) == []
    assert not (tmp_path / "out.jsonl").exists()


def test_a_server_without_room_for_a_copy_says_so(remote: Remote, opened: Registry, tmp_path: Path) -> None:
    elsewhere = opened.home.rename(opened.home.with_name("gone"))
    try:
        with pytest.raises(UnavailableError, match=r"a copy is made in .* before it is sent: No such file") as refused:
            remote.log.backup(tmp_path / "copy")
    finally:
        elsewhere.rename(opened.home)
    assert "make room on the server's disk" in (refused.value.hint or "")


def test_walking_the_chain_writes_nothing(remote: Remote, opened: Registry) -> None:
    def journal() -> int:
        return sum(part.stat().st_size for part in (opened.home / "journal").iterdir())

    before = journal()
    assert remote.log.verify() == opened.log.head()
    assert journal() == before
