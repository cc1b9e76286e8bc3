"""The one middleware in front of every shell: it finds out who asks and puts it in `request.state.principal`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from registry.application.access import everything


class Guard:
    """Plain ASGI, so that it costs microseconds and streams pass untouched."""

    def __init__(self, app: ASGIApp, *, actor: str) -> None:
        self._app = app
        self._principal = everything(actor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["principal"] = self._principal
        await self._app(scope, receive, send)
