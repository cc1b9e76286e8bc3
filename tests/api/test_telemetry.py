"""Traces from a request to the provider's call: a real server, real SDKs against rehearsed clouds, a real collector."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import registry
from providers.errors import (
    ChatError,
    OutcomeUnknownError,
    ProviderError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.rehearsal import Pace, Rehearsal
from registry.application import tracing
from registry.application.traced import outcome_of
from registry.transport.telemetry import OtelTracer, endpoint, telemetry
from tests.api.collector import Collector, Seen
from tests.api.test_server import serving

AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
BASES = {
    "rehearsal-openai": "gpt-4.1-mini-2025-04-14",
    "rehearsal-azure": "gpt-4.1-2025-04-14",
    "rehearsal-aws": "amazon.nova-lite-v1:0:300k",
}
WAIT_S = 60.0
SECRET_WORDS = "the-blue-parrot"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.start()
    yield collector
    collector.host.close()


@dataclass(frozen=True, slots=True)
class Told:
    """What a server did for somebody who brought traces of their own: by connection, the events of the fine-tune."""

    collector: Collector
    correlations: dict[str, str]
    secrets: tuple[str, ...]
    log: list[dict[str, Any]]


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


@pytest.fixture(scope="module")
def told(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Fine-tunes in traces 1, 2, 3, chats in 11, 12, 13, at OpenAI, Azure OpenAI and Bedrock."""
    home = tmp_path_factory.mktemp("traced")
    train = home / "train.csv"
    train.write_text("prompt,completion\n" + "".join(f"{SECRET_WORDS} {row},answer {row}\n" for row in range(12)))
    with Rehearsal(speed=0.0, pace=AT_ONCE) as rehearsal, pytest.MonkeyPatch.context() as patch:
        for name, value in rehearsal.environment().items():
            patch.setenv(name, value)
        for name in ("TENURE_URL", "TENURE_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("TENURE_HOME", str(home / "home"))
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_SERVICE_NAME", "tenure-test")
        with serving() as served:
            correlations: dict[str, str] = {}
            with registry.connect(served.url) as tenure:
                tenure.apply({"connections": rehearsal.connections(), "scheduler": {"poll": "20ms"}})
                for number, (connection, base) in enumerate(BASES.items(), 1):
                    correlations[connection] = tuned(served.url, number, connection, base, train)
                    tenure.wait(f"bot{number}@1", until=frozenset({"active"}), timeout_s=WAIT_S)
            for number in range(1, 4):
                chat(served.url, number)
            code, log = served.stop(signal.SIGTERM)
            assert code == 0
        yield Told(collector, correlations, tuple(rehearsal.environment().values()), log)


def tuned(url: str, number: int, connection: str, base: str, train: Path) -> str:
    """The correlation id of what was asked for."""
    with train.open("rb") as file:
        made = httpx2.post(f"{url}/api/v1/datasets", files={"file": ("train.csv", file)}, timeout=WAIT_S).json()
    asked = {"connection": connection, "base_model": base, "train": made["id"], "activate": True}
    path = f"{url}/api/v1/models/bot{number}/versions"
    answer = httpx2.post(path, json=asked, headers={"traceparent": traceparent(number)}, timeout=WAIT_S)
    assert answer.status_code == 202, answer.text
    events = httpx2.get(f"{url}/api/v1/models/bot{number}/versions/1/events", timeout=WAIT_S).json()["items"]
    return events[0]["correlation_id"]


def chat(url: str, number: int) -> None:
    body = {"model": f"bot{number}", "messages": [{"role": "user", "content": SECRET_WORDS}]}
    headers = {"traceparent": traceparent(10 + number)}
    answer = httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=WAIT_S)
    assert answer.status_code == 200, answer.text


