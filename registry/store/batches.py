"""What is written together: requests that waited, placed one after another, and the journal record that they become.

A record's payload is one line per thing, the first letter saying which: `T` the log's position and hash after it,
`E` an event (its export line), `I` an idempotency key with its answer, `M` a metric, `U` usage.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

from registry.application.ports import Idempotency, Metric
from registry.domain import events as ev
from registry.domain.errors import BadInputError, CorruptLogError
from registry.domain.events import Event, NewEvent
from registry.domain.ids import VersionRef
from registry.store.chain import Row, event_of, parse_line, row_hash
from registry.store.codec import decode, encode
from registry.store.projection import empty_state, split
from registry.store.usage import UsageRow, parse_usage
from registry.store.values import canonical_text, naive_utc

EVENTS_PER_APPEND_MAX = 10_000
STEP_MAX = 2**63 - 1

MetricRow = tuple[str, int, int, int, str, float, float | None, datetime]
"""model, number, attempt, step, name, value, epoch, naive recorded_at"""

KINDS: dict[type, str] = {
    cls: kind
    for kind, union in {
        "registry": ev.RegistryEvent,
        "connection": ev.ConnectionEvent,
        "model": ev.ModelEvent,
        "version": ev.VersionEvent,
        "deployment": ev.DeploymentEvent,
    }.items()
    for cls in get_args(union)
}
"""The kind of stream that each event belongs to."""


@dataclass(slots=True)
class Draft:
    """An event that has everything but its place. Not frozen: that would cost a microsecond in each append."""

    stream: str
    type: str
    schema_version: int
    payload: ev.DomainEvent | ev.UnknownEvent
    data: Mapping[str, object]
    text: str
    actor: str
    reason: str | None


@dataclass(slots=True)
class Request:
    """One caller's append, and the caller waiting for its answer."""

    drafts: Sequence[Draft] = ()
    expected: Mapping[str, int] = field(default_factory=dict[str, int])
    correlation_id: str | None = None
    causation_id: str | None = None
    idempotency: Idempotency | None = None
    metrics: Sequence[MetricRow] = ()
    usage: Sequence[UsageRow] = ()
    job: Callable[[], object] | None = None
    """Run by the writer instead, alone, with nothing in flight."""
    wake: Callable[[], object] = lambda: None
    wake_next: Callable[[], object] | None = None
    settled: bool = False
    answer: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Batch:
    """One journal record. `position` and `hash` are the log's after it."""

    number: int
    position: int
    hash: str
    rows: list[Row] = field(default_factory=list[Row])
    events: list[Event] = field(default_factory=list[Event])
    keys: list[Idempotency] = field(default_factory=list[Idempotency])
    metrics: list[MetricRow] = field(default_factory=list[MetricRow])
    usage: list[UsageRow] = field(default_factory=list[UsageRow])


def drafts_of(events: Sequence[NewEvent]) -> list[Draft]:
    """Everything about an append that needs no place in the log, so that callers do it on their own time.

    Raises BadInputError for what cannot be recorded.
    """
    if len(events) > EVENTS_PER_APPEND_MAX:
        raise BadInputError(f"one append holds at most {EVENTS_PER_APPEND_MAX} events, not {len(events)}")
    return [_draft(event) for event in events]


def _draft(event: NewEvent) -> Draft:
    check_kind(event.stream, event.payload)
    check_text(event.stream, event.actor, event.reason)
    payload = event.payload
    type_, schema, text, data = encode(payload)
    if data is None:
        data = json.loads(text)
        payload = decode(type_, schema, data)
    return Draft(event.stream, type_, schema, payload, data, text, event.actor, event.reason)


def check_kind(stream: str, payload: ev.DomainEvent | ev.UnknownEvent) -> None:
    """Raises BadInputError for an event in a stream of another kind, which no fold could make sense of."""
    if not isinstance(payload, ev.UnknownEvent) and KINDS[type(payload)] != _kind(stream):
        raise BadInputError(f"{type(payload).__name__} does not belong in the stream {stream!r}", field="stream")


@lru_cache(maxsize=4_096)
def _kind(stream: str) -> str | None:
    return None if empty_state(stream) is None else split(stream)[0]


def check_text(*texts: str | None) -> None:
    for text in texts:
        if text and not text.isascii():
            canonical_text(text)


def fits(step: int, name: str) -> bool:
    """Whether the database can hold such a point: one in the journal that it cannot would stop everything after it."""
    with contextlib.suppress(UnicodeEncodeError):
        name.encode()
        return -STEP_MAX <= step <= STEP_MAX
    return False


def metric_row(ref: VersionRef, point: Metric) -> MetricRow:
    return (
        ref.model,
        ref.number,
        point.attempt,
        point.step,
        point.name,
        float(point.value),
        None if point.epoch is None else float(point.epoch),
        naive_utc(point.recorded_at),
    )


def event_line(first: str, second: str, hash: str) -> str:
    return f'E{first}"hash":"{hash}",{second}'


def key_line(key: Idempotency) -> str:
    return "I" + canonical_text({"key": key.key, "fingerprint": key.fingerprint, "answer": key.answer})


def metric_line(row: MetricRow) -> str:
    # Python's JSON on purpose: a loss may be NaN, and these lines are read by nothing else.
    return "M" + json.dumps([*row[:7], row[7].isoformat()])


def payload_of(batch: Batch, lines: Sequence[str]) -> bytes:
    return "\n".join((f"T{batch.position} {batch.hash}", *lines)).encode()


def tip_of(payload: bytes) -> tuple[int, str]:
    """The log's position and hash after a record."""
    position, _, hash_ = payload.partition(b"\n")[0].decode().removeprefix("T").partition(" ")
    return int(position), hash_


def batch_of(number: int, payload: bytes, *, position: int, hash: str) -> Batch:
    """The batch of a record, whose events must follow `position` and `hash`. Raises CorruptLogError if they do not."""
    batch = Batch(number, position, hash)
    for line in payload.decode().split("\n")[1:]:
        match line[0]:
            case "E":
                _take_event(batch, parse_line(line[1:]))
            case "I":
                batch.keys.append(Idempotency(**json.loads(line[1:])))
            case "U":
                batch.usage.append(parse_usage(line[1:]))
            case _:
                *values, time = json.loads(line[1:])
                if fits(values[3], values[4]):
                    batch.metrics.append((*values, datetime.fromisoformat(time)))
    return batch


def _take_event(batch: Batch, row: Row) -> None:
    if row[0] != batch.position + 1 or row[12] != row_hash(batch.hash, row):
        raise CorruptLogError(
            f"the journal's batch {batch.number} does not follow event {batch.position}", position=batch.position + 1
        )
    batch.rows.append(row)
    batch.events.append(event_of(row))
    batch.position, batch.hash = row[0], row[12]
