"""A version that is trained by somebody's own code, elsewhere: its folder is sent, checked, and durably trained."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from registry.application.commands.trainers import SILENT_MAX
from registry.domain.errors import BadInputError, NotFoundError, RefusedError, UnavailableError
from registry.domain.ids import VersionRef
from registry.remote import Remote, http, training
from registry.transport import folders
from tests.stage import BOT, Stage

FILES = "/api/v1/models/bot/versions/1/files"
WEIGHTS = bytes(range(256)) * 40
WAIT_S = 20.0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(http, "PIECE_BYTES", 1_000)


def kept(stage: Stage, number: int = 1) -> Path:
    return stage.home / "connections" / "local" / "artifacts" / f"{BOT}-{number}" / "model"


def test_the_folder_is_sent_whole_and_the_version_is_trained_when_the_block_ends(remote: Remote, stage: Stage) -> None:
    with remote.new_version(BOT, connection="local", base_model="base", reason="by hand") as new:
        assert (new.ref, new.version, stage.state(VersionRef(BOT, 1))) == ("bot@1", 1, "training")
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
        (new.directory / "config.json").write_text("{}")
        (new.directory / "empty.txt").touch()
        (new.directory / "original" / "deep").mkdir(parents=True)
        (new.directory / "original" / "deep" / "notes ü.txt").write_text("yes")
        directory = new.directory
    assert not directory.exists()
    version = remote.version("bot@1")
    assert (version.state, version.base_model) == ("trained", "base")
    assert version.artifact is not None
    assert (kept(stage) / "model.safetensors").read_bytes() == WEIGHTS
    assert (kept(stage) / "original" / "deep" / "notes ü.txt").read_text() == "yes"
    assert (kept(stage) / "empty.txt").read_bytes() == b""
    assert remote.history("bot@1")[0].reason == "by hand"


def test_an_error_in_the_block_fails_the_version_and_goes_on(remote: Remote) -> None:
    left: list[Path] = []
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(ZeroDivisionError),
        remote.new_version(BOT, connection="local") as new,
    ):
        left.append(new.directory)
        raise ZeroDivisionError
    failed = remote.version("bot@1")
    assert (failed.state, failed.error) == ("failed", "ZeroDivisionError in the training code")
    assert [one.exists() for one in left] == [False]


def test_a_folder_without_a_model_fails_the_version_as_it_does_here(remote: Remote) -> None:
    with (
        pytest.raises(BadInputError, match="bot@1 has failed: its folder holds no model") as fault,
        remote.new_version(BOT, connection="local"),
    ):
        pass
    assert fault.value.field == "directory"
    assert remote.version("bot@1").state == "failed"


def test_what_a_link_leads_to_outside_the_folder_is_not_sent(remote: Remote, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of this machine")
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(BadInputError, match=r"bot@1 has failed: its folder: notes\.txt: leads outside the folder"),
        remote.new_version(BOT, connection="local") as new,
    ):
        (new.directory / "config.json").write_text("{}")
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
        (new.directory / "notes.txt").symlink_to(tmp_path / "secret")
    failed = remote.version("bot@1")
    assert (failed.state, failed.error) == ("failed", "its folder: notes.txt: leads outside the folder")
    assert not (kept(stage) / "notes.txt").exists()


def test_a_link_within_the_folder_is_sent_as_its_file(remote: Remote, stage: Stage) -> None:
    with remote.new_version(BOT, connection="local") as new:
        (new.directory / "config.json").write_text("{}")
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
        (new.directory / "again.json").symlink_to("config.json")
    assert (kept(stage) / "again.json").read_text() == "{}"


def test_a_folder_that_is_gone_when_the_block_ends_holds_no_model(remote: Remote) -> None:
    with (
        pytest.raises(BadInputError, match="bot@1 has failed"),
        remote.new_version(BOT, connection="local") as new,
    ):
        new.directory.rmdir()
    assert remote.version("bot@1").state == "failed"


def test_whoever_cancels_it_meanwhile_is_obeyed(remote: Remote) -> None:
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(RefusedError, match="bot@1 is cancelled"),
        remote.new_version(BOT, connection="local") as new,
    ):
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
        remote.cancel(new.ref)
    assert remote.version("bot@1").state == "cancelled"
    assert (new.directory / "model.safetensors").read_bytes() == WEIGHTS


def test_a_model_that_cannot_be_sent_is_kept_where_it_was_saved(
    remote: Remote, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise UnavailableError("12 MiB are free")

    monkeypatch.setattr(stage.registry.commands.limits, "check_space", full)
    with (
        pytest.raises(UnavailableError, match="12 MiB are free") as error,
        remote.new_version(BOT, connection="local") as new,
    ):
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
    assert f"the model is kept in {new.directory}" in str(error.value.hint)
    assert (new.directory / "model.safetensors").read_bytes() == WEIGHTS


def test_a_trainer_is_believed_while_it_is_heard_and_fails_when_it_falls_silent(
    remote: Remote, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = threading.Event()

    def told(_: VersionRef) -> None:
        heard.set()

    monkeypatch.setattr(training, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(stage.registry.commands.trainers, "heard", told)
    with remote.new_version(BOT, connection="local") as new:
        heard.clear()
        assert heard.wait(WAIT_S)
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.undo()
    begun = remote._http.post("/models/bot/own-versions", {"connection": "local"})
    stage.clock.advance(seconds=SILENT_MAX.total_seconds() - 1)
    stage.run()
    assert remote.version(begun["ref"]).state == "training"
    remote._http.post("/models/bot/versions/2/heartbeat", None)
    stage.clock.advance(seconds=2)
    stage.run()
    assert remote.version(begun["ref"]).state == "training"
    stage.clock.advance(seconds=SILENT_MAX.total_seconds())
    stage.run()
    assert remote.version(begun["ref"]).state == "failed"


def test_a_server_that_starts_anew_waits_for_trainers_to_be_heard(stage: Stage, remote: Remote) -> None:
    remote._http.post("/models/bot/own-versions", {"connection": "local"})
    stage.restart()
    stage.registry.commands.trainers.await_elsewhere()
    stage.run()
    assert stage.state(VersionRef(BOT, 1)) == "training"
    stage.clock.advance(seconds=SILENT_MAX.total_seconds())
    stage.run()
    assert stage.state(VersionRef(BOT, 1)) == "failed"


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/../../b", "a//b", ".", "..", "a/b/c/d/e/f", "a\\b", "a\nb", "./a", "ä" * 200]
)
def test_a_name_that_leaves_the_folder_is_refused(rest: TestClient, stage: Stage, name: str) -> None:
    rest.post("/api/v1/models/bot/own-versions", json={"connection": "local"})
    answer = rest.put(FILES, params={"name": name}, content=b"x")
    assert answer.status_code == 422
    assert list(kept(stage).rglob("*")) == []


def test_pieces_follow_one_another_and_may_be_sent_again(rest: TestClient, stage: Stage) -> None:
    rest.post("/api/v1/models/bot/own-versions", json={"connection": "local"})
    assert rest.put(FILES, params={"name": "a.bin"}, content=b"0123").json() == {"name": "a.bin", "bytes": 4}
    assert rest.put(FILES, params={"name": "a.bin", "offset": 4}, content=b"4567").json()["bytes"] == 8
    assert rest.put(FILES, params={"name": "a.bin", "offset": 4}, content=b"abc").json()["bytes"] == 7
    assert (kept(stage) / "a.bin").read_bytes() == b"0123abc"
    gap = rest.put(FILES, params={"name": "a.bin", "offset": 9}, content=b"x")
    assert gap.status_code == 409
    assert "a.bin has 7 bytes" in gap.json()["detail"]
    assert rest.put(FILES, params={"name": "a.bin/b"}, content=b"x").status_code == 422


def test_only_a_version_that_is_trained_so_takes_files(rest: TestClient, stage: Stage) -> None:
    stage.trained()
    refused = rest.put(FILES, params={"name": "a.bin"}, content=b"x")
    assert (refused.status_code, refused.json()["state"]) == (409, "trained")
    assert rest.post("/api/v1/models/bot/versions/1/heartbeat").status_code == 409
    assert rest.post("/api/v1/models/bot/versions/1/finish", json={}).status_code == 409
    assert rest.post("/api/v1/models/bot/own-versions", json={"connection": "cloud"}).status_code == 422


def test_an_ending_whose_answer_was_lost_is_answered_again(rest: TestClient, stage: Stage) -> None:
    rest.post("/api/v1/models/bot/own-versions", json={"connection": "local"}, headers={"Idempotency-Key": "k"})
    again = rest.post("/api/v1/models/bot/own-versions", json={"connection": "local"}, headers={"Idempotency-Key": "k"})
    assert again.json()["ref"] == "bot@1"
    rest.put(FILES, params={"name": "model.safetensors"}, content=WEIGHTS)
    ends = [
        rest.post("/api/v1/models/bot/versions/1/finish", json={}, headers={"Idempotency-Key": "f"}) for _ in range(2)
    ]
    assert [one.json()["state"] for one in ends] == ["trained", "trained"]


def test_what_is_refused_here_is_refused_there(remote: Remote) -> None:
    with (
        pytest.raises(BadInputError, match="only a huggingface connection"),
        remote.new_version(BOT, connection="cloud"),
    ):
        pass
    with pytest.raises(NotFoundError), remote.new_version(BOT, connection="nowhere"):
        pass


def test_an_ending_that_is_told_twice_is_one_ending(remote: Remote) -> None:
    with remote.new_version(BOT, connection="local") as new:
        (new.directory / "model.safetensors").write_bytes(WEIGHTS)
    path = "/models/bot/versions/1"
    training._finish(remote._http, path, None)
    assert len([one for one in remote.history("bot@1") if one.type == "version-trained"]) == 1
    remote._http.post("/models/bot/own-versions", {"connection": "local"})
    remote.cancel("bot@2")
    with pytest.raises(RefusedError, match="bot@2 is cancelled: its training is over"):
        training._finish(remote._http, "/models/bot/versions/2", None)


def test_a_model_has_no_more_files_than_anyone_needs(
    rest: TestClient, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "FILES_MAX", 1)
    rest.post("/api/v1/models/bot/own-versions", json={"connection": "local"})
    assert rest.put(FILES, params={"name": "a"}, content=b"x").status_code == 200
    assert rest.put(FILES, params={"name": "a"}, content=b"y").status_code == 200
    refused = rest.put(FILES, params={"name": "b"}, content=b"x")
    assert (refused.status_code, "at most 1 files" in refused.json()["detail"]) == (422, True)
    assert [one.name for one in kept(stage).iterdir()] == ["a"]
