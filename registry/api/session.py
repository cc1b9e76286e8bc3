"""Browsers sign in, with a token or at an OpenID Connect provider, and hold a session: a cookie that scripts cannot
read and other sites cannot use.
"""

from __future__ import annotations

import base64
import logging
import secrets
from html import escape
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from registry.application.access import NotSignedInError
from registry.application.signing_in import CALLBACK
from registry.transport.gate import SESSION_COOKIE, SESSION_S, local_path
from registry.transport.logs import note
from registry.transport.services import Services, address_of

BEGUN_COOKIE = "tenure_sign_in"
BEGUN_S = 600
"""How long somebody may take at the provider, in seconds."""
NEXT_MAX = 2000


class Session:
    def __init__(self, services: Services) -> None:
        self._gate = services.gate
        self._oidc = services.oidc

    def add_to(self, router: APIRouter) -> None:
        def add(path: str, endpoint: object, method: str) -> None:
            router.add_api_route(path, endpoint, methods=[method], include_in_schema=False)  # pyright: ignore[reportArgumentType]

        add("/session", self.begin, "POST")
        add("/session/begin", self.go, "GET")
        add(CALLBACK, self.come_back, "GET")
        add("/session/end", self.end, "POST")

    async def begin(
        self,
        request: Request,
        token: Annotated[str, Form(max_length=500)] = "",
        next: Annotated[str, Form(max_length=NEXT_MAX)] = "/",
    ) -> Response:
        """With a token."""
        target = local_path(next)
        try:
            session = self._gate.sign_in(token, address_of(request))
        except NotSignedInError as error:
            note(
                logging.WARNING,
                "refused",
                actor="anonymous",
                path="/session",
                address=address_of(request),
                why=error.message,
            )
            return RedirectResponse(f"/login?error=1&next={quote(target, safe='')}", status_code=303)
        response = RedirectResponse(target, status_code=303)
        _hold(response, session, secure=request.url.scheme == "https")
        return response

    def go(self, next: Annotated[str, Query(max_length=NEXT_MAX)] = "/") -> Response:
        """To the provider."""
        secret = secrets.token_urlsafe(32)
        response = RedirectResponse(self._oidc.begin(secret), status_code=303)
        kept = f"{secret}.{base64.urlsafe_b64encode(local_path(next).encode()).decode().rstrip('=')}"
        # Lax: it has to come along when the provider sends the browser back.
        response.set_cookie(
            BEGUN_COOKIE, kept, max_age=BEGUN_S, path="/session", httponly=True, samesite="lax", secure=self._secure
        )
        return response

    def come_back(self, request: Request) -> Response:
        """From the provider."""
        secret, _, kept = request.cookies.get(BEGUN_COOKIE, "").partition(".")
        answer = dict(request.query_params)
        try:
            principal, session = self._gate.sign_in_person(self._oidc.finish(secret, answer))
        except NotSignedInError:
            self._gate.failed(address_of(request))
            raise
        note(logging.INFO, "signed in", actor=principal.actor, roles=sorted(str(one) for one in principal.grants))
        response = HTMLResponse(_onward(_kept(kept)))
        response.delete_cookie(BEGUN_COOKIE, path="/session")
        _hold(response, session, secure=self._secure)
        return response

    @property
    def _secure(self) -> bool:
        """As people reach it, whatever stands between them and this process."""
        return self._oidc.needed().url.startswith("https:")

    async def end(self, request: Request) -> Response:
        self._gate.sign_out(request.cookies.get(SESSION_COOKIE, ""))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(SESSION_COOKIE)
        return response


def _hold(response: Response, session: str, *, secure: bool) -> None:
    response.set_cookie(
        SESSION_COOKIE, session, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure
    )


def _onward(target: str) -> str:
    """A page that goes on by itself. A redirection would still count as the provider's, and come without the session:
    its cookie is for what begins here.
    """
    address = escape(target)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Signed in</title>'
        f'<meta http-equiv="refresh" content="0;url={address}"><p>Signed in. <a href="{address}">Go on</a></p></html>'
    )


def _kept(text: str) -> str:
    try:
        return local_path(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    except ValueError:
        return "/"
