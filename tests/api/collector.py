"""An OpenTelemetry collector on loopback: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from providers.rehearsal.http import Host, Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span, its ids in hexadecimal. `kind`: 1 internal, 2 server, 3 client, as OTLP numbers them."""

    name: str
    trace: str
    id: str
    above: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    service: str


@dataclass(slots=True)
class Collector:
    spans: list[Seen] = field(default_factory=list[Seen])
    raw: list[bytes] = field(default_factory=list[bytes])
    host: Host = field(default_factory=Host)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self.url = self.host.listen(self.answer)
        self.host.start()

    def answer(self, request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        assert request.headers["content-type"] == "application/x-protobuf"
        found = ExportTraceServiceRequest.FromString(request.body)
        with self._lock:
            self.raw.append(request.body)
            for resource in found.resource_spans:
                service = _attributes(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self.spans += [_seen(span, service) for span in scope.spans]
        return Reply(headers={"content-type": "application/x-protobuf"})

    def of(self, trace: str) -> list[Seen]:
        with self._lock:
            return [one for one in self.spans if one.trace == trace]

    def path(self, span: Seen) -> list[str]:
        """The names of the spans that it stands below, itself first."""
        known = {one.id: one for one in self.of(span.trace)}
        names = [span.name]
        while span.above in known:
            span = known[span.above]
            names.append(span.name)
        return names


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        above=span.parent_span_id.hex(),
        kind=span.kind - 0,
        failed=span.status.code == 2,
        attributes=_attributes(span.attributes),
        service=service,
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}
