from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import pytest
from prometheus_client import CollectorRegistry

import providers.ports
from providers.ports import ServingTarget
from registry.application.access import Principal
from registry.gateway import Gateway, Limits
from tests.gateway.serving import WAIT_S_MAX, Front, Server
from tests.gateway.upstream import Upstream
from tests.stage import Stage

SECRET = "sk-of-the-connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gateway that answers: with OpenAI's client, which asks once, and as plain HTTP."""

    url: str
    openai: openai.OpenAI
    http: httpx2.Client
    gateway: Gateway
    front: Front
    prometheus: CollectorRegistry

    def follow(self) -> None:
        """Until requests are routed by all that the log holds now."""
        self.gateway.in_flight("none")

    def ask(self, model: str, **more: object) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Where is my order?"}], **more}
        return self.http.post("/v1/chat/completions", json=body)


OpenDoor = Callable[..., Door]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def upstream(stage: Stage) -> Iterator[Upstream]:
    """What the connection `cloud` reaches; a deployment is asked for by its own name."""
    with Upstream() as upstream:

        def reached(target: ServingTarget) -> providers.ports.Upstream:
            return providers.ports.Upstream(
                url=f"{upstream.url}/v1/chat/completions",
                model=target.deployment_name or target.artifact.id,
                headers={"authorization": f"Bearer {SECRET}"},
            )

        for name in ("cloud", "alone"):
            stage.cloud(name).reached = reached
        yield upstream


@pytest.fixture
def open_door(stage: Stage) -> Iterator[OpenDoor]:
    with contextlib.ExitStack() as stack:

        def open_one(limits: Limits | None = None, principal: Principal | None = None) -> Door:
            prometheus = CollectorRegistry()
            gateway = Gateway(stage.registry, prometheus=prometheus, limits=limits)
            front = Front(gateway, principal)
            server = stack.enter_context(Server(front, lifespan=True))
            http = stack.enter_context(httpx2.Client(base_url=server.url, trust_env=False, timeout=WAIT_S_MAX))
            client = stack.enter_context(
                openai.OpenAI(base_url=f"{server.url}/v1", api_key="the-callers-own", max_retries=0, timeout=WAIT_S_MAX)
            )
            return Door(url=server.url, openai=client, http=http, gateway=gateway, front=front, prometheus=prometheus)

        yield open_one


@pytest.fixture
def door(open_door: OpenDoor, upstream: Upstream) -> Door:
    del upstream
    return open_door()
