"""A provider that answers at once, so that what is measured is what stands before it.

`python -m benchmarks.gateway_upstream` prints its URL and answers chats of OpenAI's, streamed ones in pieces, and
questions about models.
"""

from __future__ import annotations

import asyncio
import json
import socket

import uvicorn
from starlette.types import Receive, Scope, Send

PIECES = 20
PIECE_S = 0.005
SENTENCES = 12
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_793_534_400,
    "model": "upstream",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Your order is on its way. " * SENTENCES},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 84, "total_tokens": 184},
}
MODEL = {"id": "ft:tuned", "object": "model", "created": 1_793_534_400, "owned_by": "org"}
PIECE = {**ANSWER, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Your order "}}]}
_ANSWER = json.dumps(ANSWER).encode()
_MODEL = json.dumps(MODEL).encode()
_MODELS = json.dumps({"object": "list", "data": [MODEL]}).encode()
_PIECE = b"data: " + json.dumps(PIECE).encode() + b"\n\n"
_JSON = b"application/json"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "GET":
        await _whole(send, _MODELS if scope["path"].endswith("/models") else _MODEL)
    elif b'"stream":true' in body.replace(b" ", b""):
        await _stream(send)
    else:
        await _whole(send, _ANSWER)


async def _whole(send: Send, body: bytes) -> None:
    headers = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
        await asyncio.sleep(PIECE_S)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", interface="asgi3")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
