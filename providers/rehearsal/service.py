"""How a request becomes a reply: find the operation, meet its fault, do it under the one lock, write it down."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import unquote

from providers.rehearsal.faults import Effect, Fault
from providers.rehearsal.http import Reply, Request
from providers.rehearsal.truth import Call, Json, Thing
from providers.rehearsal.world import World

REHEARSAL = {"x-rehearsal": "true"}
SECRET_HEADERS = ("authorization", "api-key", "x-amz-security-token")
QUOTED_BYTES_MAX = 2_000


class RefusalError(Exception):
    """The service says no, in its own words."""

    def __init__(self, status: int, code: str, message: str, **extra: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One call as its handler sees it. `now`: when effects happen. `view`: the moment that reads look at."""

    request: Request
    params: dict[str, str]
    now: datetime
    view: datetime
    fault: Fault | None = None
    touched: Thing | None = None
    _body: Json | None = field(default=None)

    @property
    def body(self) -> Json:
        if self._body is None:
            self._body = self.request.json()
        return self._body

    def status(self, thing: Thing) -> str:
        """Its status at the moment looked at, or the word that a fault puts there."""
        if self._is("unknown-status") and self.fault is not None:
            return self.fault.text
        return thing.status(self.view)

    def cut(self, things: list[Thing]) -> tuple[list[Thing], bool]:
        """The page to show, and whether a fault has cut it (then no sign of more is given)."""
        return (things[: len(things) // 2], True) if self._is("cut-short") else (things, False)

    def doom(self) -> str | None:
        return self.fault.text if self.fault is not None and self._is("doomed") else None

    def delete(self, thing: Thing, *, after_s: float = 0.0) -> None:
        """End it, unless a fault says otherwise."""
        if self._is("delete-ignored"):
            return
        gone_at = self.now + timedelta(seconds=after_s)
        back_s = self.fault.seconds if self.fault is not None and self._is("delete-reappears") else None
        thing.end(gone_at, back_at=None if back_s is None else gone_at + timedelta(seconds=back_s))

    def _is(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind


Handler = Callable[[Exchange], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`path`: segments, with `{name}` for a parameter (percent-decoded); `query`: names that must be in the query."""

    method: str
    path: str
    operation: str
    effect: Effect
    handler: Handler
    query: tuple[str, ...] = ()


class Dialect(Protocol):
    """What differs from service to service."""

    name: str
    request_id: str
    """The header in which it tells the id of a request."""

    def routes(self) -> Sequence[Route]: ...

    def authorize(self, request: Request) -> None:
        """Raises RefusalError when the credential is missing or wrong."""
        ...

    def error(self, refusal: RefusalError) -> Reply: ...

    def refusal(self, fault: Fault) -> RefusalError:
        """What this service says when it is throttled, broken, or will not have the caller."""
        ...


class Service:
    """A dialect, served: call it with a request."""

    def __init__(self, world: World, dialect: Dialect) -> None:
        self._world = world
        self._dialect = dialect
        self._routes = [(_pattern(route.path), route) for route in dialect.routes()]

    def __call__(self, request: Request) -> Reply:
        found = self._match(request)
        if found is None:
            self._record(f"{self._dialect.name}.unknown", 404, None)
            return self._marked(
                self._dialect.error(
                    RefusalError(404, "not_imitated", f"{request.method} {request.path} is not rehearsed")
                )
            )
        route, params = found
        fault = self._world.faults.draw(route.operation, route.effect)
        reply = self._meet(route, request, params, fault)
        self._record(route.operation, 0 if reply.dropped else reply.status, fault)
        return self._marked(reply)

    def _match(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        for pattern, route in self._routes:
            if route.method != request.method or any(name not in request.query for name in route.query):
                continue
            if match := pattern.fullmatch(request.path):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def _meet(self, route: Route, request: Request, params: dict[str, str], fault: Fault | None) -> Reply:
        if fault is None:
            return self._perform(route, request, params, None)
        match fault.kind:
            case "throttled" | "unauthorized" | "forbidden" | "quota":
                return self._refuse(fault)
            case "echo":
                return self._dialect.error(RefusalError(fault.status, "invalid_value", _quoting(request)))
            case "server-error" | "timeout" | "reset" if not fault.after_effect:
                return self._break(fault)
            case "slow":
                self._world.stopping.wait(fault.seconds)
            case "clock-jump":
                self._world.clock.jump(fault.seconds)
            case "duplicate":
                self._perform(route, request, params, fault)
            case _:
                pass
        reply = self._perform(route, request, params, fault)
        if fault.kind in {"server-error", "timeout", "reset"}:
            return self._break(fault)
        reply.cut = fault.kind == "reset-in-body"
        return reply

    def _perform(self, route: Route, request: Request, params: dict[str, str], fault: Fault | None) -> Reply:
        world = self._world
        with world.lock:
            now = world.clock.now()
            exchange = Exchange(
                request=request, params=params, now=now, view=now - self._lag(route, fault), fault=fault
            )
            try:
                self._dialect.authorize(request)
                reply = route.handler(exchange)
            except RefusalError as refusal:
                return self._dialect.error(refusal)
            if fault is not None and fault.kind == "vanishes" and exchange.touched is not None:
                exchange.touched.end(now)
            return reply

    def _lag(self, route: Route, fault: Fault | None) -> timedelta:
        seconds = self._world.pace.list_lag_s if route.effect == "list" else 0.0
        if fault is not None and fault.kind in {"stale", "backwards"}:
            seconds = max(seconds, fault.seconds)
        return timedelta(seconds=seconds)

    def _refuse(self, fault: Fault) -> Reply:
        reply = self._dialect.error(self._dialect.refusal(fault))
        match fault.retry_after:
            case "seconds":
                reply.headers["retry-after"] = f"{fault.seconds:g}"
            case "date":
                due = self._world.clock.told() + timedelta(seconds=fault.seconds)
                reply.headers["retry-after"] = format_datetime(due, usegmt=True)
            case "absent":
                pass
        return reply

    def _break(self, fault: Fault) -> Reply:
        if fault.kind == "server-error":
            return self._dialect.error(self._dialect.refusal(fault))
        return Reply(dropped=True, held_s=fault.seconds)

    def _record(self, operation: str, status: int, fault: Fault | None) -> None:
        self._world.truth.record(
            Call(
                operation=operation,
                at=self._world.clock.now(),
                status=status,
                fault=fault.kind if fault else None,
            )
        )

    def _marked(self, reply: Reply) -> Reply:
        reply.headers.update(REHEARSAL)
        reply.headers[self._dialect.request_id] = self._world.id("", 32)
        return reply


def _quoting(request: Request) -> str:
    """As services do that explain a refusal by what they were sent."""
    secrets = ", ".join(f"{name}: {request.headers[name]}" for name in SECRET_HEADERS if name in request.headers)
    return f"cannot process {request.body[:QUOTED_BYTES_MAX].decode('utf-8', errors='replace')!r} with {secrets}"


def _pattern(path: str) -> re.Pattern[str]:
    """`{name}` matches one segment, `{name+}` the rest of the path. Case is ignored, as Azure does."""
    text = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
    text = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", text)
    return re.compile(text, re.IGNORECASE)
