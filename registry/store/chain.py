"""An event's bytes: its line in exports and in the journal, its row in the database, and the hash that chains them.

`hash = SHA-256(hash of the event before, in hex + canonical bytes)`; the canonical bytes are the line without `hash`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring as quote
from typing import Any, cast

from registry.domain.errors import CorruptLogError
from registry.domain.events import Event
from registry.store.codec import decode
from registry.store.values import canonical_text, naive_utc

Row = tuple[Any, ...]
"""The values of COLUMNS; `recorded_at` is naive UTC, `data` canonical JSON text."""

COLUMNS = (
    "position",
    "stream",
    "stream_version",
    "id",
    "type",
    "schema_version",
    "recorded_at",
    "actor",
    "reason",
    "correlation_id",
    "causation_id",
    "data",
    "hash",
)
GENESIS = "0" * 64
"""The hash before the first event."""


def halves(row: Sequence[Any]) -> tuple[str, str]:
    """The canonical JSON of an event, cut where `hash` stands in its line."""
    position, stream, version, id_, type_, schema, recorded_at, actor, reason, correlation, causation, data = row[:12]
    cause = "null" if causation is None else quote(causation)
    why = "null" if reason is None else quote(reason)
    first = f'{{"actor":{quote(actor)},"causation_id":{cause},"correlation_id":{quote(correlation)},"data":{data},'
    second = (
        f'"id":{quote(id_)},"position":{position},"reason":{why},'
        f'"recorded_at":"{recorded_at.isoformat(timespec="microseconds")}Z","schema_version":{schema},'
        f'"stream":{quote(stream)},"stream_version":{version},"type":{quote(type_)}}}'
    )
    return first, second


def digest(previous: str, first: str, second: str) -> str:
    return hashlib.sha256(f"{previous}{first}{second}".encode()).hexdigest()


def row_hash(previous: str, row: Sequence[Any]) -> str:
    return digest(previous, *halves(row))


def line(row: Row) -> str:
    """One line of an export, without its end."""
    first, second = halves(row)
    return f'{first}"hash":"{row[12]}",{second}'


def parse_line(text: str) -> Row:
    """The row of a line. Raises ValueError saying what is wrong with it; the hash is not looked at."""
    found: object = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 -- one error for whatever a line has wrong
    fields = cast("dict[str, Any]", found)
    missing, unknown = set(COLUMNS) - fields.keys(), fields.keys() - set(COLUMNS)
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if unknown:
        raise ValueError(f"it has an unknown {', '.join(sorted(unknown))}")
    for name in COLUMNS:
        if not isinstance(fields[name], _KINDS[name]) or isinstance(fields[name], bool):
            raise ValueError(f"{name} is {fields[name]!r}")  # noqa: TRY004 -- see above
    return line_row(fields)


_WORDS = (str,)
_WORDS_OR_NONE = (str, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(COLUMNS, _WORDS),
    **dict.fromkeys(("position", "stream_version", "schema_version"), (int,)),
    **dict.fromkeys(("reason", "causation_id"), _WORDS_OR_NONE),
    "data": (dict,),
}


def line_row(fields: dict[str, Any]) -> Row:
    values = dict(fields)
    time = datetime.fromisoformat(values["recorded_at"])
    values["recorded_at"] = naive_utc(time) if time.tzinfo else time
    values["data"] = canonical_text(values["data"])
    return tuple(values[name] for name in COLUMNS)


def event_of(row: Row) -> Event:
    """Raises CorruptLogError where the data are not what the type says."""
    data = json.loads(row[11])
    try:
        payload = decode(row[4], row[5], data)
    except (TypeError, ValueError, ArithmeticError) as exc:
        raise unreadable(row[0], row[4], exc) from exc
    return Event(
        position=row[0],
        stream=row[1],
        stream_version=row[2],
        id=row[3],
        type=row[4],
        schema_version=row[5],
        recorded_at=row[6].replace(tzinfo=UTC),
        actor=row[7],
        reason=row[8],
        correlation_id=row[9],
        causation_id=row[10],
        payload=payload,
        data=data,
        hash=row[12],
    )


def unreadable(position: int, type: str, exc: Exception) -> CorruptLogError:
    return CorruptLogError(
        f"event {position} ({type}) cannot be read: {exc}",
        position=position,
        hint="it was written by something else than this program; `tenure log verify` says whether it was changed",
    )


def row_of(event: Event) -> Row:
    return (
        event.position,
        event.stream,
        event.stream_version,
        event.id,
        event.type,
        event.schema_version,
        naive_utc(event.recorded_at),
        event.actor,
        event.reason,
        event.correlation_id,
        event.causation_id,
        canonical_text(event.data),
        event.hash,
    )
