"""One request to one backend, and its answer back, byte for byte; and what every way of relaying has in common.

Errors before the first byte are raised, so that somebody else may be asked. After it the answer stands.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, cast

import aiohttp
from starlette.types import Message

from providers.errors import ChatError
from providers.redaction import redacted, without_secrets
from registry.gateway.asking import Ask
from registry.gateway.backends import Backend, Link
from registry.gateway.counting import Tail, Tokens
from registry.gateway.limits import Limits
from registry.gateway.refusal import BrokenOffError, UnreadError, UpstreamError, retry_after

Send = Callable[[Message], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

READ_BYTES = 64 * 1024
"""Of one answer, read ahead of a caller that reads slowly; twice as much and the provider is made to wait."""
ERROR_BYTES_MAX = 100_000
_REFUSED, _BROKEN = 400, 500
_ELSEWHERE = range(300, 400)
"""A redirection is not followed, and not handed on: it would take a caller's token to somebody else."""
_NOT_OURS_TO_SAY = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "date", "server", "set-cookie", "alt-svc", "strict-transport-security", "clear-site-data",
    }
)  # fmt: skip
"""Headers that are between two neighbours only, or that another server may not say in our name."""
_PREFIXES_OF_OURS = ("access-control-", "tenure-")
"""Who may read answers from another page is for this server to say, and so is which version answered."""
_RENAMED = {"x-request-id": b"tenure-upstream-request-id", "apim-request-id": b"tenure-upstream-request-id"}


