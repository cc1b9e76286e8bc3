"""The short way into a route answers as FastAPI's own does, whatever is asked."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Header, Path, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from registry.api.bodies import Because, NewModel
from registry.transport.routes import Route, ShortWay
from registry.transport.threads import Threads

JSON = {"content-type": "application/json"}


def _shown(**found: Any) -> JSONResponse:
    return JSONResponse({name: repr(value) for name, value in found.items()})


def look(
    request: Request,
    name: Annotated[str, Path(pattern="^[a-z]+$")],
    number: Annotated[int, Path(ge=1)],
    limit: Annotated[int, Query(ge=1, le=9)] = 3,
    state: Annotated[list[str] | None, Query(max_length=2)] = None,
    key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=5)] = None,
) -> JSONResponse:
    return _shown(at=request.url.path, name=name, number=number, limit=limit, state=state, key=key)


def make(request: Request, body: NewModel, key: Annotated[str | None, Header()] = None) -> JSONResponse:
    return _shown(at=request.method, body=body, key=key)


def move(request: Request, body: Because | None = None) -> JSONResponse:
    return _shown(at=request.method, body=body)


def table(request: Request, body: dict[str, Any], plan: Annotated[bool, Query()] = False) -> JSONResponse:
    return _shown(at=request.method, body=body, plan=plan)


def needs(request: Request, to: Annotated[int, Query()], tag: Annotated[str, Header()]) -> JSONResponse:
    return _shown(at=request.method, to=to, tag=tag)


async def waits(request: Request) -> JSONResponse:
    return _shown(at=request.method)


def _client(route_class: type[Any]) -> TestClient:
    app = FastAPI(openapi_url=None)
    app.state.threads = Threads(2)
    router = APIRouter(route_class=route_class)
    router.add_api_route("/look/{name}/{number}", look, methods=["GET"])
    for function in (make, move, table):
        router.add_api_route(f"/{function.__name__}", function, methods=["POST"])
    for function in (needs, waits):
        router.add_api_route(f"/{function.__name__}", function, methods=["GET"])
    app.router.routes.extend(router.routes)
    app.middleware_stack = ShortWay(app)
    return TestClient(app)


@pytest.mark.parametrize(
    ("method", "url", "headers", "body"),
    [
        ("GET", "/look/bot/3", {}, b""),
        ("GET", "/look/bot/3?limit=4&state=a&state=b", {"Idempotency-Key": "k"}, b""),
        ("GET", "/look/bot/3?limit=4&state=a&state=b&state=c", {}, b""),
        ("GET", "/look/bot/3?limit=many&unknown=1", {"Idempotency-Key": "far too long"}, b""),
        ("GET", "/look/BOT/0?limit=", {}, b""),
        ("GET", "/look/bot/three", {}, b""),
        ("POST", "/look/bot/3", {}, b""),
        ("POST", "/make", JSON, b'{"model": "bot"}'),
        ("POST", "/make", {**JSON, "key": "k"}, b'{"model": "bot", "policy": {"superseded": "keep"}}'),
        ("POST", "/make", {"content-type": "application/json; charset=utf-8"}, b'{"model": "bot"}'),
        ("POST", "/make", {"content-type": "text/plain"}, b'{"model": "bot"}'),
        ("POST", "/make", {"content-type": ""}, b'{"model": "bot"}'),
        ("POST", "/make", JSON, b'{"model": "No Name", "colour": 1}'),
        ("POST", "/make", JSON, b'{"model": '),
        ("POST", "/make", JSON, b"\xff"),
        ("POST", "/make", JSON, b"[" * 100_000),
        ("POST", "/make", JSON, b"null"),
        ("POST", "/make", JSON, b""),
        ("POST", "/move", {}, b""),
        ("POST", "/move", JSON, b""),
        ("POST", "/move", JSON, b"null"),
        ("POST", "/move", JSON, b'{"reason": "better"}'),
        ("POST", "/move", JSON, b'{"reason": 3}'),
        ("POST", "/table?plan=true", JSON, b'{"models": {"bot": NaN}}'),
        ("POST", "/table?plan=perhaps", JSON, b"[]"),
        ("GET", "/needs", {}, b""),
        ("GET", "/needs?to=3", {"tag": "t"}, b""),
        ("GET", "/needs?to=x", {"tag": "t"}, b""),
        ("GET", "/needs?to=3", [("tag", "t"), ("tag", "u")], b""),
        ("GET", "/waits", {}, b""),
    ],
)
def test_both_ways_answer_the_same(
    method: str, url: str, headers: dict[str, str] | list[tuple[str, str]], body: bytes
) -> None:
    answers = [_client(way).request(method, url, headers=headers, content=body) for way in (APIRoute, Route)]
    first, second = ((one.status_code, one.headers.get("content-type"), one.text) for one in answers)
    assert first == second


def test_a_body_in_pieces_is_read_to_its_end() -> None:
    answer = _client(Route).post("/make", headers=JSON, content=iter([b'{"mod', b'el": "b', b'ot"}']))
    assert answer.status_code == 200
    assert "model='bot'" in answer.text


def test_whoever_goes_away_in_mid_body_is_answered_alike() -> None:
    async def statuses(route_class: type[Any]) -> list[int]:
        came = iter([{"type": "http.request", "body": b"{", "more_body": True}])
        sent: list[Any] = []

        async def receive() -> Any:
            return next(came, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        where = {"path": "/make", "raw_path": b"/make", "query_string": b"", "root_path": "", "scheme": "http"}
        scope = {"type": "http", "method": "POST", "headers": headers, **where}
        await _client(route_class).app(scope, receive, send)
        return [one["status"] for one in sent if one["type"] == "http.response.start"]

    assert asyncio.run(statuses(Route)) == asyncio.run(statuses(APIRoute)) == [400]


@pytest.mark.parametrize("url", ["/look/bot/3", "/make"])
def test_what_is_well_formed_does_not_go_the_long_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _client(Route)
    app: Any = client.app
    monkeypatch.setattr(app.middleware_stack, "_whole", None)
    content = b'{"model": "bot"}' if url == "/make" else b""
    assert client.request("POST" if content else "GET", url, headers=JSON, content=content).status_code == 200
