"""A real server in a thread, on a loopback port of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.application.access import Principal, everything
from registry.gateway import Gateway

WAIT_S_MAX = 30.0


class Server:
    """The port is bound at once; it answers inside `with`."""

    def __init__(self, app: ASGIApp, *, lifespan: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="on" if lifespan else "off",
            timeout_graceful_shutdown=2,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        self._socket = config.bind_socket()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}"

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(int(WAIT_S_MAX / 0.01)):
            if self._server.started:
                return self
            self._thread.join(0.01)
        raise AssertionError("the server did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S_MAX)
        self._socket.close()


class Front:
    """A gateway as the server mounts it, with a principal in the place of the guard."""

    def __init__(self, gateway: Gateway, principal: Principal | None = None) -> None:
        self.principal = principal or everything("user:ana")
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with self._gateway.running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scope.setdefault("state", {})["principal"] = self.principal
        await self._gateway.app(scope, receive, send)
