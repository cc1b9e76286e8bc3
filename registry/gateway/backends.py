"""What the table names, made ready for requests: admission, the address with its credential, who is to be avoided."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from providers.errors import ProviderError
from providers.ports import Chat, Upstream
from registry.application.ports import EventLog, Providers
from registry.domain.errors import TenureError
from registry.gateway.limits import Admission, Limits
from registry.gateway.refusal import UpstreamError
from registry.gateway.table import Changes, Replica, Table

FRESH_S = 30.0
"""How long an address and its credential are believed; then they are asked for again, beside the requests."""
REST_S = 2.0
"""How long a replica is asked last after a connection to it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An upstream ready for the HTTP client. `proxy`: as the environment says, None for none."""

    url: URL
    model: str
    headers: dict[str, str]
    tls: ssl.SSLContext | bool
    proxy: str | None
    check: Callable[[Mapping[str, object]], None] | None = None


@dataclass(slots=True, eq=False)
class Backend:
    """One replica. `link` None, once it is resolved: the provider has to translate."""

    replica: Replica
    admission: Admission
    headers: list[tuple[bytes, bytes]]
    chat: Chat | None = None
    link: Link | None = None
    resolved_at: float = float("-inf")
    rests_until: float = float("-inf")
    resolving: asyncio.Task[None] | None = None


class Backends:
    """Used on the event loop only, but for `in_flight`."""

    def __init__(self, log: EventLog, providers: Providers, limits: Limits, threads: Executor) -> None:
        self.table = Table()
        self._log = log
        self._moved = asyncio.Event()
        self._providers = providers
        self._limits = limits
        self._threads = threads
        self._backends: dict[str, Backend] = {}
        self._leaving: dict[str, Admission] = {}
        self._tls: dict[str, ssl.SSLContext] = {}

    def install(self, changes: Changes) -> None:
        gone: set[str] = set()
        before = self.table.served
        for key in [*before] if changes.whole else changes.served:
            gone.update(one.id for one in before.get(key, ()))
        for replicas in changes.served.values():
            gone.difference_update(one.id for one in replicas)
        self._leaving = {name: one for name, one in self._leaving.items() if one.in_flight}
        for name in gone & self._backends.keys():
            self._leaving[name] = self._backends.pop(name).admission
        self.table.install(changes)
        self._moved.set()

    async def catch_up(self) -> bool:
        """Wait a moment until the table is as the log is now. False: it was already."""
        head = self._log.head()
        if self.table.position >= head:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.behind_s_max):
                while self.table.position < head:
                    self._moved.clear()
                    await self._moved.wait()
        return True

    def in_flight(self, deployment: str) -> int:
        """Requests that run on a deployment or wait for it, also when it is no longer routed to."""
        backend = self._backends.get(deployment)
        admission = backend.admission if backend is not None else self._leaving.get(deployment)
        return admission.in_flight if admission is not None else 0

    def pick(self, name: str, tried: Collection[str]) -> Backend | None:
        """The least busy replica that was not tried. None: all were. Raises RefusalError (404, 409)."""
        found = [self._backend(one) for one in self.table.resolve(name) if one.id not in tried]
        if len(found) <= 1:
            return found[0] if found else None
        now = time.monotonic()
        return min(found, key=lambda one: (one.rests_until > now, one.admission.in_flight))

    def _backend(self, replica: Replica) -> Backend:
        """Made when it is first called: an account can have a hundred thousand versions that could be."""
        known = self._backends.get(replica.id)
        if known is None or known.replica is not replica:
            admission = known.admission if known else self._leaving.pop(replica.id, None) or Admission(self._limits)
            known = self._backends[replica.id] = Backend(replica, admission, _headers(replica))
        return known

    def rest(self, backend: Backend) -> None:
        backend.rests_until = time.monotonic() + REST_S

    async def ready(self, backend: Backend) -> None:
        """Its address is known. Raises UpstreamError where there is none."""
        if time.monotonic() - backend.resolved_at < FRESH_S:
            return
        task = self._resolve(backend)
        if backend.chat is None:
            await asyncio.shield(task)

    def _resolve(self, backend: Backend) -> asyncio.Task[None]:
        if backend.resolving is None or backend.resolving.done():
            backend.resolving = asyncio.create_task(self._resolved(backend))
            backend.resolving.add_done_callback(_looked_at)
        return backend.resolving

    async def _resolved(self, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        try:
            chat, link = await loop.run_in_executor(self._threads, self._look_up, backend.replica)
        except (ProviderError, TenureError) as error:
            connection = backend.replica.connection.name
            message = f"connection {connection} cannot be used: {error.message}"
            raise UpstreamError(502, "connection_failed", message) from error
        backend.chat, backend.link, backend.resolved_at = chat, link, time.monotonic()

    def _look_up(self, replica: Replica) -> tuple[Chat, Link | None]:
        """In a thread: a token or an address may have to be asked for."""
        chat = self._providers.of(replica.connection).chat
        upstream = chat.upstream(replica.target)
        return chat, None if upstream is None else self._link(upstream)

    def _link(self, upstream: Upstream) -> Link:
        return Link(
            url=URL(upstream.url, encoded=True),
            model=upstream.model,
            headers={
                **upstream.headers,
                "content-type": "application/json",
                "accept-encoding": "identity",  # bytes pass as they are, and tokens are read from them
            },
            tls=True if upstream.ca_bundle is None else self._trusting(upstream.ca_bundle),
            proxy=proxy_of(upstream.url),
            check=upstream.check,
        )

    def _trusting(self, ca_bundle: str) -> ssl.SSLContext:
        if ca_bundle not in self._tls:
            self._tls[ca_bundle] = ssl.create_default_context(cafile=ca_bundle)
        return self._tls[ca_bundle]


def proxy_of(url: str) -> str | None:
    """As HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say; never for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _headers(replica: Replica) -> list[tuple[bytes, bytes]]:
    """Which version answered, and on which deployment."""
    found = [(b"tenure-version", str(replica.ref).encode())]
    if replica.deployment is not None:
        found.append((b"tenure-deployment", replica.deployment.encode()))
    return found


def _looked_at(task: asyncio.Task[None]) -> None:
    """A failure is told to whoever asks next; here it is only kept from being reported as forgotten."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
