"""The gateway: OpenAI's clients call `support-bot` here and always reach its active version (docs/gateway.md).

A request costs a look into a table in memory that follows the log: no query, no event, no thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from starlette.routing import Mount

from registry.composition import Registry
from registry.domain.errors import TenureError
from registry.domain.states import ConnectionState
from registry.gateway.app import GatewayApp
from registry.gateway.backends import Backends
from registry.gateway.counting import Counts
from registry.gateway.following import Follower
from registry.gateway.limits import Limits
from registry.gateway.relay import HttpRelay
from registry.gateway.table import Fold
from registry.gateway.threads import DaemonThreads
from registry.gateway.translating import TranslatingRelay
from registry.transport.services import Services

__all__ = ["Gateway", "Limits", "routes"]

logger = logging.getLogger("tenure.gateway")
WRITE_S_MAX = 5.0


def routes(services: Services) -> APIRouter:
    """`/v1`, mounted as plain ASGI, and what has to run beside it."""
    gateway = Gateway(services.registry, prometheus=services.meters.registry)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        async with gateway.running():
            yield

    router = APIRouter(lifespan=lifespan)
    router.routes.append(Mount("/v1", app=gateway.app))
    return router


class Gateway:
    """`app` answers while `running` is entered."""

    def __init__(self, registry: Registry, *, prometheus: CollectorRegistry, limits: Limits | None = None) -> None:
        self._registry = registry
        self._limits = limits or Limits()
        threads = DaemonThreads()
        self._backends = Backends(registry.log, registry.providers, self._limits, threads)
        self._counts = Counts(registry.clock, prometheus)
        self._flushing = asyncio.Lock()
        """Who comes second finds written what the first had taken."""
        self._http = HttpRelay(self._limits)
        self._follower = Follower(registry.log, Fold(registry.log, self._serves_alone), self._backends.install)
        self.app = GatewayApp(
            self._backends,
            self._counts,
            self._limits,
            http=self._http,
            translating=TranslatingRelay(self._limits, threads),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        await self._http.open()
        await self._follower.start()
        self._loop = asyncio.get_running_loop()
        self._registry.reconciler.ask_before_deleting(self.in_flight, self.write_calls)
        flushing = asyncio.create_task(self._flush_now_and_then())
        self.app.started = True
        try:
            yield
        finally:
            flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await flushing
            await asyncio.to_thread(self._follower.stop)
            await self._http.close()
            await self._flush()

    def in_flight(self, deployment: str) -> int:
        """Requests that run on a deployment, routed by all that the log holds now. Called from a thread; may block."""
        self._follower.caught_up(self._limits.behind_s_max)
        return self._backends.in_flight(deployment)

    def write_calls(self) -> bool:
        """Whether the log has all that is counted so far. Called from a thread; blocks, for a few seconds at most."""
        flush = self._flush()
        try:
            return asyncio.run_coroutine_threadsafe(flush, self._loop).result(WRITE_S_MAX)
        except TimeoutError:
            return False
        except RuntimeError:  # the server has stopped, and has written all of it
            flush.close()
            return True

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._limits.flush_s)
            await self._flush()

    async def _flush(self) -> bool:
        """Counts are written beside the requests; what cannot be written waits for the next time, and False is told."""
        async with self._flushing:
            usage = self._counts.take()
            if not usage:
                return True
            try:
                await asyncio.to_thread(self._registry.log.record_usage, usage)
            except TenureError as error:
                self._counts.give_back(usage)
                logger.warning("the gateway's counts cannot be written and wait: %s", error)
                return False
            return True

    def _serves_alone(self, connection: ConnectionState) -> bool:
        try:
            return self._registry.providers.of(connection).capabilities.serving == "none"
        except TenureError as error:
            logger.warning("connection %s is not routed to: %s", connection.name, error.message)
            return False
