"""What whoever looks after the process has: health, readiness, figures, logs."""

from __future__ import annotations

import json
import logging

import pytest
from starlette.testclient import TestClient

from registry.transport import logs, meters
from tests.api.test_rest import fine_tune
from tests.stage import ANA, Stage


def figures(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_figures_are_those_of_the_registry(rest: TestClient, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "STATES_KEPT_S", 0.0)
    fine_tune(rest)
    stage.settle()
    stage.active()
    answer = rest.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = figures(answer.text)
    assert found['tenure_versions{state="active"}'] == 1
    assert found['tenure_versions{state="trained"}'] == 1
    assert found['tenure_deployments_billed{provider="azure-openai"}'] == 1
    assert found['tenure_billed_rate_per_hour{currency="USD",provider="azure-openai"}'] == 1.8
    assert found['tenure_versions{state="failed"}'] == 0
    assert found["tenure_deployments_unpriced"] == 0
    assert found["tenure_log_position"] == stage.log.head()
    assert found["tenure_orphans"] == 0
    assert found["tenure_append_seconds_count"] >= 2
    stage.orphan_job()
    assert figures(rest.get("/metrics").text)["tenure_orphans"] == 1


def test_what_is_billed_no_longer_is_told_as_nothing(
    rest: TestClient, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "STATES_KEPT_S", 0.0)
    version = stage.active()
    rest.get("/metrics")
    stage.registry.commands.retire(version, ANA)
    for _ in range(5):
        stage.clock.advance(minutes=20)
        stage.settle()
    found = figures(rest.get("/metrics").text)
    assert found['tenure_deployments_billed{provider="azure-openai"}'] == 0
    assert found['tenure_billed_rate_per_hour{currency="USD",provider="azure-openai"}'] == 0


def test_looks_that_are_overdue_are_told(rest: TestClient, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "STATES_KEPT_S", 0.0)
    stage.active()
    stage.registry.reconciler.run(paced=True, sweep=True)
    assert figures(rest.get("/metrics").text)["tenure_poll_lag_seconds"] < 1
    stage.clock.advance(hours=2)
    lag = figures(rest.get("/metrics").text)["tenure_poll_lag_seconds"]
    assert 3600 < lag <= 2 * 3600 + 60
    stage.registry.reconciler.run(paced=True, sweep=True)
    assert figures(rest.get("/metrics").text)["tenure_poll_lag_seconds"] < 1


def test_figures_that_were_just_read_do_for_the_next_scrape(rest: TestClient, stage: Stage) -> None:
    before = figures(rest.get("/metrics").text)["tenure_log_position"]
    stage.fine_tune()
    assert figures(rest.get("/metrics").text)["tenure_log_position"] == before


def test_a_server_is_ready_when_its_home_can_be_written(rest: TestClient, stage: Stage) -> None:
    head = stage.log.head()
    assert rest.get("/readyz").json() == {"status": "ready"}
    assert stage.log.head() == head, "no event is made of it"
    stage.home.rename(f"{stage.home}-away")
    answer = rest.get("/readyz")
    assert (answer.status_code, "cannot be written" in answer.json()["detail"]) == (503, True)
    assert rest.get("/healthz").status_code == 200


def test_what_a_careful_person_would_look_at(rest: TestClient, stage: Stage) -> None:
    stage.trained()
    checks = rest.get("/api/v1/doctor").json()["items"]
    assert {"space", "log"} <= {one["name"] for one in checks}
    assert rest.post("/api/v1/log/verify").json() == {"events": stage.log.head()}
    assert rest.post("/api/v1/log/rebuild").json() == {"events": stage.log.head()}


def test_logs_are_lines_of_json_with_the_id_of_their_request() -> None:
    record = logging.LogRecord("tenure.x", logging.INFO, "", 0, "said %s", ("so",), None)
    record.fields = {"actor": "user:ana"}
    bound = logs.request_id.set("r1")
    try:
        line = json.loads(logs.JsonLines().format(record))
    finally:
        logs.request_id.reset(bound)
    assert (line["message"], line["actor"], line["request_id"], line["level"]) == ("said so", "user:ana", "r1", "info")
    error = ValueError("why")
    broken = logging.LogRecord("tenure.x", logging.ERROR, "", 0, "broke", (), (ValueError, error, None))
    assert "ValueError: why" in json.loads(logs.JsonLines().format(broken))["trace"]


def test_reads_that_went_well_are_not_logged_and_changes_are(
    rest: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tenure.http"):
        rest.get("/api/v1/models")
        rest.get("/api/v1/models/nobody")
        rest.post("/api/v1/models", json={"model": "m"})
    told = [(one.__dict__["fields"]["path"], one.__dict__["fields"]["status"]) for one in caplog.records]
    assert told == [("/api/v1/models/nobody", 404), ("/api/v1/models", 201)]
