"""An OpenID Connect provider on loopback: discovery, keys, authorize, token. Whoever `person` says is signed in,
at once; a browser is shown a page first, as providers do."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from providers.rehearsal.http import Host, Reply, Request, json_reply

Json = dict[str, Any]
CLIENT, SECRET = "tenure", "s3cret/with:signs"


def fresh_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, parameters={"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


@dataclass(slots=True)
class OidcProvider:
    """`spoil` may change the claims before they are signed; `signing` is the key, `shown` those that are published."""

    now: Callable[[], float]
    person: Json = field(default_factory=dict[str, Any])
    spoil: Json = field(default_factory=dict[str, Any])
    document: Json = field(default_factory=dict[str, Any])
    down: bool = False
    asked: list[str] = field(default_factory=list[str])
    url: str = ""
    signing: RSAKey = field(default_factory=lambda: fresh_key("one"))
    shown: list[RSAKey] = field(default_factory=list[RSAKey])
    codes: dict[str, Json] = field(default_factory=dict[str, Json])
    host: Host = field(default_factory=Host)

    def start(self) -> None:
        self.shown = [self.signing]
        self.url = self.host.listen(self.answer)
        self.host.start()

    def answer(self, request: Request) -> Reply:
        self.asked.append(request.path)
        if self.down:
            return Reply(dropped=True)
        match request.path:
            case "/.well-known/openid-configuration":
                return json_reply(self._document())
            case "/keys":
                keys: Any = KeySet(list(self.shown)).as_dict(private=False)
                return json_reply(keys)
            case "/authorize":
                return self._authorize(request)
            case "/token":
                return self._token(request)
            case _:
                return json_reply({}, 404)

    def _document(self) -> Json:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **self.document,
        }

    def _authorize(self, request: Request) -> Reply:
        asked = {name: values[0] for name, values in request.query.items()}
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"
        if "text/html" in request.headers.get("accept", ""):
            page = f'<!doctype html><title>Who are you?</title><a href="{escape(back)}">Ana</a>'
            return Reply(headers={"content-type": "text/html"}, body=page.encode())
        return Reply(status=302, headers={"location": back})

    def _token(self, request: Request) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            return json_reply({"error": "invalid_grant"}, 400)
        if self._shown_secret(request, form) != (CLIENT, SECRET):
            return json_reply({"error": "invalid_client"}, 401)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        if challenge.rstrip("=") != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return json_reply({"error": "invalid_grant"}, 400)
        now = int(self.now())
        claims = {
            "iss": self.url,
            "sub": "subject-1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.person,
            **self.spoil,
        }
        header = {"alg": "RS256", "kid": self.signing.kid}
        signed = jwt.encode(header, {key: value for key, value in claims.items() if value is not None}, self.signing)
        return json_reply({"access_token": "opaque", "token_type": "Bearer", "id_token": signed})

    @staticmethod
    def _shown_secret(request: Request, form: Json) -> tuple[str, str]:
        basic = request.headers.get("authorization", "")
        if not basic:
            return form.get("client_id", ""), form.get("client_secret", "")
        name, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
        return unquote(name), unquote(secret)
