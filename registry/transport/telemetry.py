"""OpenTelemetry traces over OTLP/HTTP, switched on by the standard environment (OTEL_EXPORTER_OTLP_ENDPOINT) alone.

The SDK's own tracer provider is used and never made the process's: libraries that trace by themselves would otherwise
send what is theirs, addresses and headers included.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from registry.application import tracing
from registry.application.tracing import Attribute, Kind, Span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

logger = logging.getLogger("tenure.telemetry")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CLOSE_S_MAX = 3.0
REMEMBERED_MAX = 10_000
"""Commands whose trace what follows from them is added to; those before begin a trace of their own."""


def endpoint() -> str | None:
    """Where traces go, as the environment says; None where nobody asked for them."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return None
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)


@contextmanager
def telemetry() -> Generator[None]:
    """Traces for as long as it is entered, if they are configured. At the end, what was not sent yet is."""
    if endpoint() is None:
        yield
        return
    try:
        tracer = OtelTracer()
    except ImportError as error:
        logger.warning("no traces: OpenTelemetry is not installed (%s); pip install 'tenure[telemetry]'", error)
        yield
        return
    tracing.use(tracer)
    try:
        yield
    finally:
        tracing.use(None)
        tracer.close()


class OtelTracer:
    """`registry.application.tracing.Tracer`. Safe to use from several threads."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource({SERVICE_NAME: "tenure"}).merge(OTELResourceDetector().detect())
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("tenure")
        self._propagator = TraceContextTextMapPropagator()
        self._lock = threading.Lock()
        self._began: OrderedDict[str, SpanContext] = OrderedDict()

    def close(self) -> None:
        """What was not sent yet is, unless nobody takes it: a server that is to stop does not wait for a collector."""
        closing = threading.Thread(target=self._provider.shutdown, name="tenure-telemetry", daemon=True)
        closing.start()
        closing.join(CLOSE_S_MAX)

    def span(
        self,
        name: str,
        *,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        since: str | None,
        carrier: Mapping[str, str] | None,
    ) -> AbstractContextManager[Span]:
        return self._span(name, kind, attributes, self._above(since, carrier))

    @contextmanager
    def _span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], above: Context | None
    ) -> Generator[Span]:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        with self._tracer.start_as_current_span(
            name,
            context=above,
            kind=SpanKind[kind.upper()],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    def _above(self, since: str | None, carrier: Mapping[str, str] | None) -> Context | None:
        """None: the current span, if there is one."""
        from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

        if get_current_span().get_span_context().is_valid:
            return None
        if since is not None:
            with self._lock:
                found = self._began.get(since)
            if found is not None:
                return set_span_in_context(NonRecordingSpan(found))
        return self._propagator.extract(carrier) if carrier else None

    def began(self, correlation_id: str) -> None:
        from opentelemetry.trace import get_current_span

        context = get_current_span().get_span_context()
        with self._lock:
            self._began[correlation_id] = context
            if len(self._began) > REMEMBERED_MAX:
                self._began.popitem(last=False)

    def headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        self._propagator.inject(found)
        return found

    def trace_id(self) -> str | None:
        from opentelemetry.trace import format_trace_id, get_current_span

        context = get_current_span().get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else None
