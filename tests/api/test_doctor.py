"""What `tenure doctor` says of a server: ready, tokens, sign-in, traces, clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.application.views import CheckView
from registry.transport.doctor import examine
from registry.transport.services import Services
from tests.api.collector import Collector
from tests.api.conftest import Mint
from tests.api.oidc_provider import CLIENT, OidcProvider
from tests.small_disk import run_on_small_disk
from tests.stage import ANA, Stage


def checks(services: Services) -> dict[str, CheckView]:
    return {one.name: one for one in examine(services)}


def test_a_server_on_loopback_is_well_and_says_that_no_token_is_asked_for(services: Services) -> None:
    found = checks(services)
    assert {name: one.passed for name, one in found.items()} == {"ready": True, "tokens": True}
    assert "whoever is on this machine has full rights, as user:ana" in found["tokens"].detail


def test_a_home_that_cannot_be_written_is_told(services: Services, stage: Stage) -> None:
    stage.home.rename(f"{stage.home}-away")
    told = checks(services)["ready"]
    assert told.detail == f"the home {stage.home} cannot be written: No such file or directory"
    assert told.remedy == "make room there, and let this user write it"


FULL = """
import sys
from pathlib import Path
from registry.domain.errors import UnavailableError
from registry.transport.doctor import check_ready
from tests.stage import Stage
stage = Stage(Path(sys.argv[1]))
check_ready(stage.registry)
try:
    with (stage.home / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass
except OSError:
    pass
try:
    check_ready(stage.registry)
except UnavailableError as error:
    print(error.message)
(stage.home / "ballast").unlink()
check_ready(stage.registry)
print(sorted(one.name for one in stage.home.iterdir()))
"""


def test_a_server_on_a_disk_that_has_become_full_is_not_ready_until_there_is_room(tmp_path: Path) -> None:
    done = run_on_small_disk(FULL, tmp_path, size="1m")
    full, left = done.stdout.splitlines()
    assert full == f"the home {tmp_path} cannot be written: No space left on device"
    assert left == "['train.jsonl']", "the probe leaves nothing behind"


def test_a_home_that_forgets_what_is_written_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten(*_: int) -> bytes:
        return b""

    monkeypatch.setattr("registry.transport.doctor.os.pread", forgotten)
    assert "does not keep what is written" in checks(services)["ready"].detail


def test_tokens_that_nobody_can_administer_with_or_that_end_soon_are_told(
    guarded: Services, stage: Stage, mint: Mint
) -> None:
    mint("admin:bot")
    mint("admin", expires_at=stage.clock() - timedelta(days=1))
    assert (checks(guarded)["tokens"].passed, "no token gives the role admin") == (
        False,
        checks(guarded)["tokens"].detail,
    )
    mint("admin")
    assert checks(guarded)["tokens"].detail == "2 are good"
    mint("viewer", actor="ci:release", expires_at=stage.clock() + timedelta(days=2))
    told = checks(guarded)["tokens"]
    assert (told.passed, "of ci:release on 2026-11-03" in told.detail) == (False, True)


@pytest.fixture
def provider(stage: Stage) -> Iterator[OidcProvider]:
    provider = OidcProvider(now=lambda: stage.clock().timestamp())
    provider.start()
    yield provider
    provider.host.close()


def test_where_people_sign_in_is_asked(
    services: Services, stage: Stage, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: dict[str, Any] = {
        "issuer": provider.url,
        "client_id": CLIENT,
        "client_secret_env": "TENURE_TEST_OIDC",
        "url": "https://tenure.example.org",
    }
    stage.registry.declaring.apply({"oidc": table}, ANA, plan=False)
    monkeypatch.delenv("TENURE_TEST_OIDC", raising=False)
    assert "TENURE_TEST_OIDC is not set" in checks(services)["sign-in"].detail
    monkeypatch.setenv("TENURE_TEST_OIDC", "x")
    well = checks(services)["sign-in"]
    assert well.passed
    assert f"{provider.url}/authorize" in well.detail
    assert "https://tenure.example.org/session/callback" in well.detail
    provider.down = True
    ill = checks(services)["sign-in"]
    assert (ill.passed, "cannot be used" in ill.detail) == (False, True), "asked anew, whatever was believed"


def test_whether_traces_arrive_is_tried(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    collector.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    assert checks(services)["traces"].passed
    assert (len(collector.raw), collector.spans) == (1, [])
    collector.host.close()
    monkeypatch.setattr("registry.transport.doctor.COLLECTOR_S_MAX", 0.2)
    ill = checks(services)["traces"]
    assert (ill.passed, "4318" in (ill.remedy or "")) == (False, True)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert "pip install 'tenure[telemetry]'" in (checks(services)["traces"].remedy or "")


def test_a_clock_that_was_set_back_is_told(stage: Stage, tmp_path: Path) -> None:
    from registry.application import doctor

    def clock() -> CheckView:
        registry = stage.registry
        found = doctor.examine(tmp_path, registry.tools, registry.reading, lambda _: [])
        return {one.name: one for one in found}["clock"]

    stage.fine_tune()
    assert clock().passed
    stage.clock.advance(hours=-3)
    ill = clock()
    assert (ill.passed, "3:00:00" in ill.detail or "2:59:59" in ill.detail) == (False, True), ill.detail
