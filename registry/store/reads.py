"""Questions to the database: events and read models; of the past, `registry.store.past`.

Whoever asks has waited for what was acknowledged (`Live.settle`), so answers include one's own writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from registry.application.ports import DeploymentQuery, Metric, Motion, VersionPage, VersionQuery
from registry.domain.apply import apply
from registry.domain.events import Event
from registry.domain.ids import VersionRef, deployment_stream, model_stream, version_stream
from registry.domain.states import DeploymentState, ModelState, State, VersionState
from registry.store.chain import COLUMNS, event_of
from registry.store.database import Database, Rows
from registry.store.projection import empty_state, from_document
from registry.store.selection import check_limit, page_of, place_from
from registry.store.values import naive_utc

EVENTS_PER_CHUNK = 2_000
STREAMS_PER_LIST = 200
"""So many streams are looked for by the index; more are found by one scan."""

_EVENTS = f"SELECT {', '.join(COLUMNS)} FROM event"  # noqa: S608 -- names of ours

_ORDERS = {
    "newest": ("-coalesce(epoch_us(created_at), 0)", "-number"),
    "oldest": ("coalesce(epoch_us(created_at), 0)", "number"),
    "valid_loss": ("coalesce(valid_loss, 'infinity'::DOUBLE)", "-number"),
    "train_loss": ("coalesce(train_loss, 'infinity'::DOUBLE)", "-number"),
}
"""`selection.place_of` in SQL: ascending, then by model, then by the second expression."""
_SORTED = {
    "newest": "created_at DESC NULLS LAST, model, number DESC",
    "oldest": "created_at NULLS FIRST, model, number",
    "valid_loss": "valid_loss NULLS LAST, model, number DESC",
    "train_loss": "train_loss NULLS LAST, model, number DESC",
}
"""The same orders by plain columns, which DuckDB sorts without computing anything for every row."""


class Reads:
    def __init__(self, database: Database) -> None:
        self._database = database

    # Events

    def events(self, streams: Sequence[str] | None, *, after: int, until: int, limit: int | None) -> Iterator[Event]:
        """In order, a chunk in memory at a time; `streams` None: all."""
        if streams is not None and len(streams) == 1:
            rows = self._beginning(streams[0], after, until)
            for row in rows if limit is None else rows[: max(limit, 0)]:
                yield event_of(row)
            whole = rows[-1][2] < EVENTS_PER_CHUNK if rows else after == 0
            if whole or (limit is not None and limit <= len(rows)):
                return
            after = rows[-1][0] if rows else after
            limit = None if limit is None else limit - len(rows)
        yield from self._chunks(streams, after, until, limit)

    def _beginning(self, stream: str, after: int, until: int) -> Rows:
        """A stream's first events, of those in the bounds.

        Bounded by the stream's version and sorted here: ORDER BY with LIMIT makes DuckDB look rows up twice, 2.7 ms
        against 1.0 ms for the 20 events of a version among a million.
        """
        rows = self._database.query(
            f"{_EVENTS} WHERE stream = ? AND stream_version <= {EVENTS_PER_CHUNK} AND position > ? AND position <= ?",
            [stream, after, until],
        )
        rows.sort()
        return rows

    def _chunks(self, streams: Sequence[str] | None, after: int, until: int, limit: int | None) -> Iterator[Event]:
        left = limit
        while after < until and (left is None or left > 0):
            size = EVENTS_PER_CHUNK if left is None else min(left, EVENTS_PER_CHUNK)
            rows, after = self._chunk(streams, after, until, size)
            for row in rows:
                yield event_of(row)
            if left is not None:
                left -= len(rows)

    def _chunk(self, streams: Sequence[str] | None, after: int, until: int, size: int) -> tuple[Rows, int]:
        """(rows, the position to go on after)"""
        if streams is None:
            end = min(until, after + size)
            sql = f"{_EVENTS} WHERE position > ? AND position <= ? ORDER BY position"
            return self._database.query(sql, [after, end]), end
        if not streams:
            return [], until
        where, names = _streams_in(streams)
        bounds = f"{where} AND position > ? AND position <= ?"
        rows = self._database.query(f"{_EVENTS} WHERE {bounds} ORDER BY position LIMIT {size}", [*names, after, until])
        return rows, rows[-1][0] if len(rows) == size else until

    def position_at(self, time: datetime) -> int:
        ((position,),) = self._database.query(
            "SELECT coalesce(max(position), 0) FROM event WHERE recorded_at <= ?", [naive_utc(time)]
        )
        return position

    def model_streams(self, model: str) -> Sequence[str]:
        has = self._database.query("SELECT key FROM model WHERE key = ?", [model])
        versions = self._database.query("SELECT number FROM version WHERE model = ? ORDER BY number", [model])
        deployments = self._database.query(
            "SELECT key FROM deployment WHERE model = ? ORDER BY requested_at NULLS FIRST, key", [model]
        )
        return (
            *(model_stream(name) for (name,) in has),
            *(version_stream(VersionRef(model, number)) for (number,) in versions),
            *(deployment_stream(key) for (key,) in deployments),
        )

    # States as they are

    def all_of(self, kind: str) -> Sequence[State]:
        return [from_document(kind, doc) for (doc,) in self._database.query(f"SELECT doc FROM {kind} ORDER BY key")]  # noqa: S608

    def versions(self, query: VersionQuery) -> VersionPage:
        check_limit(query)
        value, number = _ORDERS[query.order]
        where, parameters = _where(model=query.model, connection=query.connection)
        if query.states:
            where.append(f"state IN ({', '.join('?' * len(query.states))})")
            parameters.extend(sorted(query.states))
        if query.artifact is not None:
            where.append("lower(doc->>'artifact_id') = lower(?)")
            parameters.append(query.artifact)
        if query.after is not None:
            last, model, n = place_from(query.after, query.order)
            where.append(f"({value} > ? OR ({value} = ? AND (model > ? OR (model = ? AND {number} > ?))))")
            parameters.extend((last, last, model, model, n))
        order = _SORTED[query.order]
        if query.limit is None:
            sql = f"SELECT doc FROM version{_all(where)} ORDER BY {order}"  # noqa: S608 -- see `_SORTED`
        else:
            sql = _page(value, _all(where), order, int(query.limit) + 1)
            parameters = [*parameters, *parameters]
        rows = self._database.query(sql, parameters)
        return page_of([cast("VersionState", from_document("version", doc)) for (doc,) in rows], query)

    def deployments(self, query: DeploymentQuery) -> Sequence[DeploymentState]:
        where, parameters = _where(model=query.model, number=query.version, connection=query.connection)
        if query.live:
            where.append("live")
        sql = f"SELECT doc FROM deployment{_all(where)} ORDER BY requested_at NULLS FIRST, key"  # noqa: S608
        return [_deployment(doc) for (doc,) in self._database.query(sql, parameters)]

    def version_counts(self) -> dict[str, int]:
        return dict(self._database.query("SELECT state, count(*) FROM version GROUP BY state"))  # pyright: ignore[reportArgumentType] - pairs

    def surplus(self, keep: Mapping[str, int]) -> Sequence[VersionState]:
        """Only models that have more than they keep are ranked: mostly none, which takes a fifth of the time."""
        over = self._database.query(
            "SELECT model, any_value(keep) "
            "FROM version JOIN (SELECT unnest(?::VARCHAR[]) AS model, unnest(?::BIGINT[]) AS keep) USING (model) "
            "WHERE state = 'retired' GROUP BY model HAVING count(*) > any_value(keep)",
            [list(keep), list(keep.values())],
        )
        if not over:
            return []
        rows = self._database.query(
            "WITH k AS (SELECT unnest(?::VARCHAR[]) AS model, unnest(?::BIGINT[]) AS keep), "
            "r AS (SELECT model, number, moving, doc, keep, "
            "row_number() OVER (PARTITION BY model ORDER BY number DESC) AS place "
            "FROM version JOIN k USING (model) WHERE state = 'retired') "
            "SELECT doc FROM r "
            'WHERE place > keep AND NOT moving AND NOT contains(doc, \'"method":"imported"\') ORDER BY model, number',
            [[model for model, _ in over], [count for _, count in over]],
        )
        return [cast("VersionState", from_document("version", doc)) for (doc,) in rows]

    def motion(self) -> Motion:
        """One statement, so that all of it is of one moment. Served versions are found first and read afterwards."""
        rows = self._database.query(
            "WITH v AS (SELECT model, number, doc FROM version WHERE moving), "
            "d AS (SELECT model, number, requested_at, key, doc FROM deployment WHERE live), "
            "s AS (SELECT rowid AS r FROM version SEMI JOIN d USING (model, number) WHERE NOT moving) "
            "SELECT 0 AS part, model AS a, number AS n, NULL::TIMESTAMP AS t, doc FROM v UNION ALL "
            "SELECT 1, key, 0, requested_at, doc FROM d UNION ALL "
            "SELECT 2, key, 0, NULL, doc FROM model "
            "WHERE key IN (SELECT model FROM v UNION SELECT model FROM d) UNION ALL "
            "SELECT 3, model, number, NULL, doc FROM version WHERE rowid IN (SELECT r FROM s) "
            "ORDER BY part, t NULLS FIRST, a, n"
        )
        parts: list[list[str]] = [[], [], [], []]
        for part, _, _, _, doc in rows:
            parts[int(part)].append(doc)
        return Motion(
            versions=tuple(cast("VersionState", from_document("version", doc)) for doc in parts[0]),
            deployments=tuple(_deployment(doc) for doc in parts[1]),
            models=tuple(cast("ModelState", from_document("model", doc)) for doc in parts[2]),
            serving=tuple(cast("VersionState", from_document("version", doc)) for doc in parts[3]),
        )

    # States as they were

    def folded(self, streams: Sequence[str], *, at: int) -> dict[str, State]:
        """States of streams that had begun by a position."""
        return fold_events(self.events(streams, after=0, until=at, limit=None))

    # The rest

    def metrics(self, ref: VersionRef, attempt: int | None) -> Sequence[Metric]:
        rows = self._database.query(
            "SELECT attempt, step, name, value, epoch, recorded_at FROM metric WHERE model = ? AND number = ? "
            "AND attempt = coalesce(?, (SELECT max(attempt) FROM metric WHERE model = ? AND number = ?)) "
            "ORDER BY name, step",
            [ref.model, ref.number, attempt, ref.model, ref.number],
        )
        return [
            Metric(attempt=a, step=s, name=n, value=v, epoch=e, recorded_at=t.replace(tzinfo=UTC))
            for a, s, n, v, e, t in rows
        ]


def fold_events(events: Iterable[Event]) -> dict[str, State]:
    states: dict[str, State | None] = {}
    for event in events:
        if event.stream not in states:
            states[event.stream] = empty_state(event.stream)
        state = states[event.stream]
        if state is not None:
            apply(state, event)
    return {stream: state for stream, state in states.items() if state is not None}


def _deployment(doc: str) -> DeploymentState:
    return cast("DeploymentState", from_document("deployment", doc))


def _streams_in(streams: Sequence[str]) -> tuple[str, list[Any]]:
    if len(streams) == 1:
        return "stream = ?", [streams[0]]
    if len(streams) <= STREAMS_PER_LIST:
        return f"stream IN ({', '.join('?' * len(streams))})", list(streams)
    return "stream IN (SELECT unnest(?::VARCHAR[]))", [list(streams)]


def _page(value: str, where: str, order: str, count: int) -> str:
    """The first rows of an order; documents are read last, for the rows of the page alone.

    A bound comes first: the largest of the smallest values of the `count` best blocks of 128 rows, which `count` rows
    reach. DuckDB's own top-n replaces its heap with every row that comes in the wrong order, 9 ms among 100,000 rows.
    """
    return (
        f"WITH best AS (SELECT min({value}) AS v FROM version{where} GROUP BY rowid >> 7 ORDER BY v LIMIT {count}), "  # noqa: S608
        f"bound AS (SELECT CASE WHEN count(*) = {count} THEN max(v) ELSE 'infinity'::DOUBLE END AS v FROM best), "
        f"page AS (SELECT rowid AS r FROM version{where or ' WHERE true'} AND {value} <= (SELECT v FROM bound) "
        f"ORDER BY {order} LIMIT {count}) "
        f"SELECT doc FROM version WHERE rowid IN (SELECT r FROM page) ORDER BY {order}"
    )


def _where(**equal: object) -> tuple[list[str], list[object]]:
    given = {name: value for name, value in equal.items() if value is not None}
    return [f"{name} = ?" for name in given], list(given.values())


def _all(where: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(where)}" if where else ""
