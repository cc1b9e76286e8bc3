"""Browsers sign in with a token and hold a session: a cookie that scripts cannot read and other sites cannot use."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from registry.application.access import NotSignedInError
from registry.transport.gate import SESSION_COOKIE, SESSION_S
from registry.transport.services import Services


class Session:
    def __init__(self, services: Services) -> None:
        self._gate = services.gate

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/session", self.begin, methods=["POST"], include_in_schema=False)
        router.add_api_route("/session/end", self.end, methods=["POST"], include_in_schema=False)

    async def begin(
        self,
        request: Request,
        token: Annotated[str, Form(max_length=500)] = "",
        next: Annotated[str, Form(max_length=2000)] = "/",
    ) -> Response:
        target = _here(next)
        address = request.client.host if request.client else "unknown"
        try:
            session = self._gate.sign_in(token, address)
        except NotSignedInError:
            return RedirectResponse(f"/login?error=1&next={quote(target, safe='')}", status_code=303)
        response = RedirectResponse(target, status_code=303)
        response.set_cookie(
            SESSION_COOKIE,
            session,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def end(self, request: Request) -> Response:
        self._gate.sign_out(request.cookies.get(SESSION_COOKIE, ""))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(SESSION_COOKIE)
        return response


def _here(next: str) -> str:
    """A page of this server, and no other address."""
    return next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/"
