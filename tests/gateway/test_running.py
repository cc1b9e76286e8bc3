"""Starting, and what surrounds a gateway: the server that mounts it, the log that it follows, certificates."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

import providers.ports
from registry.domain.errors import UnavailableError
from registry.gateway import Gateway, Limits, following
from registry.server import create_app
from registry.transport.services import Services
from tests.gateway.conftest import Door, OpenDoor
from tests.gateway.serving import WAIT_S_MAX, Front, Server
from tests.gateway.upstream import Upstream
from tests.stage import BOT, Stage


def test_before_it_is_started_it_says_so(stage: Stage) -> None:
    with Server(Front(Gateway(stage.registry, prometheus=CollectorRegistry()))) as server:
        answer = httpx2.get(f"{server.url}/v1/models", trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "starting")


def test_the_server_mounts_it_and_counts_into_its_own_metrics(stage: Stage, upstream: Upstream) -> None:
    stage.active()
    services = Services(registry=stage.registry)
    with Server(create_app(services, shells=["registry.gateway"]), lifespan=True) as server:
        answer = httpx2.post(f"{server.url}/v1/chat/completions", json={"model": BOT}, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["tenure-version"] == "bot@1"
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert 'version="bot@1"' in services.meters.text().decode()


def test_a_body_may_come_in_pieces(stage: Stage, upstream: Upstream, door: Door) -> None:
    stage.active()

    def pieces() -> Iterator[bytes]:
        yield b'{"model": "bo'
        yield b't", "messages": []}'

    assert door.http.post("/v1/chat/completions", content=pieces()).status_code == 200


@pytest.mark.parametrize("sent", [b"", b'{"model": '])
def test_a_caller_that_leaves_in_the_middle_of_its_question_is_forgotten(
    stage: Stage, upstream: Upstream, door: Door, sent: bytes
) -> None:
    stage.active()
    host, port = door.url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + sent)
    assert door.ask(BOT).status_code == 200
    assert len(upstream.calls) == 1


def test_a_log_that_cannot_be_read_for_a_while_is_followed_again(
    stage: Stage, upstream: Upstream, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FAILED_S", 0.01)
    failing = threading.Event()
    failed = threading.Semaphore(0)
    read: Callable[..., Any] = stage.log.read

    def reading(**where: Any) -> Any:
        if failing.is_set() and threading.current_thread().name == "tenure-routing":
            failed.release()
            raise UnavailableError("no room on the disk")
        return read(**where)

    monkeypatch.setattr(stage.log, "read", reading)
    stage.active()
    door = open_door()
    failing.set()
    stage.active()
    assert failed.acquire(timeout=WAIT_S_MAX)
    assert door.ask(BOT).headers["tenure-version"] == "bot@1", "as far as is known"
    failing.clear()
    for _ in range(int(WAIT_S_MAX / 0.02)):
        if door.ask(BOT).headers["tenure-version"] == "bot@2":
            return
        threading.Event().wait(0.02)
    pytest.fail("the log is not followed again")


@pytest.mark.parametrize(("patience_s", "status"), [(WAIT_S_MAX, 200), (0.05, 409)])
def test_what_became_active_a_moment_ago_is_waited_for_but_not_for_ever(
    stage: Stage,
    upstream: Upstream,
    open_door: OpenDoor,
    monkeypatch: pytest.MonkeyPatch,
    patience_s: float,
    status: int,
) -> None:
    may_read = threading.Event()
    wait: Callable[..., int] = stage.log.wait

    def waiting(after: int, timeout_s: float) -> int:
        head = wait(after, timeout_s)
        return head if may_read.is_set() else after

    monkeypatch.setattr(stage.log, "wait", waiting)
    door = open_door(Limits(behind_s_max=patience_s))
    stage.active()
    if status == 200:
        threading.Timer(0.2, may_read.set).start()
    answer = door.ask(BOT)
    may_read.set()
    assert answer.status_code == status


def test_a_provider_behind_a_certificate_of_its_own_is_believed_by_the_connections_bundle(
    stage: Stage, door: Door, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    with Upstream(tls=(certificate, key)) as secure:
        url = f"{secure.url}/v1/chat/completions"

        def trusting(bundle: str | None) -> None:
            stage.cloud().reached = lambda target: providers.ports.Upstream(url=url, model="m", ca_bundle=bundle)

        trusting(None)
        stage.active()
        refused = door.ask(BOT)
        assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_unreachable")
        trusting(str(certificate))
        stage.active()
        door.follow()
        assert door.ask(BOT).status_code == 200
        assert door.ask("bot@2").status_code == 200


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    began = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
