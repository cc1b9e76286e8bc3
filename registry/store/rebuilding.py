"""Fold the whole log again into the read models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.application.garbage import collector_paused
from registry.store.database import Cursor
from registry.store.folding import EVENTS_PER_FETCH, fold
from registry.store.statements import clear_states, write_states

STATES_PER_INSERT = 5_000


def rebuild_states(cursor: Cursor) -> int:
    """Drop every read model row and write it again, in one transaction; answers the events folded.

    Holds all states at once, about 1 KB for each stream.
    """
    ((head,),) = cursor.execute("SELECT coalesce(max(position), 0) FROM event").fetchall()
    with collector_paused():
        states = fold(cursor, until=head)
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
    return head


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
