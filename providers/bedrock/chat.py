"""Chat through Converse and ConverseStream, mapped from and to OpenAI's shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime
from typing import Any

from providers.bedrock.answering import Chunks, completion
from providers.bedrock.asking import asked
from providers.bedrock.clients import Clients
from providers.bedrock.errors import translated_chat
from providers.errors import OutcomeUnknownError
from providers.ports import ChatChunk, ChatRequest, ServingTarget, Upstream


class Pieces(Iterator[ChatChunk]):
    """A stream as `providers.ports.Chat` has it, which another thread can interrupt.

    Closing a connection wakes nobody who waits for it; shutting its socket down does.
    """

    def __init__(self, pieces: Callable[[Callable[[Any], None]], Generator[ChatChunk]]) -> None:
        self._pieces = pieces(self._begun)
        self._body: Any = None
        self._interrupted = False

    def __next__(self) -> ChatChunk:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces.close()

    def interrupt(self) -> None:
        self._interrupted = True
        if self._body is not None:
            # Of one that is read to its end, there is nothing left to shut down.
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                self._body.shutdown()

    def _begun(self, body: Any) -> None:  # noqa: ANN401 - botocore's
        self._body = body
        if self._interrupted:
            self.interrupt()


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

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Pieces:
        ask = asked(target, request)

        def pieces(begun: Callable[[Any], None]) -> Generator[ChatChunk]:
            with translated_chat(now=self._now):
                said = self._clients.get("bedrock-runtime", read_timeout_s=timeout_s).converse_stream(**ask.arguments)
                with contextlib.closing(said["stream"]) as events:
                    begun(self._clients.streaming())
                    frame, chunks = self._frame(target, said, "chat.completion.chunk"), Chunks(ask.form)
                    for event in events:
                        for chunk in chunks.of(event):
                            yield {**frame, **chunk}
                if not chunks.ended:
                    raise OutcomeUnknownError("the stream ended in the midst of the answer", operation="chat")

        return Pieces(pieces)

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
