"""Chat with a local server, in OpenAI's own shapes: what is asked and answered is handed through."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from providers.errors import ChatError, OutcomeUnknownError, UnavailableError
from providers.ports import ChatChunk, ChatRequest, ServingTarget, Upstream

CONNECT_S_MAX = 5.0
ERROR_BYTES_MAX = 100_000
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a deployment answers, and the model's name there."""

    url: str
    model: str


class LocalChat:
    """`providers.ports.Chat` over loopback HTTP. `find` knows a deployment's server by the deployment's name.

    A connection is made anew for each request: transformers' server resets a kept one after it failed at a request,
    and the next request would pay for that. On loopback it costs some 0.1 ms.
    """

    def __init__(self, find: Callable[[str], Server | None]) -> None:
        self._find = find
        self._client = httpx2.Client(
            trust_env=False,  # no proxy, and nobody's credentials, between here and 127.0.0.1
            verify=False,  # plain http on loopback; building a TLS context takes longer than a request
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        _check(request)
        server = self._server(target)
        with _translated():
            response = self._client.post(
                server.url + PATH, json={**request, "model": server.model, "stream": False}, timeout=_limit(timeout_s)
            )
            _raise_for(response)
            answer: dict[str, Any] = response.json()
        return answer

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        _check(request)
        server = self._server(target)
        body = {**request, "model": server.model, "stream": True}
        with (
            _translated(),
            self._client.stream("POST", server.url + PATH, json=body, timeout=_limit(timeout_s)) as response,
        ):
            _raise_for(response)
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    return
                if data:
                    yield _chunk(data)

    def upstream(self, target: ServingTarget) -> Upstream | None:
        server = self._server(target)
        return Upstream(url=server.url + PATH, model=server.model, check=_check)

    def close(self) -> None:
        self._client.close()

    def _server(self, target: ServingTarget) -> Server:
        server = self._find(target.deployment_name or "")
        if server is None:
            raise UnavailableError(f"deployment {target.deployment_name} is not there", operation="chat")
        return server


def _check(request: Mapping[str, object]) -> None:
    """What transformers' server would answer 500 to, or with one answer where several were asked for, is refused as
    OpenAI refuses it. Raises ChatError (400).
    """
    messages = request.get("messages")
    if not messages or not isinstance(messages, list):
        raise _refused("messages", "must be a list of at least one message.")
    if not all(isinstance(one, dict) and "role" in one for one in cast("list[object]", messages)):
        raise _refused("messages", "must be objects with a role and a content.")
    for name in ("max_tokens", "max_completion_tokens"):
        if request.get(name) is not None and not _at_least_one(request[name]):
            raise _refused(name, "must be a whole number from 1.")
    if request.get("n") not in (None, 1):
        raise _refused("n", "must be 1: this server gives one answer to a request.")


def _at_least_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _refused(param: str, fault: str) -> ChatError:
    message = f"'{param}' {fault}"
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": "invalid_value"}
    return ChatError(message, status=400, body={"error": error}, code="invalid_value")


def _limit(timeout_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(timeout_s, connect=min(CONNECT_S_MAX, timeout_s))


def _chunk(data: str) -> ChatChunk:
    chunk: dict[str, Any] = json.loads(data)
    if "error" in chunk:
        raise ChatError("the server failed in mid-answer", status=500, body=chunk)
    return chunk


def _raise_for(response: httpx2.Response) -> None:
    if response.is_success:
        return
    text = response.read()[:ERROR_BYTES_MAX].decode("utf-8", errors="replace")
    body: object = text
    with contextlib.suppress(ValueError):
        body = json.loads(text)
    raise ChatError(f"the server answered {response.status_code}", status=response.status_code, body=body)


@contextlib.contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
        raise UnavailableError("the server does not accept connections", operation="chat") from exc
    except httpx2.TimeoutException as exc:
        raise OutcomeUnknownError("the server did not answer in time", operation="chat", code="timeout") from exc
    except (httpx2.TransportError, ValueError) as exc:
        raise OutcomeUnknownError("the server broke off its answer", operation="chat", code="broken") from exc