@dataclass(slots=True)
class Answer:
    """What has gone out so far. `finish` is called right before the last bytes do. Followed by `close`.

    Each method waits until the caller has taken what went before. Raises UnreadError after `unread_s_max`, twice that
    at most: one timer looks now and then, since one for each piece costs 4 µs (docs/decisions/0079).
    """

    send: Send
    began: Callable[[], None]
    finish: Callable[[], None]
    unread_s_max: float
    status: int = 0
    tail: Tail = field(default_factory=Tail)
    tokens: Tokens | None = None
    _since: float = math.inf
    _task: asyncio.Task[object] | None = None
    _timer: asyncio.TimerHandle | None = None
    _given_up: bool = False

    async def start(self, status: int, headers: HeaderList) -> None:
        self.status = status
        self.began()
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def pass_on(self, chunk: bytes) -> None:
        if self._timer is None:
            self._task = asyncio.current_task()
            self._look_later()
        await self._taken({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        self.finish()
        await self._taken({"type": "http.response.body", "body": chunk, "more_body": False})

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _taken(self, message: Message) -> None:
        self._since = time.monotonic()
        try:
            await self.send(message)
        except asyncio.CancelledError:
            if not self._given_up or self._task is None:
                raise
            self._task.uncancel()
            raise UnreadError from None
        self._since = math.inf

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.unread_s_max, self._look)

    def _look(self) -> None:
        if time.monotonic() - self._since < self.unread_s_max:
            self._look_later()
        elif self._task is not None:
            self._given_up = True
            self._task.cancel()


class Relay(Protocol):
    async def __call__(self, backend: Backend, ask: Ask, extra: Mapping[str, str], answer: Answer) -> None:
        """Raises UpstreamError before the first byte, BrokenOffError after it."""
        ...


class HttpRelay:
    """Bytes in, bytes out, over connections that are kept open."""

    def __init__(self, limits: Limits) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_s_max, sock_read=limits.silence_s_max
        )
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            read_bufsize=READ_BYTES,
            headers={"user-agent": "tenure-gateway", "accept": "*/*"},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, backend: Backend, ask: Ask, extra: Mapping[str, str], answer: Answer) -> None:
        link = backend.link
        assert link is not None
        if link.check is not None:
            try:
                link.check(ask.parsed)
            except ChatError as error:
                await refuse(backend, error, answer)
                return
        async with await self._asked(link, ask, extra) as response:
            if response.status >= _BROKEN or response.status in _ELSEWHERE:
                raise await _failure(response)
            if response.status >= _REFUSED:
                await _refuse(response, backend, answer)
                return
            try:
                first = await response.content.readany()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _unanswered(error) from error
            await answer.start(response.status, [*_handed_on(response), *backend.headers])
            try:
                await _pass_through(response, first, answer)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise BrokenOffError(_reason(error)) from error
        answer.tokens = answer.tail.tokens()

    async def _asked(self, link: Link, ask: Ask, extra: Mapping[str, str]) -> aiohttp.ClientResponse:
        assert self._session is not None
        try:
            return await self._session.post(
                link.url,
                data=ask.naming(link.model),
                headers={**extra, **link.headers},
                ssl=link.tls,
                proxy=link.proxy,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unanswered(error) from error


async def _pass_through(response: aiohttp.ClientResponse, chunk: bytes, answer: Answer) -> None:
    """Each piece as it comes, `chunk` first. Where the length is known, the last piece is sent as the last."""
    left = response.content_length
    while chunk:
        answer.tail.feed(chunk)
        if left is not None:
            left -= len(chunk)
            if left <= 0:
                await answer.end(chunk)
                return
        await answer.pass_on(chunk)
        chunk = await response.content.readany()
    await answer.end()


async def refuse(backend: Backend, error: ChatError, answer: Answer) -> None:
    """The provider's own 4xx, in its own words."""
    body = json.dumps(error.body if error.body is not None else {"error": {"message": error.message}}).encode()
    length = (b"content-length", str(len(body)).encode())
    headers: HeaderList = [(b"content-type", b"application/json"), length, *backend.headers]
    if error.retry_after_s is not None:
        headers.append(retry_after(error.retry_after_s))
    await answer.start(error.status, headers)
    await answer.end(body)


async def _refuse(response: aiohttp.ClientResponse, backend: Backend, answer: Answer) -> None:
    """The provider's own 4xx, in its own words, which are the caller's; a credential that they quote is not."""
    try:
        body = await _whole(response)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _unanswered(error) from error
    told = without_secrets(body.decode("utf-8", errors="replace")).encode()
    headers = [one for one in _handed_on(response) if one[0] != b"content-length"]
    await answer.start(response.status, [*headers, (b"content-length", str(len(told)).encode()), *backend.headers])
    await answer.end(told)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """An answer that says what is wrong; what is longer than such answers are is left away."""
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= ERROR_BYTES_MAX:
            response.close()
            break
    return body[:ERROR_BYTES_MAX]


def _handed_on(response: aiohttp.ClientResponse) -> HeaderList:
    named = response.headers.get("connection", "").lower()
    between = {name.strip().encode() for name in named.split(",")} if named not in {"", "close", "keep-alive"} else ()
    found: HeaderList = []
    for name, value in response.raw_headers:
        told = _told_as(name)
        if told is not None and told not in between:
            found.append((told, value))
    return found


@lru_cache(maxsize=1024)
def _told_as(name: bytes) -> bytes | None:
    """The name under which a provider's header is handed on; None: not at all."""
    lower = name.decode("latin-1").lower()
    if lower in _NOT_OURS_TO_SAY or lower.startswith(_PREFIXES_OF_OURS):
        return None
    return _RENAMED.get(lower) or lower.encode("latin-1")


def _unanswered(error: Exception) -> UpstreamError:
    """No answer, or none that can be read."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return UpstreamError(502, "upstream_unreachable", f"what serves this version cannot be reached: {error}")
        case TimeoutError():
            message = "what serves this version did not answer in time"
            return UpstreamError(504, "upstream_timeout", message, elsewhere=False)
        case _:
            message = f"what serves this version broke off without an answer: {_reason(error)}"
            return UpstreamError(502, "upstream_broken", message, lost=True)


async def _failure(response: aiohttp.ClientResponse) -> UpstreamError:
    """A 5xx of the provider's. 503 and 504 stay what they are."""
    text = ""
    try:
        text = _message(await _whole(response))
    except (aiohttp.ClientError, TimeoutError):
        response.close()
    status = response.status if response.status in {503, 504} else 502
    wait = response.headers.get("retry-after", "")
    return UpstreamError(
        status,
        "upstream_failed",
        f"what serves this version answered {response.status}{': ' if text else ''}{text}",
        retry_after_s=float(wait) if wait.isascii() and wait.isdigit() else None,
    )


def _message(body: bytes) -> str:
    """The provider's own words."""
    try:
        said: object = json.loads(body)
    except ValueError:
        return redacted(body.decode("utf-8", errors="replace")) if body else ""
    while isinstance(said, dict):
        inner = cast("dict[str, object]", said)
        said = inner.get("error") or inner.get("message") or inner.get("detail")
    return redacted(said) if said else ""


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
