"""A server that says what a test tells it to say, in words that no rehearsal knows."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body`: bytes as they are, or what is sent as JSON."""

    pattern: re.Pattern[str]
    status: int
    body: object
    headers: dict[str, str]


@dataclass(slots=True)
class Scripted:
    """`asked`: the method and path of every request, with its query."""

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    bodies: list[bytes] = field(default_factory=list[bytes])
    answers: list[Answer] = field(default_factory=list[Answer])

    def says(self, pattern: str, body: object, status: int = 200, **headers: str) -> None:
        """To requests whose method and path match; what was said last counts."""
        self.answers.insert(0, Answer(pattern=re.compile(pattern), status=status, body=body, headers=headers))

    def count(self, pattern: str) -> int:
        return sum(1 for one in self.asked if re.search(pattern, one))

    def answer(self, asked: str, body: bytes) -> Answer:
        self.asked.append(asked)
        self.bodies.append(body)
        silent = Answer(pattern=re.compile(""), status=404, body=b"<html>404</html>", headers={})
        return next((one for one in self.answers if one.pattern.search(asked)), silent)


@contextmanager
def scripted() -> Generator[Scripted]:
    script = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            found = script.answer(f"{self.command} {self.path}", body)
            raw = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
            kind = "text/html" if isinstance(found.body, bytes) else "application/json"
            self.send_response(found.status)
            for name, value in {"content-type": kind, **found.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names that the handler is asked by

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
