from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from registry.application.access import Grant, issue
from registry.remote import Remote, connect
from registry.server import create_app
from registry.store.tokens import TokenFile
from registry.transport.gate import Gate
from registry.transport.services import Services
from tests.stage import ANA, Stage

WAIT_S = 20.0
Mint = Callable[..., str]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def services(stage: Stage) -> Services:
    return Services(registry=stage.registry, gate=Gate(open_to=ANA.actor, clock=stage.clock))


@pytest.fixture
def rest(services: Services) -> Iterator[TestClient]:
    """The API where everyone has full rights."""
    with TestClient(create_app(services, shells=["registry.api"])) as client:
        yield client


@pytest.fixture
def tokens(stage: Stage) -> TokenFile:
    return TokenFile(stage.home)


@pytest.fixture
def mint(stage: Stage, tokens: TokenFile) -> Mint:
    """Make a token: roles, then what else is to be said of it."""
    made = iter(range(1, 100))

    def make(*roles: str, actor: str = "user:ben", **more: object) -> str:
        number = next(made)
        token, shown = issue(
            actor,
            frozenset(Grant.parse(one) for one in roles),
            id=f"{number:010x}",
            secret=bytes([number]) * 32,
            now=stage.clock(),
            by=ANA.actor,
            **more,  # pyright: ignore[reportArgumentType] - expires_at, rate_max
        )
        tokens.add(token)
        return shown

    return make


@pytest.fixture
def guarded(stage: Stage, tokens: TokenFile) -> Services:
    """A registry that asks for tokens."""
    return Services(registry=stage.registry, gate=Gate(open_to=None, tokens=tokens, clock=stage.clock))


@pytest.fixture
def locked(guarded: Services) -> Iterator[TestClient]:
    """The API where a token is asked for."""
    with TestClient(create_app(guarded, shells=["registry.api"]), follow_redirects=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Live:
    """The app behind a real socket, in a thread."""

    def __init__(self, services: Services, *shells: str) -> None:
        app = create_app(services, shells=shells or ["registry.api"])
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on")
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(WAIT_S / 0.01)):
            if self.server.started:
                break
            waited.wait(0.01)
        (listener,) = self.server.servers[0].sockets
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def live(services: Services) -> Iterator[Live]:
    live = Live(services)
    yield live
    services.watch._stopped.set()
    live.stop()


@pytest.fixture
def remote(live: Live) -> Iterator[Remote]:
    with connect(live.url) as remote:
        assert isinstance(remote, Remote)
        yield remote
