"""`registry.connect`: the methods of an embedded registry, over HTTP, with the same answers and the same errors."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import registry
from registry.application.access import NotAllowedError, NotSignedInError
from registry.application.ports import LogTools
from registry.application.views import BilledDeploymentView, VersionView
from registry.domain.errors import (
    BadInputError,
    ConflictError,
    IdempotencyConflictError,
    NotFoundError,
    RefusedError,
    TenureError,
    UnavailableError,
)
from registry.domain.ids import VersionRef
from registry.embedded import Tenure, Version
from registry.remote import Remote, client, connect, http
from registry.remote.http import error_of
from registry.remote.log import RemoteLog
from registry.remote.naming import own_names
from registry.transport.services import Services
from tests.api.conftest import Live, Mint
from tests.providers.scripted import scripted
from tests.stage import BOT, Stage

SHARED = {"audit_against", "close", "show", "wait", "wait_for_deployment", "elsewhere"}
"""What `Remote` may leave as it is: composed from methods that it has of its own."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_S", 0.01)


@contextmanager
def working(stage: Stage) -> Generator[None]:
    """A server's scheduler, in a thread and with a clock that flies."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            stage.run()
            stage.clock.advance(seconds=20)
            stopped.wait(0.005)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def fine_tune(remote: Remote, stage: Stage, **more: Any) -> Version:
    return remote.fine_tune(BOT, connection="cloud", base_model="base", train=stage.train, **more)


def test_a_remote_registry_has_every_method_of_an_embedded_one() -> None:
    public = {name for name in dir(Tenure) if not name.startswith("_")}
    assert public - set(vars(Remote)) <= SHARED
    assert registry.connect is connect


def signatures(of: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(found, eval_str=True)
        for name in dir(of)
        if not name.startswith("_") and callable(found := inspect.getattr_static(of, name))
    }


def test_every_method_takes_the_same_arguments_and_answers_with_the_same_shape_here_and_over_http() -> None:
    here, there = signatures(Tenure), signatures(Remote)
    differing = {name: (str(one), str(there[name])) for name, one in here.items() if one != there[name]}
    assert differing == {}
    assert len(here) > 30
    log_here, log_there = signatures(LogTools), signatures(RemoteLog)
    assert log_here == log_there


def test_the_whole_life_of_a_version_from_elsewhere(remote: Remote, stage: Stage) -> None:
    remote.set_policy(BOT, {"superseded_grace": "0s"})
    told: list[str] = []
    with working(stage):
        begun = fine_tune(remote, stage, validation=str(stage.train), reason="refunds", hyperparameters={"n_epochs": 1})
        version = begun.wait(timeout_s=60, on_progress=lambda view, _: told.append(view.state))
        assert (str(version), version.state, told[-1]) == ("bot@1", "trained", "trained")
        assert remote.activate(version, reason="better").wait(timeout_s=60).active
        second = fine_tune(remote, stage, activate=True).wait(timeout_s=60)
        assert second.state == "active"
        assert [one.state for one in remote.deployments()] == ["deleted", "serving"]
    assert remote.version("bot@2") == stage.registry.reading.version(VersionRef.parse("bot@2"))
    assert [one.ref for one in remote.versions(BOT)] == ["bot@2", "bot@1"]
    assert [one.ref for one in remote.versions(BOT, limit=1)] == ["bot@2"]
    assert [one.ref for one in remote.versions(BOT, states=["retired"])] == ["bot@1"]
    assert remote.models() == stage.registry.reading.models()
    assert remote.show(BOT) == stage.registry.reading.model(BOT)
    assert isinstance(remote.show("bot@1"), VersionView)
    assert remote.history("bot@1") == stage.history("bot@1")
    assert remote.history(BOT, after=5) == [one for one in stage.history() if one.position > 5]
    assert remote.events(after=2, limit=3) == remote.events()[2:5]
    assert remote.metrics("bot@1") == stage.registry.reading.metrics(VersionRef.parse("bot@1"))
    assert remote.version("bot@1", as_of=stage.clock() - timedelta(days=0)).ref == "bot@1"
    assert remote.models(as_of=1)[0:] == stage.registry.reading.models(1)


def test_money_comes_back_exact(remote: Remote, stage: Stage) -> None:
    stage.active()
    stage.clock.advance(hours=2)
    end = stage.clock.time
    here, there = stage.registry.auditing.audit(to=end), remote.audit(to=end)
    assert isinstance(there.deployments[0], BilledDeploymentView)
    assert (there.deployments[0].cost, there.totals) == (here.deployments[0].cost, here.totals)
    assert remote.audit(by="model").groups[0]["model"] == BOT
    assert remote.deployments(billed=True)[0].hourly_rate == stage.deployments()[0].hourly_rate
    assert [one.difference for one in remote.side_by_side()] == [None]


def test_a_training_job_that_nobody_knows_comes_with_its_connection(remote: Remote, stage: Stage) -> None:
    stage.orphan_job()
    there = remote.connections()
    assert [len(one.orphan_jobs) for one in there if one.name == "cloud"] == [1]
    assert there == stage.registry.reading.connections()


def test_moves_and_deployments_from_elsewhere(remote: Remote, stage: Stage) -> None:
    fine_tune(remote, stage)
    assert remote.cancel("bot@1", reason="wrong").state == "cancelled"
    stage.settle()
    assert remote.retry("bot@1").attempt == 2
    stage.settle()
    assert remote.approve("bot@1").approvals == ("user:ana",)
    deployment = remote.deploy("bot@1", reason="standby")
    with working(stage):
        assert remote.wait_for_deployment(deployment.id, until=frozenset({"serving"}), timeout_s=60).state == "serving"
        assert remote.attach("bot@1", deployment.name).id == deployment.id
        assert remote.undeploy(deployment.name, reason="unused").state == "deleting"
        assert remote.wait_for_deployment(deployment.id, until=frozenset({"deleted"}), timeout_s=60).state == "deleted"
        remote.activate("bot@1").wait(timeout_s=60)
        assert remote.retire("bot@1").state == "retired"
        assert remote.delete("bot@1").wait(timeout_s=60).state == "deleted"
    artifact = stage.version(stage.trained()).artifact
    assert artifact is not None
    assert artifact.id in {one["id"] for one in remote.importable("cloud")}
    assert remote.import_version("copy", connection="cloud", artifact=artifact.id).ref == "copy@1"


def test_declarations_and_work_from_elsewhere(remote: Remote, stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "tenure.toml"
    file.write_text('[connections.more]\nprovider = "openai"\n')
    assert [one.kind for one in remote.apply(file, plan=True)] == ["add"]
    assert [one.kind for one in remote.apply(str(file))] == ["add"]
    assert remote.declare_connection("most", {"provider": "openai"}).name == "most"
    assert {one.name for one in remote.connections()} >= {"more", "most"}
    assert remote.test_connection("most")
    remote.remove_connection("most")
    assert remote.policy(BOT) == remote.set_policy(BOT, {})
    assert remote.policy_plan(BOT) == []
    head = stage.log.head()
    assert remote.policy_plan(BOT, as_of=head) == []
    assert remote.policy(BOT, as_of=head) == remote.policy(BOT)
    with pytest.raises(NotFoundError):
        remote.policy_plan(BOT, as_of=1)
    assert remote.policy_replay(BOT, {"superseded": "keep"}).model == BOT
    fine_tune(remote, stage)
    assert {one.outcome for one in remote.reconcile(plan=True)} == {"planned"}
    assert remote.reconcile(sweep=False)
    assert remote.estimate(BOT, connection="cloud", base_model="base", train=stage.train).train["rows"] == 20
    checks = remote.doctor()
    assert (checks[0].name, checks[0].passed) == ("server", True)


def test_the_log_from_elsewhere(remote: Remote, stage: Stage, tmp_path: Path) -> None:
    stage.trained()
    assert remote.log.verify() == stage.log.head()
    assert remote.log.rebuild() == stage.log.head()
    with pytest.raises(RefusedError, match="is read into a home that is empty"):
        remote.log.import_(tmp_path / "out.jsonl")
    with pytest.raises(BadInputError, match="elsewhere"):
        _ = remote.home


def test_events_are_followed_until_nothing_more_comes(remote: Remote, stage: Stage) -> None:
    fine_tune(remote, stage)
    positions = [one.position for one in remote.follow("bot@1", timeout_s=0.05)]
    assert positions == [one.position for one in stage.history("bot@1")]
    assert [one.position for one in remote.follow(after=2, timeout_s=0.05)] == list(range(3, stage.log.head() + 1))
    with pytest.raises(NotFoundError):
        next(remote.follow("nobody"))


def test_one_chats_through_the_gateway(services: Services, stage: Stage) -> None:
    stage.active()
    live = Live(services, "registry.api", "registry.gateway")
    try:
        with connect(live.url) as remote:
            assert "".join(remote.chat(BOT, [{"role": "user", "content": "Hi"}])) == "Hello"
            with pytest.raises(NotFoundError, match="nobody"):
                "".join(remote.chat("nobody", [{"role": "user", "content": "Hi"}]))
    finally:
        live.stop()


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (
            b'data: {"choices": [{"delta": {"content": "I "}}]}\n\ndata: {"error": {"message": "broke off"}}\n\n',
            200,
            "broke off",
        ),
        (b"<html>sign in</html>", 200, "no completion"),
        ({"error": "one sentence"}, 503, "one sentence"),
        ({"error": {"message": "and a code", "code": "x"}}, 503, "and a code"),
    ],
)
def test_a_chat_that_breaks_off_or_is_no_answer_is_told(answer: object, status: int, words: str) -> None:
    with scripted() as server:
        server.says("POST /v1/chat/completions", answer, status)
        with connect(server.url) as far, pytest.raises(UnavailableError, match=words):
            list(far.chat(BOT, [{"role": "user", "content": "Hi"}]))


def test_jobs_are_stopped_for_a_while_and_looked_into(remote: Remote, stage: Stage) -> None:
    fine_tune(remote, stage)
    for command in (remote.pause, remote.resume):
        with pytest.raises(TenureError):
            command("bot@1")
    stage.settle()
    assert remote.checkpoints("bot@1") == []
    assert remote.audit_focus().unpriced == 1, "its training has no price"


# Errors


def test_errors_are_those_that_an_embedded_registry_raises(remote: Remote, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        remote.versions("nobody")
    fine_tune(remote, stage)
    with pytest.raises(RefusedError, match="bot@1 is queued") as refused:
        remote.activate("bot@1")
    assert (refused.value.state, "cancel" in refused.value.legal) == ("queued", True)
    with pytest.raises(BadInputError, match=r"missing\.csv: there is no such file") as missing:
        remote.fine_tune(BOT, connection="cloud", base_model="base", train=tmp_path / "missing.csv")
    assert missing.value.field == "train"
    bad = tmp_path / "bad.csv"
    bad.write_text("")
    with pytest.raises(BadInputError, match=r"bad\.csv: is empty"):
        remote.fine_tune(BOT, connection="cloud", base_model="base", train=bad)
    with pytest.raises(BadInputError, match="not a version"):
        remote.version("bot")
    fine_tune(remote, stage, idempotency_key="k")
    with pytest.raises(IdempotencyConflictError):
        fine_tune(remote, stage, idempotency_key="k", method="dpo")
    with pytest.raises(TenureError, match="bot@1 is still queued"):
        remote.wait("bot@1", timeout_s=0.0)
    with pytest.raises(BadInputError, match="not an address"):
        connect("tenure.example.org")


def test_faults_name_the_file_as_its_owner_does() -> None:
    names = {"ds_1/t.csv": "in/t.csv", "ds_2/v.csv": "v.csv"}
    faults = ("ds_1/t.csv, row 3: is long", "ds_2/v.csv, row 1: stands in t.csv, row 2, too")
    with pytest.raises(BadInputError) as told, own_names(names):
        raise BadInputError("\n".join(faults), faults=faults)
    assert told.value.faults == ("in/t.csv, row 3: is long", "v.csv, row 1: stands in t.csv, row 2, too")
    assert str(told.value) == told.value.message == "\n".join(told.value.faults)


class Flaky(BaseHTTPRequestHandler):
    """Breaks the first connection, then answers."""

    keys: ClassVar[list[str | None]] = []
    answer: ClassVar[tuple[int, bytes]] = (200, b'{"items": [], "next": null}')

    def do_POST(self) -> None:
        self.keys.append(self.headers["Idempotency-Key"])
        self.rfile.read(int(self.headers["Content-Length"]))
        if len(self.keys) == 1:
            self.connection.close()
            return
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def test_what_a_broken_connection_left_open_is_asked_again_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "AGAIN_S", 0.0)
    monkeypatch.setattr(Flaky, "keys", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with connect(f"http://127.0.0.1:{server.server_port}") as remote:
            assert remote.apply({}) == []
            assert len(Flaky.keys) == 2
            assert Flaky.keys[0] == Flaky.keys[1]
            monkeypatch.setattr(Flaky, "answer", (502, b"<html>"))
            with pytest.raises(UnavailableError, match="answered 502, as no registry does"):
                remote.apply({})
        server.shutdown()


def test_where_no_server_answers_that_is_said() -> None:
    with connect("http://127.0.0.1:9") as remote, pytest.raises(UnavailableError, match="no server answers") as error:
        remote.models()
    assert error.value.hint is not None
    assert "tenure serve" in error.value.hint


def test_a_connection_that_was_closed_says_so(live: Live) -> None:
    with connect(live.url) as remote:
        assert remote.models()
    remote.close()
    with pytest.raises(UnavailableError, match="was closed here"):
        remote.models()
    with pytest.raises(UnavailableError, match="was closed here"):
        list(remote.chat(BOT, [{"role": "user", "content": "hi"}]))


@pytest.mark.parametrize("text", ["a\nb", "ключ"])
def test_what_no_header_can_hold_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadInputError, match="the token has characters") as refused:
        connect("http://127.0.0.1:1", text)
    assert (refused.value.field, text in str(refused.value)) == ("TENURE_TOKEN", False)
    with pytest.raises(BadInputError, match="the actor has characters"):
        connect("http://127.0.0.1:1", actor=text)


def test_a_token_and_its_roles_are_asked_for(guarded: Services, mint: Mint) -> None:
    live = Live(guarded)
    try:
        with connect(live.url) as remote, pytest.raises(NotSignedInError):
            remote.models()
        with connect(live.url, mint("viewer")) as remote:
            assert remote.models()
            with pytest.raises(NotAllowedError, match="may not develop"):
                remote.retire("bot@1")
    finally:
        live.stop()


def test_every_problem_has_its_error() -> None:
    conflict = error_of(412, {"detail": "changed", "stream": "model:bot", "expected": 1, "actual": 2}, None)
    assert isinstance(conflict, ConflictError)
    assert conflict.actual == 2
    later = error_of(429, {"detail": "slow down"}, "3")
    assert isinstance(later, UnavailableError)
    assert later.retry_after_s == 3.0
    assert isinstance(error_of(500, {"detail": "a bug"}, None), UnavailableError)
