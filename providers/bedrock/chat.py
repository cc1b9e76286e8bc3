"""Chat through Converse and ConverseStream, mapped from and to OpenAI's shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from providers.bedrock.answering import Chunks, completion
from providers.bedrock.asking import asked
from providers.bedrock.clients import Clients
from providers.bedrock.errors import translated_chat
from providers.ports import ChatChunk, ChatRequest, ServingTarget, Upstream


class BedrockChat:
    """`providers.ports.Chat`. What Converse has no word for is refused where it would change the answer."""

    def __init__(self, clients: Clients, *, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._now = now

    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        ask = asked(target, request)
        with translated_chat(now=self._now):
            said = self._clients.get("bedrock-runtime", read_timeout_s=timeout_s).converse(**ask.arguments)
        return {**self._frame(target, said, "chat.completion"), **completion(said, ask.form)}

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        ask = asked(target, request)
        with translated_chat(now=self._now):
            said = self._clients.get("bedrock-runtime", read_timeout_s=timeout_s).converse_stream(**ask.arguments)
            frame, chunks = self._frame(target, said, "chat.completion.chunk"), Chunks(ask.form)
            with contextlib.closing(said["stream"]) as events:
                for event in events:
                    for chunk in chunks.of(event):
                        yield {**frame, **chunk}

    def upstream(self, target: ServingTarget) -> Upstream | None:
        del target
        return None

    def _frame(self, target: ServingTarget, said: Mapping[str, Any], kind: str) -> dict[str, object]:
        return {
            "id": f"chatcmpl-{said['ResponseMetadata'].get('RequestId', '')}",
            "object": kind,
            "created": int(self._now().timestamp()),
            "model": target.deployment_name or target.artifact.id,
        }
