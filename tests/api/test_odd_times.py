"""Times at the ends of the calendar, numbers that Python will not read: answered or refused, wherever one is taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from registry.server import create_app
from registry.transport.services import Services
from tests.stage import BOT, Stage

TIMES = [
    "0001-01-01",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999",
    "99999999999999999999999999",
    "9" * 5000,
]


@pytest.fixture
def site(services: Services, stage: Stage) -> Iterator[TestClient]:
    stage.active()
    app = create_app(services, shells=["registry.api", "registry.web"])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("time", TIMES)
def test_a_time_at_the_end_of_the_calendar_is_answered_or_refused(site: TestClient, time: str) -> None:
    version = f"/models/{BOT}/1"
    pages = [
        "/",
        "/models",
        f"/models/{BOT}",
        version,
        f"{version}/cost",
        f"{version}/deployment",
        "/deployments",
        "/audit",
    ]
    routes = ["models", f"models/{BOT}", f"models/{BOT}/versions/1", "deployments", "connections", "audit/deployments"]
    paths = [*pages, *(f"/api/v1/{one}" for one in routes)]
    asked = [(path, {"as_of": time}) for path in paths]
    for name in ("from", "to"):
        asked += [("/api/v1/audit/costs", {name: time, "by": "day"}), ("/api/v1/audit/deployments", {name: time})]
        asked += [("/audit", {name: time}), ("/api/v1/audit/deployments", {name: time, "format": "focus"})]
    found = {f"{path} {query}": site.get(path, params=query).status_code for path, query in asked}
    assert {name: status for name, status in found.items() if status not in {200, 404, 422}} == {}


@pytest.mark.parametrize("number", ["9" * 20, "9" * 5000, "²", "٣", "-1", "0"])
def test_a_number_that_is_none_is_refused_or_not_found(site: TestClient, number: str) -> None:
    model, route = f"/models/{BOT}", f"/api/v1/models/{BOT}"
    paths = [f"{model}/{number}", f"{model}/{number}/cost", f"{route}/versions/{number}"]
    queries = [(model, "version"), (model, "compare"), (f"{model}/history", "before"), (f"{route}/events", "cursor")]
    found = {path: site.get(path).status_code for path in paths}
    found |= {f"{path}?{name}": site.get(path, params={name: number}).status_code for path, name in queries}
    assert {name: status for name, status in found.items() if status not in {200, 404, 422}} == {}
