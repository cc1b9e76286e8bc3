from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers.errors import UnavailableError
from tests.providers.cloud_harness import NOON, CloudHarness
from tests.providers.cloud_metrics import CloudMetrics

ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a/deployments/Prod-Bot"


class TestAzureMetrics(CloudMetrics):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        return harness


def series(name: str, *points: tuple[str, float | None]) -> dict[str, Any]:
    data = [{"timeStamp": at} if total is None else {"timeStamp": at, "total": total} for at, total in points]
    return {"metadatavalues": [{"name": {"value": "modeldeploymentname"}, "value": name}], "data": data}


def answer(*timeseries: dict[str, Any], **changes: object) -> dict[str, Any]:
    metric = {"name": {"value": "AzureOpenAIRequests"}, "errorCode": "Success", "timeseries": list(timeseries)}
    return {"value": [{**metric, **changes}]}


class Monitor:
    """Azure Resource Manager that answers every question with the same body."""

    def __init__(self) -> None:
        self.body = b"{}"
        self.paths: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def says(self, body: object) -> None:
        self.body = json.dumps(body).encode()


@pytest.fixture
def monitor(harness: CloudHarness) -> Iterator[Monitor]:
    found = Monitor()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    harness.set(resource_manager=f"http://127.0.0.1:{found.server.server_port}")
    try:
        yield found
    finally:
        harness.close()
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def test_names_are_told_apart_as_azure_does_and_hours_without_a_call_do_not_count(
    harness: CloudHarness, monitor: Monitor
) -> None:
    calls = ("2026-11-19T07:00:00Z", 2.0), ("2026-11-19T08:00:00Z", 0.0), ("2026-11-19T09:00:00Z", None)
    monitor.says(answer(series("prod-bot", *calls), series("another", ("2026-11-20T11:00:00Z", 5.0))))
    told = harness.connect().deployments.last_used({ID: NOON - timedelta(days=3)})
    assert told == {ID: datetime(2026, 11, 19, 8, tzinfo=UTC)}
    (path,) = monitor.paths
    assert "timespan=2026-11-17T12:00:00Z/2026-11-20T12:00:00Z" in path
    assert "api-version=2024-02-01" in path
    assert "top=1000" in path


@pytest.mark.parametrize(
    "body",
    [
        {"value": []},
        answer(errorCode="InvalidSamplingType"),
        answer(*(series(f"one-{n}", ("2026-11-19T07:00:00Z", 1.0)) for n in range(1000))),
        {"value": [{"nothing": "known"}]},
        [],
    ],
    ids=["no-metric", "an-error", "too-many", "another-form", "a-list"],
)
def test_what_does_not_tell_of_all_deployments_proves_nothing_and_is_asked_for_again(
    harness: CloudHarness, monitor: Monitor, body: object
) -> None:
    monitor.says(body)
    with pytest.raises(UnavailableError, match="Azure Monitor"):
        harness.connect().deployments.last_used({ID: NOON})


def test_azure_shows_thirty_days_at_a_time_and_is_asked_as_often_as_it_takes(
    harness: CloudHarness, monitor: Monitor
) -> None:
    monitor.says(answer(series("Prod-Bot", ("2026-10-01T07:00:00Z", 1.0))))
    told = harness.connect().deployments.last_used({ID: NOON - timedelta(days=70)})
    assert told == {ID: datetime(2026, 10, 1, 8, tzinfo=UTC)}
    spans = [path.partition("timespan=")[2].partition("&")[0] for path in monitor.paths]
    assert spans == [
        "2026-09-11T12:00:00Z/2026-10-11T12:00:00Z",
        "2026-10-11T12:00:00Z/2026-11-10T12:00:00Z",
        "2026-11-10T12:00:00Z/2026-11-20T12:00:00Z",
    ]


def test_before_what_azure_keeps_nothing_is_known_so_it_may_have_been_called_until_then(
    harness: CloudHarness, monitor: Monitor
) -> None:
    monitor.says(answer())
    told = harness.connect().deployments.last_used({ID: NOON - timedelta(days=200)})
    assert told == {ID: NOON - timedelta(days=92)}
