"""What a careful person looks at in a server, beside the home: can it work, who can sign in, do its traces arrive."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta

from registry.application.views import CheckView
from registry.composition import Registry
from registry.domain.errors import TenureError, UnavailableError
from registry.transport.gate import Gate
from registry.transport.services import Services
from registry.transport.telemetry import endpoint

PROBE_BYTES = 4096
"""A block."""
SOON = timedelta(days=7)
COLLECTOR_S_MAX = 5.0


def check_ready(registry: Registry) -> None:
    """The home can be written and the log read: a real write, synced to the disk and read back, that no event is made
    of. Raises UnavailableError.

    It takes new room each time: a file that is written over has its own, on a full disk too.
    """
    try:
        head = str(registry.log.head()).encode().ljust(PROBE_BYTES)
        with tempfile.TemporaryFile(dir=registry.home, buffering=0) as probe:
            probe.write(head)
            os.fsync(probe.fileno())
            written = os.pread(probe.fileno(), len(head), 0)
    except OSError as error:
        message = f"the home {registry.home} cannot be written: {error.strerror}"
        raise UnavailableError(message, hint="make room there, and let this user write it") from error
    next(iter(registry.log.read(limit=1)), None)
    if written != head:
        raise UnavailableError("the home does not keep what is written to it")


def examine(services: Services) -> list[CheckView]:
    return [_ready(services.registry), _tokens(services), *_sign_in(services), *_traces()]


def _ready(registry: Registry) -> CheckView:
    try:
        check_ready(registry)
    except TenureError as error:
        return CheckView(name="ready", passed=False, detail=error.message, remedy=error.hint or "see the server's log")
    return CheckView(name="ready", passed=True, detail="a write was synced and read back, and the log answers")


def _tokens(services: Services) -> CheckView:
    gate: Gate = services.gate
    if gate.open_to is not None:
        detail = f"not asked for: whoever is on this machine has full rights, as {gate.open_to}"
        return CheckView(name="tokens", passed=True, detail=detail)
    now = services.registry.clock()
    good = [one for one in gate.tokens.all() if one.refusal(now) is None] if gate.tokens is not None else []
    remedy = "tenure tokens create --actor user:YOU --role admin"
    if not any(one.principal.may("administer") for one in good):
        return CheckView(name="tokens", passed=False, detail="no token gives the role admin", remedy=remedy)
    ending = [one for one in good if one.expires_at is not None and one.expires_at - now <= SOON]
    if ending:
        said = ", ".join(f"{one.id} of {one.actor} on {one.expires_at:%Y-%m-%d}" for one in ending)
        remedy = "tenure tokens create makes another one for whoever needs it"
        return CheckView(name="tokens", passed=False, detail=f"end within {SOON.days} days: {said}", remedy=remedy)
    return CheckView(name="tokens", passed=True, detail=f"{len(good)} are good")


def _sign_in(services: Services) -> list[CheckView]:
    people = services.oidc.settings()
    if people is None:
        return []
    variable = people.client_secret_env
    if variable is not None and not os.environ.get(variable):
        detail = f"{variable} is not set where the server runs"
        remedy = "set it and start the server again"
        return [CheckView(name="sign-in", passed=False, detail=detail, remedy=remedy)]
    try:
        where = services.oidc.check()
    except TenureError as error:
        return [CheckView(name="sign-in", passed=False, detail=error.message, remedy=error.hint)]
    return [
        CheckView(name="sign-in", passed=True, detail=f"people are sent to {where}, and back to {people.redirect_uri}")
    ]


def _traces() -> list[CheckView]:
    """No spans is a message too, and every collector takes it."""
    where = endpoint()
    if where is None:
        return []
    remedy = "OTEL_EXPORTER_OTLP_ENDPOINT has to be a collector's address for OTLP over HTTP (port 4318, as a rule)"
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as error:
        detail = f"OpenTelemetry is not installed: {error}"
        return [CheckView(name="traces", passed=False, detail=detail, remedy="pip install 'tenure[telemetry]'")]
    exporter = OTLPSpanExporter(timeout=COLLECTOR_S_MAX)
    try:
        arrived = exporter.export([]) == SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
    detail = f"the collector at {where} {'takes them' if arrived else 'does not take them'}"
    return [CheckView(name="traces", passed=arrived, detail=detail, remedy=None if arrived else remedy)]