def one(spans: list[Seen], name: str) -> Seen:
    found = [span for span in spans if span.name == name]
    assert found, sorted(span.name for span in spans)
    return found[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_fine_tunes_trace_reaches_from_the_callers_request_to_the_providers_call(told: Told, number: int) -> None:
    connection = list(BASES)[number - 1]
    provider = {"rehearsal-openai": "openai", "rehearsal-azure": "azure-openai", "rehearsal-aws": "bedrock"}[connection]
    spans = told.collector.of(f"{number:032x}")
    asked = one(spans, "POST /api/v1/models/{model}/versions")
    assert (asked.above, asked.kind, asked.service) == (f"{number:016x}", 2, "tenure-test")
    assert asked.attributes["http.response.status_code"] == 202
    submitted = one(spans, f"{provider} training.submit")
    assert submitted.kind == 3
    assert told.collector.path(submitted)[-2:] == ["command fine-tune", asked.name]
    wanted = {
        "tenure.connection": connection,
        "tenure.operation": "training.submit",
        "tenure.version": f"bot{number}@1",
        "tenure.correlation_id": told.correlations[connection],
        "tenure.outcome": "done",
    }
    assert wanted.items() <= submitted.attributes.items()
    assert {"append", "submit job", "command start"} & {span.name for span in spans} >= {"append", "submit job"}
    asking = one(spans, "command fine-tune")
    assert asking.attributes["tenure.correlation_id"] == told.correlations[connection]
    if provider != "openai":
        created = one(spans, f"{provider} deployments.create")
        assert told.collector.path(created)[-1] == asked.name
    assert not any("training.poll" in span.name for span in spans), "polls go on for days, in traces of their own"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_chats_trace_reaches_from_the_callers_request_to_the_providers_call(told: Told, number: int) -> None:
    spans = told.collector.of(f"{10 + number:032x}")
    asked = one(spans, "POST /v1/chat/completions")
    answered = one(spans, f"chat bot{number}@1")
    assert (asked.above, asked.kind) == (f"{10 + number:016x}", 2)
    assert (answered.above, answered.kind) == (asked.id, 3)
    assert answered.attributes["tenure.connection"] == list(BASES)[number - 1]
    assert answered.attributes["http.response.status_code"] == 200
    assert answered.attributes["gen_ai.usage.input_tokens"] > 0
    if number == 3:
        assert told.collector.path(one(spans, "bedrock chat.complete")) == [
            "bedrock chat.complete",
            answered.name,
            asked.name,
        ]


def test_no_prompt_and_no_secret_is_in_a_trace(told: Told) -> None:
    assert told.collector.raw
    sent = b"".join(told.collector.raw)
    assert SECRET_WORDS.encode() not in sent
    assert told.secrets
    assert [one for one in told.secrets if one.encode() in sent] == []


def test_lines_of_the_log_bear_the_ids_of_request_events_and_trace(told: Told) -> None:
    asked = [line for line in told.log if line["message"] == "request" and line["path"].endswith("/versions")]
    assert [line["correlation_ids"] for line in asked] == [[one] for one in told.correlations.values()]
    assert [line["trace_id"] for line in asked] == [f"{number:032x}" for number in (1, 2, 3)]


# Without


def test_without_the_environment_nothing_that_makes_or_sends_spans_is_imported() -> None:
    """FastAPI imports OpenTelemetry's API by itself where that is installed."""
    code = (
        "import sys, registry.server, registry.gateway, registry.api, registry.web\n"
        "from registry.transport.telemetry import telemetry\n"
        "with telemetry(): pass\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_without_a_tracer_spans_are_nothing() -> None:
    assert not tracing.active()
    with tracing.span("one", {"a": 1}) as span, tracing.span("two", {}) as below:
        span.set_attribute("b", 2)
        span.update_name("three")
        assert below is span
    assert (tracing.headers(), tracing.trace_id()) == ({}, None)


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, "http://t/x"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_the_standard_environment_alone_switches_traces_on(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], where: str | None
) -> None:
    for name in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert endpoint() == where


def test_where_opentelemetry_is_not_installed_the_server_says_so_and_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level("WARNING", "tenure.telemetry"), telemetry():
        assert not tracing.active()
    assert "pip install 'tenure[telemetry]'" in caplog.text


# Details


@pytest.fixture
def tracer(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtelTracer]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    made = OtelTracer()
    tracing.use(made)
    yield made
    tracing.use(None)


def test_an_error_marks_its_span_with_its_class_and_not_with_its_words(
    tracer: OtelTracer, collector: Collector
) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("broken", {}):
        raise ValueError("a secret")
    tracer.close()
    span = one(collector.spans, "broken")
    assert (span.failed, span.attributes) == (True, {"error.type": "ValueError"})


def test_what_follows_later_from_another_thread_belongs_to_what_it_began_with(
    tracer: OtelTracer, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.transport.telemetry.REMEMBERED_MAX", 1)
    with tracing.span("began", {}):
        tracing.began("forgotten")
        tracing.began("c1")
        assert json.dumps(dict(tracing.headers())).count(tracing.trace_id() or "none") == 1
    with tracing.span("followed", {}, since="c1"):
        pass
    with tracing.span("alone", {}, since="forgotten"):
        pass
    tracer.close()
    began = one(collector.spans, "began")
    assert one(collector.spans, "followed").above == began.id
    assert (one(collector.spans, "alone").above, one(collector.spans, "alone").trace != began.trace) == ("", True)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RejectedError("x", operation="y"), "rejected"),
        (UnauthorizedError("x", operation="y"), "unauthorized"),
        (UnavailableError("x", operation="y"), "unavailable"),
        (OutcomeUnknownError("x", operation="y"), "unknown"),
        (ChatError("x", status=500), "failed"),
    ],
)
def test_a_call_that_failed_says_how(error: ProviderError, outcome: str) -> None:
    assert outcome_of(error) == outcome
