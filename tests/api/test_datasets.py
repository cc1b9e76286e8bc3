"""Training data that are sent: streamed to disk, checked, named by an id, and used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from registry.composition import open_home
from registry.domain.errors import UnavailableError
from registry.server import create_app
from registry.transport import folders, guard
from registry.transport.services import Services
from registry.transport.uploads import KEPT_S, Uploads
from tests.stage import Stage


class Usage(NamedTuple):
    free: int


DATASETS = "/api/v1/datasets"
GOOD = b"prompt,completion\nq1,a1\nq2,a2\n"


@pytest.fixture
def real(tmp_path: Path) -> TestClient:
    """With the real checks."""
    registry = open_home(tmp_path / "home")
    return TestClient(create_app(Services(registry=registry), shells=["registry.api"]))


def test_data_are_checked_and_every_fault_is_told_with_its_place(real: TestClient) -> None:
    good = real.post(f"{DATASETS}?name=train.csv", content=GOOD)
    assert good.status_code == 201
    assert {key: good.json()[key] for key in ("name", "bytes", "rows", "passed")} == {
        "name": "train.csv",
        "bytes": len(GOOD),
        "rows": 2,
        "passed": True,
    }
    bad = real.post(f"{DATASETS}?name=train.csv", content=GOOD + b"q3,\n").json()
    assert (bad["passed"], bad["rows"]) == (False, None)
    assert bad["faults"] == ["train.csv, row 3, column completion: is missing"]
    mapped = real.post(f"{DATASETS}?name=a.csv&prompt_column=q&completion_column=a", content=b"q,a\nx,y\n").json()
    assert mapped["passed"] is True


def test_a_fault_does_not_tell_where_files_lie_on_the_server(real: TestClient) -> None:
    for broken in (b"PAR1garbage", b"PAR1" + b"x" * 100, b"PAR1xxxx\x04\0\0\0PAR1"):
        (fault,) = real.post(f"{DATASETS}?name=train.parquet", content=broken).json()["faults"]
        assert fault.startswith("train.parquet: is not a whole Parquet file: ")
        assert "/" not in fault


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Fragebögen März (2).csv", "Fragebögen März (2).csv"),
        ("名前.csv", "名前.csv"),
        ("\u202egnp\x00<b>.csv", "_gnp_b_.csv"),
        ("名" * 100 + ".csv", "名" * 65 + ".csv"),
    ],
)
def test_a_file_keeps_the_name_that_people_gave_it(rest: TestClient, name: str, kept: str) -> None:
    sent = rest.post(DATASETS, params={"name": name}, content=GOOD).json()
    assert sent["name"] == kept


def test_a_form_and_a_plain_body_are_the_same_data(rest: TestClient, stage: Stage) -> None:
    form = rest.post(DATASETS, files={"file": ("t.csv", GOOD)}).json()
    plain = rest.post(f"{DATASETS}?name=t.csv", content=GOOD).json()
    assert form == plain
    assert Uploads(stage.home).path(form["id"], "train").read_bytes() == GOOD
    assert rest.post(f"{DATASETS}?name=u.csv", content=GOOD).json()["id"] != form["id"]


def test_a_name_cannot_lead_out_of_its_folder(rest: TestClient, stage: Stage) -> None:
    sent = rest.post(DATASETS, params={"name": "../../etc/passwd"}, content=GOOD).json()
    assert sent["name"] == "passwd"
    hidden = rest.post(DATASETS, params={"name": "..."}, content=GOOD).json()
    assert hidden["name"] == "data.jsonl"
    assert all(stage.home in one.parents for one in (stage.home / "uploads").rglob("*"))


@pytest.mark.parametrize(
    "send",
    [
        {"content": b""},
        {"files": {"other": ("t.csv", GOOD)}},
        {"data": {"file": "text"}, "files": {"none": ("x", b"")}},
    ],
)
def test_what_holds_no_file_is_refused(rest: TestClient, send: dict[str, object]) -> None:
    answer = rest.post(DATASETS, **send)  # pyright: ignore[reportArgumentType] - what a client may send
    assert answer.status_code == 422
    assert answer.json()["field"] == "file"


def test_a_file_that_is_too_large_is_cut_off(rest: TestClient, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UPLOAD_BYTES_MAX", 1000)
    told = rest.post(f"{DATASETS}?name=t.csv", content=b"x" * 1001)
    assert (told.status_code, told.json()["title"]) == (413, "Too large")
    assert not list((stage.home / "uploads").glob("incoming-*"))


def test_a_body_that_does_not_say_how_large_it_is_is_cut_off_too(
    services: Services, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "UPLOAD_BYTES_MAX", 1000)
    with TestClient(create_app(services, shells=["registry.api"])) as rest:
        told = rest.post(f"{DATASETS}?name=t.csv", content=iter([b"x" * 600, b"x" * 600]))
    assert (told.status_code, told.headers["content-type"]) == (413, "application/problem+json")
    assert not list((stage.home / "uploads").glob("*"))


def test_a_key_repeats_an_upload_and_notices_other_data(rest: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = rest.post(f"{DATASETS}?name=t.csv", content=GOOD, headers=headers)
    again = rest.post(f"{DATASETS}?name=t.csv", content=GOOD, headers=headers)
    assert (again.text, again.headers["idempotent-replay"]) == (first.text, "true")
    assert rest.post(f"{DATASETS}?name=t.csv", content=GOOD + b"x,y\n", headers=headers).status_code == 409


def test_what_nobody_used_for_a_week_is_forgotten(rest: TestClient, stage: Stage) -> None:
    old = rest.post(f"{DATASETS}?name=t.csv", content=GOOD).json()["id"]
    path = Uploads(stage.home).path(old, "train")
    then = path.stat().st_mtime - KEPT_S - 60
    os.utime(path, (then, then))
    new = rest.post(f"{DATASETS}?name=u.csv&check=false", content=GOOD).json()
    assert new["passed"] is None
    assert not path.exists()
    assert Uploads(stage.home).path(new["id"], "train").exists()


def test_what_cannot_be_kept_is_told(rest: TestClient, stage: Stage) -> None:
    (stage.home / "uploads").write_text("a file, where the folder should be")
    answer = rest.post(f"{DATASETS}?name=t.csv", content=GOOD)
    assert (answer.status_code, "cannot be kept" in answer.json()["detail"]) == (503, True)


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_is_taken_that_would_leave_the_log_without_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """The disk fills while a file is sent: whoever may send files must not be able to stop the registry."""
    free = iter([2**40, 100 << 20])

    def usage(folder: Path) -> Usage:
        return Usage(next(free))

    async def sent() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield GOOD

    monkeypatch.setattr("registry.transport.room.shutil.disk_usage", usage)
    monkeypatch.setattr("registry.transport.room.LOOK_BYTES", len(GOOD))
    (stage.home / "model").mkdir()
    receiving = (
        Uploads(stage.home).receive(sent(), "t.csv") if whole else folders.receive(sent(), stage.home / "model", "f", 0)
    )
    with pytest.raises(UnavailableError, match="100 MiB are free"):
        asyncio.run(receiving)
    assert list((stage.home / "uploads").glob("*")) == []


def test_a_sender_who_goes_away_leaves_nothing_behind_and_is_no_bug(
    services: Services, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    coming: list[Message] = [
        {"type": "http.request", "body": GOOD, "more_body": True},
        {"type": "http.disconnect"},
    ]
    told: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        told.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"1000")]
    scope: Scope = {
        "type": "http", "method": "POST", "path": DATASETS, "query_string": b"name=train.csv", "headers": headers,
    }  # fmt: skip
    caplog.set_level("INFO", logger="tenure.http")
    asyncio.run(create_app(services, shells=["registry.api"])(scope, receive, send))
    assert told == []
    assert [*(stage.home / "uploads").iterdir()] == []
    assert [(one.levelname, one.__dict__["fields"]["status"]) for one in caplog.records] == [("INFO", 499)]
