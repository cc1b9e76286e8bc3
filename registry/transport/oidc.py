"""People sign in at an OpenID Connect provider: authorization code flow with PKCE (OpenID Connect Core 3.1, RFC 7636).

One random secret stays in the browser, in a cookie. State, nonce and verifier are derived from it, so that this server
keeps nothing about who has only begun to sign in, and nobody can fill its memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit

import httpx2

from registry.application.access import NotSignedInError
from registry.application.ports import Clock, EventLog
from registry.application.signing_in import SignIn, is_loopback
from registry.domain.errors import NotFoundError, UnavailableError

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384")
LEEWAY_S = 60
ANSWER_S_MAX = 10.0
ANSWER_BYTES_MAX = 1 << 20
FRESH_S = 3600.0
"""How long the provider's addresses and keys are believed."""
AGAIN_S = 10.0
"""How long a provider that did not answer, or whose keys lack one, is not asked again."""
Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Found:
    """What the provider says of itself (OpenID Connect Discovery 1.0), and its keys."""

    settings: SignIn
    document: Json
    keys: KeySet
    at: float


class Oidc:
    """Safe to use from several threads. All but `settings` may block, up to ANSWER_S_MAX for each question."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._parsed: tuple[object, SignIn | None] = ({}, None)
        self._found: Found | None = None
        self._failed: tuple[SignIn, float, UnavailableError] | None = None

    def settings(self) -> SignIn | None:
        """As the log has them now; None where people sign in with tokens alone."""
        written = self._log.registry().oidc
        if self._parsed[0] != written:
            self._parsed = (written, SignIn.of(written) if written else None)
        return self._parsed[1]

    def needed(self) -> SignIn:
        """Raises NotFoundError where there are none."""
        settings = self.settings()
        if settings is None:
            raise NotFoundError("people sign in with tokens here", hint="an admin sets up [oidc]: tenure apply FILE")
        return settings

    def check(self) -> str:
        """The address where people are sent, asked for anew. Raises UnavailableError, NotFoundError."""
        return str(self._ask_provider(self.needed()).document["authorization_endpoint"])

    def begin(self, secret: str) -> str:
        """The address to send a browser to that keeps this secret. Raises UnavailableError, NotFoundError."""
        settings = self.needed()
        query = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect_uri,
            "scope": " ".join(settings.scopes),
            "state": _derived(secret, "state"),
            "nonce": _derived(secret, "nonce"),
            "code_challenge": _digest(_derived(secret, "verifier")),
            "code_challenge_method": "S256",
        }
        address = str(self._provider(settings).document["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    def finish(self, secret: str, answer: Mapping[str, str]) -> Json:
        """The verified claims of whoever came back with `answer`, the query of the redirection.

        Raises NotSignedInError saying why not, UnavailableError, NotFoundError.
        """
        settings = self.needed()
        if not secret or not hmac.compare_digest(answer.get("state", "").encode(), _derived(secret, "state").encode()):
            raise _refused("this answer does not belong to a sign-in that this browser began")
        if answer.get("iss", settings.issuer) != settings.issuer:
            raise _refused("this answer is another provider's")  # RFC 9207
        if "error" in answer:
            raise _refused(f"the provider says: {answer['error'][:100]}")
        found = self._provider(settings)
        token = self._exchange(found, answer.get("code", ""), _derived(secret, "verifier"))
        return self._verified(found, token, _derived(secret, "nonce"))

    def _exchange(self, found: Found, code: str, verifier: str) -> str:
        settings = found.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "client_id": settings.client_id,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {}
        if settings.client_secret_env is not None:
            secret = os.environ.get(settings.client_secret_env)
            if not secret:
                raise UnavailableError(
                    f"{settings.client_secret_env} is not set where the server runs",
                    hint="an admin sets it and starts the server again; signing in with a token works all the same",
                )
            methods = found.document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            if "client_secret_basic" in methods:
                pair = f"{quote(settings.client_id, safe='')}:{quote(secret, safe='')}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                form["client_secret"] = secret
        status, said = _asked("POST", str(found.document["token_endpoint"]), data=form, headers=headers)
        token = said.get("id_token")
        if status != 200 or not isinstance(token, str):  # noqa: PLR2004 - HTTP
            raise _refused(f"the provider gave no identity: {str(said.get('error', status))[:100]}")
        return token

    def _verified(self, found: Found, token: str, nonce: str) -> Json:
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        settings = found.settings
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            try:
                claims = jwt.decode(token, found.keys, ALGORITHMS).claims
            except InvalidKeyIdError:  # it has changed its keys
                claims = jwt.decode(token, self._keys_anew(found), ALGORITHMS).claims
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            raise _refused(f"the provider's word does not hold: {str(error).rstrip(': ')}") from error
        others = isinstance(claims["aud"], list) and len(cast("list[object]", claims["aud"])) > 1
        if claims.get("azp", None if others else settings.client_id) != settings.client_id:
            raise _refused("the provider's word was given to another client")
        return claims

    def _keys_anew(self, found: Found) -> KeySet:
        with self._lock:
            if time.monotonic() - found.at > AGAIN_S:
                found.keys, found.at = _keys(found.document), time.monotonic()
            return found.keys

    def _provider(self, settings: SignIn) -> Found:
        """As it was found within the last hour. Whoever comes while it is asked waits for that answer."""
        with self._lock:
            now = time.monotonic()
            if self._found is not None and self._found.settings == settings and now - self._found.at < FRESH_S:
                return self._found
            if self._failed is not None and self._failed[0] == settings and now - self._failed[1] < AGAIN_S:
                raise self._failed[2]
            try:
                self._found = self._ask_provider(settings)
            except UnavailableError as error:
                self._failed = (settings, time.monotonic(), error)
                raise
            return self._found

    def _ask_provider(self, settings: SignIn) -> Found:
        address = f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        status, document = _asked("GET", address)
        if status != 200:  # noqa: PLR2004 - HTTP
            raise _unavailable(address, f"it answered {status}")
        if document.get("issuer") != settings.issuer:
            raise _unavailable(address, f"it calls itself {str(document.get('issuer'))[:200]!r}: write that as issuer")
        for key in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            parts = urlsplit(str(document.get(key, "")))
            if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
                raise _unavailable(address, f"its {key} is not an https address")
        return Found(settings=settings, document=document, keys=_keys(document), at=time.monotonic())


def _keys(document: Json) -> KeySet:
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    address = str(document["jwks_uri"])
    status, said = _asked("GET", address)
    try:
        if status == 200:  # noqa: PLR2004 - HTTP
            return KeySet.import_key_set(cast("Any", said))
    except (JoseError, KeyError, TypeError, ValueError) as error:
        raise _unavailable(address, f"its keys cannot be read: {error}") from error
    raise _unavailable(address, f"it answered {status}")


def _asked(method: str, address: str, **more: Any) -> tuple[int, Json]:  # noqa: ANN401 - httpx2's own parameters
    """The status and the JSON of an answer; an empty object where it is no JSON object. Raises UnavailableError."""
    body = bytearray()
    try:
        with (
            httpx2.Client(timeout=ANSWER_S_MAX, follow_redirects=False) as client,
            client.stream(method, address, **more) as answer,
        ):
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    raise _unavailable(address, "its answer has no end")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _unavailable(address, str(error) or type(error).__name__) from error
    try:
        said: object = json.loads(bytes(body))
    except ValueError:
        said = None
    return answer.status_code, cast("Json", said) if isinstance(said, dict) else {}


def _unavailable(address: str, why: str) -> UnavailableError:
    host = urlsplit(address).netloc
    hint = "signing in with a token works all the same; `tenure doctor` asks again"
    return UnavailableError(f"the sign-in provider at {host} cannot be used: {why}", hint=hint)


def _refused(why: str) -> NotSignedInError:
    return NotSignedInError(why, hint="begin again at /login")


def _derived(secret: str, what: str) -> str:
    return _digest(f"{what}:{secret}")


def _digest(text: str) -> str:
    """Base64url without padding, as RFC 7636 has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
