"""`tenure serve` as a process: found by commands, stopped by signals, closed to strangers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from providers.rehearsal import Rehearsal
from registry.cli import main
from registry.domain.errors import BadInputError, UnavailableError
from registry.remote.finding import SERVER_FILE, find_server
from registry.server import Settings, serve
from tests.api.conftest import WAIT_S, bearer

TENURE = [sys.executable, "-c", "import sys; from registry.cli import main; sys.exit(main())"]
LINES_MAX = 200


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("TENURE_HOME", str(folder))
    monkeypatch.setenv("TENURE_ACTOR", "user:ana")
    monkeypatch.delenv("TENURE_URL", raising=False)
    monkeypatch.delenv("TENURE_TOKEN", raising=False)
    return folder


class Served:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code and its log."""
        self.process.send_signal(sign)
        _, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, [json.loads(line) for line in err.splitlines()]


@contextmanager
def serving(*arguments: str) -> Generator[Served]:
    process = subprocess.Popen(
        [*TENURE, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TENURE_LOG": "DEBUG"},
    )
    timer = threading.Timer(2 * WAIT_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, process.communicate()[1]
        yield Served(process, line.split()[-1])
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def test_a_server_is_found_by_commands_and_stops_when_it_is_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as served:
        found = find_server(home)
        assert found is not None
        assert (found.url, found.pid) == (served.url, served.process.pid)
        assert (home / SERVER_FILE).stat().st_mode & 0o077 == 0
        toml = home.parent / "tenure.toml"
        toml.write_text('[connections.one]\nprovider = "openai"\n[models.bot.policy]\napprovals = 1\n')
        assert main(["apply", str(toml)]) == 0
        capfd.readouterr()
        assert main(["models", "--json"]) == 0
        (model,) = json.loads(capfd.readouterr().out)
        assert (model["model"], model["created_by"]) == ("bot", "user:ana")
        assert main(["doctor"]) == 1, "its connection has no key"
        assert f"answers at {served.url}" in capfd.readouterr().out
        assert main(["show", "nobody"]) == 4
        assert main(["activate", "bot@1"]) == 4
        capfd.readouterr()
        assert main(["serve", "--port", "0"]) == 5, "the home is taken"
        assert served.url in capfd.readouterr().err
        with httpx2.stream("GET", f"{served.url}/api/v1/events/stream", timeout=WAIT_S) as watching:
            lines = watching.iter_lines()
            assert next(lines)
            code, log = served.stop()
            assert list(lines)[-1] == "", "the stream has ended"
    assert code == 0
    assert not (home / SERVER_FILE).exists()
    requests = [line for line in log if line["message"] == "request"]
    assert all({"request_id", "method", "path", "status", "actor", "ms"} <= set(line) for line in requests)
    assert any(line["path"] == "/api/v1/apply" and line["actor"] == "user:ana" for line in requests)
    assert main(["models", "--json"]) == 0, "without a server the home is opened"


def test_a_server_looks_by_itself_at_what_its_accounts_have(home: Path) -> None:
    with Rehearsal() as cloud:
        declared = {"connections": {"aws": cloud.declaration()["rehearsal-aws"]}, "scheduler": {"sweep": "100ms"}}
        with serving() as served:
            httpx2.post(
                f"{served.url}/api/v1/apply", json=declared, headers={"Idempotency-Key": "a"}
            ).raise_for_status()
            ends_at = time.monotonic() + WAIT_S
            while cloud.truth.calls["bedrock.list_custom_model_deployments"] < 2:
                assert time.monotonic() < ends_at, "nobody has looked twice"
                time.sleep(0.02)
            assert find_server(home) is not None


def test_a_server_that_was_killed_leaves_a_note_that_is_ignored(home: Path) -> None:
    with serving() as served:
        served.process.kill()
        served.process.wait(WAIT_S)
        assert (home / SERVER_FILE).exists()
        assert find_server(home) is None
        assert main(["models"]) == 0
        note = {"url": "http://127.0.0.1:9", "pid": os.getpid(), "token": "t"}
        (home / SERVER_FILE).write_text(json.dumps(note))
        assert find_server(home) is None, "the pid is another process's by now"
    for text in ("", "{}", "[]", json.dumps({"url": "u", "pid": "x", "token": "t"})):
        (home / SERVER_FILE).write_text(text)
        assert find_server(home) is None


def test_a_server_that_can_be_found_can_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a command that looks before the server has begun to accept."""

    class ReachedError(Exception): ...

    async def startup(*_: object, **_options: object) -> None:
        url = httpx2.URL(json.loads((home / SERVER_FILE).read_text())["url"])
        socket.create_connection((url.host, url.port or 0), timeout=WAIT_S).close()
        raise ReachedError

    monkeypatch.setattr("registry.server._Server.startup", startup)
    with pytest.raises(ReachedError):
        serve(Settings(home=home, actor="user:ana", port=0))
    assert not (home / SERVER_FILE).exists()


def test_where_others_can_ask_a_token_is_required(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--host", "0.0.0.0"], ["--auth"]):
        assert main(["serve", "--port", "0", *arguments]) == 2
        assert "tenure tokens create" in capfd.readouterr().err
    assert main(["tokens", "create", "--actor", "user:ben", "--role", "viewer", "--expires", "1d", "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    with serving("--auth") as served:
        assert httpx2.get(f"{served.url}/api/v1/models").status_code == 401
        assert httpx2.get(f"{served.url}/api/v1/models", headers=bearer(made["token"])).status_code == 200
        assert main(["models"]) == 0, "whoever owns the home has full rights"
        assert main(["tokens", "revoke", made["id"]]) == 0
        assert httpx2.get(f"{served.url}/api/v1/models", headers=bearer(made["token"])).status_code == 401
        served.stop()
    capfd.readouterr()
    assert main(["tokens", "list", "--json"]) == 0
    (listed,) = json.loads(capfd.readouterr().out)
    assert listed["last_used_at"] is not None
    assert listed["revoked_at"] is not None
    assert made["token"] not in json.dumps(listed)
    assert main(["tokens", "list"]) == 0
    assert main(["tokens", "revoke", "nobody"]) == 4
    assert main(["tokens", "revoke", made["token"]]) == 2
    assert main(["tokens", "create", "--actor", "ben", "--role", "viewer"]) == 2
    assert main(["tokens", "create", "--actor", "user:ben", "--role", "king"]) == 2
    assert main(["tokens", "create", "--actor", "user:ben", "--role", "viewer", "--expires", "0s"]) == 2
    assert main(["tokens", "create", "--actor", "user:ben", "--role", "viewer"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("tenure_")


def test_an_address_that_is_taken_is_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as served:
        port = served.url.rpartition(":")[2]
        settings = Settings(home=home.parent / "other", actor="user:ana", port=int(port))
        with pytest.raises(BadInputError, match="cannot serve on"):
            serve(settings)
    assert capfd


def test_a_note_that_cannot_be_written_is_told_with_its_name(home: Path) -> None:
    (home / "server.tmp").mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"server\.json cannot be written: Is a directory"):
        serve(Settings(home=home, actor="user:ana", port=0))


def test_a_command_is_pointed_at_a_server_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as served:
        monkeypatch.setenv("TENURE_HOME", str(tmp_path / "empty"))
        monkeypatch.setenv("TENURE_URL", served.url)
        assert main(["models"]) == 0
        assert not (tmp_path / "empty").exists()
        served.stop(signal.SIGINT)
    assert main(["models"]) == 5
    assert "no server answers" in capfd.readouterr().err
    assert home
