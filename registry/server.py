"""`tenure serve`: API, web pages, gateway and scheduler in one process that owns the home."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import cast

import uvicorn
from anyio import to_thread
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from registry import api
from registry.composition import Registry, open_home
from registry.domain.errors import BadInputError, TenureError, UnavailableError
from registry.remote.finding import SERVER_FILE
from registry.store.duckdb_log import DuckDBLog
from registry.store.tokens import TokenFile
from registry.transport import logs
from registry.transport.gate import LOOPBACK_NAMES, Gate
from registry.transport.guard import Guard
from registry.transport.problems import http_error, invalid_request, tenure_error
from registry.transport.routes import Route, ShortWay
from registry.transport.services import Services
from registry.transport.telemetry import telemetry
from registry.transport.threads import Threads
from registry.transport.wire import BoundedHttp

logger = logging.getLogger("tenure.server")

HOST = "127.0.0.1"
PORT = 8321
SHELLS = ("registry.api", "registry.gateway", "registry.web")
THREADS = 80
"""Requests that wait for the log at the same time: what waits together is written together."""
CONNECTIONS_MAX = 5_000
GARBAGE_AFTER = 20_000
"""Objects made and not freed until the collector looks: a request makes hundreds, none of which need it."""
DRAIN_S = 30
"""How long requests and streams under way may go on when the server stops, in seconds."""
USED_FLUSH_S = 30.0
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
"""FastAPI's own, which would send what was asked and the text of errors; ours is `transport/telemetry.py`."""


def create_app(services: Services, *, shells: Sequence[str] = SHELLS, loopback: bool = False) -> FastAPI:
    """The ASGI application over an open registry. Opening and closing that is the caller's."""
    app = FastAPI(
        title="Tenure",
        summary="A registry for fine-tuned language models: what happened, what serves, what is billed.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=_lifespan(services),
        telemetry=NO_TELEMETRY,
    )
    app.add_exception_handler(TenureError, tenure_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.state.threads = Threads(THREADS)
    for name in shells:
        if find_spec(name) is None:
            continue
        shell = import_module(name)
        router = cast("Callable[[Services], APIRouter]", shell.routes)(services)
        # Looked at first, each once: walking past the API's fifty routes cost the gateway more than all the rest, and
        # an included router matches a request twice.
        quick = [route for route in router.routes if isinstance(route, (Mount, Route))]
        router.routes[:] = [route for route in router.routes if not isinstance(route, (Mount, Route))]
        app.include_router(router)
        app.router.routes[:0] = quick
        if hasattr(shell, "error_page"):
            app.state.error_page = shell.error_page
    api.document(app)
    app.middleware_stack = Guard(
        ShortWay(app), gate=services.gate, threads=THREADS, connections=CONNECTIONS_MAX, loopback=loopback
    )
    return app


def _lifespan(services: Services) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        services.registry.door.on_append = services.meters.append.observe
        try:
            yield
        finally:
            services.watch.close()
            await to_thread.run_sync(services.watch.join)
            await to_thread.run_sync(app.state.threads.close)

    return lifespan


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to serve. `auth`: a token is asked for also on loopback, as behind a proxy. `actor`: who everybody is
    taken for where no token is asked for. `log_level`: None leaves this process's logging as it is.
    """

    home: Path
    actor: str
    host: str = HOST
    port: int = PORT
    auth: bool = False
    log_level: str | None = None

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_NAMES


def serve(settings: Settings, ready: Callable[[str], None] = lambda _: None) -> None:
    """Until SIGTERM or SIGINT. Raises BadInputError, HomeInUseError, and what opening a home raises.

    `ready` is told the URL as soon as connections are accepted.
    """
    tokens = TokenFile(settings.home)
    asked = settings.auth or not settings.is_loopback
    if asked and not tokens.all():
        raise BadInputError(
            f"{settings.host} can be reached by others, and there is no token yet"
            if not settings.is_loopback
            else "a token is to be asked for, and there is none yet",
            field="--host",
            hint="make one first: tenure tokens create --actor user:YOU --role admin",
        )
    with _listening(settings) as listener, telemetry(), open_home(settings.home) as registry, _scheduled(registry):
        if settings.log_level is not None:
            logs.configure(settings.log_level)
        gate = Gate(open_to=None if asked else settings.actor, tokens=tokens, clock=registry.clock)
        services = Services(registry=registry, gate=gate)
        app = create_app(services, loopback=not asked)
        url = f"http://{_shown(settings.host)}:{listener.getsockname()[1]}"
        if isinstance(registry.log, DuckDBLog):
            registry.log.home.announce(url)
        # Before it can be found: who comes until it answers waits in line, instead of taking it for dead.
        config = _config(app)
        listener.listen(config.backlog)
        with _announced(settings.home, url, gate.local_secret), _flushing(tokens):
            try:
                _Server(config, services, lambda: ready(url)).run(sockets=[listener])
            finally:
                gc.unfreeze()  # else DuckDB's module reports, on stderr, all that was not freed at the end


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=30,
        proxy_headers=True,
    )


class _Server(uvicorn.Server):
    """Ends the event streams as soon as it is to stop: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, services: Services, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._services = services
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _settle()
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._services.watch.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logger.info("stopping", extra={"fields": {"signal": signal.Signals(sig).name}})
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def _settle() -> None:
    """What is here now stays until the end, so that the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)


@contextlib.contextmanager
def _listening(settings: Settings) -> Generator[socket.socket]:
    """The address first: it is free or it is not, whatever a home takes to open."""
    try:
        listener = _bound(settings)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            f"cannot serve on {settings.host}:{settings.port}: {why}",
            field="--port",
            hint="choose another one with --port, or 0 for any that is free",
        ) from error
    with listener:
        yield listener


def _bound(settings: Settings) -> socket.socket:
    family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _scheduled(registry: Registry) -> Generator[None]:
    scheduler = registry.scheduler()
    registry.commands.trainers.await_elsewhere()
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()


@contextlib.contextmanager
def _announced(home: Path, url: str, secret: str) -> Generator[None]:
    """`server.json`: how commands on this machine find the server. Its owner's alone: the secret gives full rights."""
    path = home / SERVER_FILE
    temporary = path.with_suffix(".tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a mode from the first byte on
            json.dump({"url": url, "pid": os.getpid(), "token": secret}, file)
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be written: {error.strerror}", hint="make room there, and let this user write it"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _flushing(tokens: TokenFile) -> Generator[None]:
    """Keeps when tokens were last used, now and then and at the end."""
    stopped = threading.Event()

    def flush() -> None:
        while not stopped.wait(USED_FLUSH_S):
            _flush(tokens)

    thread = threading.Thread(target=flush, name="tenure-tokens", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        _flush(tokens)


def _flush(tokens: TokenFile) -> None:
    try:
        tokens.flush()
    except (OSError, TenureError) as error:
        logger.warning("when tokens were last used cannot be kept: %s", error)


def _shown(host: str) -> str:
    """An address to connect to: a server on all addresses is reached here by loopback."""
    known = {"0.0.0.0": HOST, "::": "[::1]"}  # noqa: S104 - read, not bound
    return known.get(host, f"[{host}]" if ":" in host else host)
