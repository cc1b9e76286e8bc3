"""Chat through the openai SDK: what is asked and answered is handed through, also what the SDK does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from providers.openai.client import Client
from providers.openai.errors import translated_chat
from providers.openai.lists import thing
from providers.ports import ChatChunk, ChatRequest, ServingTarget, Upstream


class CloudChat:
    """`providers.ports.Chat`. `named` tells how the endpoint calls a target: by its model or by its deployment;
    `reached`, given that name, where its chats go without the SDK.
    """

    def __init__(
        self,
        client: Client,
        named: Callable[[ServingTarget], str],
        reached: Callable[[str], Upstream],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._named = named
        self._reached = reached
        self._now = now

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        with translated_chat(now=self._now):
            answer: Any = self._client.get().chat.completions.create(
                **self._arguments(target, request), stream=False, timeout=timeout_s
            )
            return thing(answer.to_dict(), "choices")

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        with translated_chat(now=self._now):
            chunks: Any = self._client.get().chat.completions.create(
                **self._arguments(target, request), stream=True, timeout=timeout_s
            )
            with chunks:
                first = next(chunks, None)
                if first is None:
                    raise ValueError("no chunk")
                yield first.to_dict()
                for chunk in chunks:
                    yield chunk.to_dict()

    def upstream(self, target: ServingTarget) -> Upstream | None:
        return self._reached(self._named(target))

    def _arguments(self, target: ServingTarget, request: ChatRequest) -> dict[str, Any]:
        beside = {name: value for name, value in request.items() if name not in {"model", "messages", "stream"}}
        return {"model": self._named(target), "messages": request.get("messages") or [], "extra_body": beside}
