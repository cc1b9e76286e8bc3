"""Fold the whole log again into the read models, at a few microseconds per event."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Generator, Iterator
from datetime import UTC
from typing import Any, cast

from registry.domain.apply import apply
from registry.domain.events import Event
from registry.domain.states import State
from registry.store.chain import unreadable
from registry.store.codec import decode
from registry.store.projection import empty_state
from registry.store.statements import Cursor, clear_states, write_states

EVENTS_PER_FETCH = 20_000
STATES_PER_INSERT = 5_000
PAYLOADS_MAX = 50_000
PAYLOAD_CHARACTERS_MAX = 200

_FOLDED = (
    "SELECT position, stream, stream_version, id, type, schema_version, recorded_at, actor, reason, correlation_id, "
    "causation_id, data FROM event WHERE position > ? AND position <= ? ORDER BY position"
)


def rebuild_states(cursor: Cursor) -> int:
    """Drop every read model row and write it again, in one transaction; answers the events folded.

    Holds all states at once, about 1 KB for each stream.
    """
    with _without_collector():
        states, events = fold_all(cursor)
        cursor.execute("BEGIN")
        try:
            clear_states(cursor)
            streams = list(states)
            for start in range(0, len(streams), STATES_PER_INSERT):
                some = streams[start : start + STATES_PER_INSERT]
                write_states(cursor, {stream: states[stream] for stream in some}, born=set(some))
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
    return events


class _Current:
    """The event that is being folded: one object for all of them, since a frozen one costs 2 µs to make.

    It has the fields that `apply` may read, which are those of `Event` but its place, its hash and its raw data.
    """

    __slots__ = (
        "actor",
        "causation_id",
        "correlation_id",
        "id",
        "payload",
        "reason",
        "recorded_at",
        "schema_version",
        "stream",
        "stream_version",
        "type",
    )


def fold_all(cursor: Cursor) -> tuple[dict[str, State], int]:
    """Raises CorruptLogError where an event cannot be read."""
    states: dict[str, State | None] = {}
    payloads: dict[tuple[str, int, str], Any] = {}
    current: Any = _Current()
    event, events, after = cast("Event", current), 0, 0
    while rows := cursor.execute(_FOLDED, [after, after + EVENTS_PER_FETCH]).fetchall():
        events += len(rows)
        after += EVENTS_PER_FETCH
        for (
            position,
            stream,
            version,
            id_,
            type_,
            schema,
            recorded_at,
            actor,
            reason,
            correlation,
            causation,
            text,
        ) in rows:
            try:
                state = states[stream]
            except KeyError:
                state = states[stream] = empty_state(stream)
            if state is None:
                continue
            key = (type_, schema, text)
            payload = payloads.get(key)
            if payload is None:
                payload = _payload(payloads, key, position)
            current.stream = stream
            current.stream_version = version
            current.id = id_
            current.type = type_
            current.schema_version = schema
            current.recorded_at = recorded_at.replace(tzinfo=UTC)
            current.actor = actor
            current.reason = reason
            current.correlation_id = correlation
            current.causation_id = causation
            current.payload = payload
            apply(state, event)
    return {stream: state for stream, state in states.items() if state is not None}, events


def _payload(payloads: dict[tuple[str, int, str], Any], key: tuple[str, int, str], position: int) -> object:
    """Decoded once for all events that say the same, of which a log is full: payloads are never changed."""
    type_, schema, text = key
    try:
        payload = decode(type_, schema, json.loads(text))
    except (TypeError, ValueError, ArithmeticError) as exc:
        raise unreadable(position, type_, exc) from exc
    if len(payloads) < PAYLOADS_MAX and len(key[2]) <= PAYLOAD_CHARACTERS_MAX:
        payloads[key] = payload
    return payload


def all_rows(cursor: Cursor) -> Iterator[list[Any]]:
    """Every event row, in order, some thousands at a time."""
    after = 0
    while True:
        rows = cursor.execute(
            "SELECT * FROM event WHERE position > ? AND position <= ? ORDER BY position",
            [after, after + EVENTS_PER_FETCH],
        ).fetchall()
        if not rows:
            return
        yield rows
        after += EVENTS_PER_FETCH


@contextlib.contextmanager
def _without_collector() -> Generator[None]:
    """Millions of objects that all live on: looking for garbage among them takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
