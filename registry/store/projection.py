"""Read model rows: which states there are, their columns, and a state's document. Shared by every log.

A row is a key, the columns that are filtered or ordered by, the stream version, and the whole state as canonical JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from registry.domain.apply import new_state
from registry.domain.errors import TenureError
from registry.domain.states import (
    ConnectionState,
    DeploymentState,
    ModelState,
    RegistryState,
    State,
    VersionState,
)
from registry.store.values import canonical_text, decoder, defaults_of, naive_utc, shallow_copy, told_fields_of

S = TypeVar("S", bound=State)

FOLDING = 2
"""Goes up when `registry.domain.apply` folds the same events to something else: opening then rebuilds read models."""

MOVING = frozenset({"queued", "training", "deploying"})
OVER = frozenset({"failed", "cancelled"})
GONE = frozenset({"deleted", "lost"})


@dataclasses.dataclass(frozen=True, slots=True)
class ReadModel:
    """One table of states. `columns` are its names, the key first and the document last; `sql_types` go with them."""

    table: str
    state: type
    columns: tuple[str, ...]
    sql_types: tuple[str, ...]
    values: Callable[[Any], tuple[object, ...]]
    """The columns between the key and the stream version."""

    def row(self, key: str, state: State) -> tuple[object, ...]:
        return (key, *self.values(state), state.stream_version, document(state))


def _model(
    table: str, state_type: type, values: Callable[[Any], tuple[object, ...]], /, **columns: str
) -> tuple[str, ReadModel]:
    return table, ReadModel(
        table,
        state_type,
        ("key", *columns, "stream_version", "doc"),
        ("VARCHAR", *columns.values(), "BIGINT", "VARCHAR"),
        values,
    )


def is_moving(state: VersionState) -> bool:
    """Whether a plan has to look at it: see `Motion`."""
    return (
        state.state in MOVING
        or state.deletion_requested
        or (state.state in OVER and state.submitted and not state.job_final)
    )


def is_live(state: DeploymentState) -> bool:
    return state.state not in GONE


def loss(state: VersionState, name: str) -> float | None:
    value = state.metrics.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _naive(time: datetime | None) -> datetime | None:
    return None if time is None else naive_utc(time)


def _version_values(state: VersionState) -> tuple[object, ...]:
    return (
        state.model,
        state.version,
        state.state,
        state.connection,
        loss(state, "valid_loss"),
        loss(state, "train_loss"),
        _naive(state.created_at),
        is_moving(state),
    )


def _deployment_values(state: DeploymentState) -> tuple[object, ...]:
    return (
        state.model,
        state.version,
        state.connection,
        state.state,
        is_live(state),
        _naive(state.requested_at),
    )


def _nothing(_state: State) -> tuple[object, ...]:
    return ()


READ_MODELS: dict[str, ReadModel] = dict(
    (
        _model("registry", RegistryState, _nothing),
        _model("connection", ConnectionState, _nothing),
        _model("model", ModelState, _nothing),
        _model(
            "version",
            VersionState,
            _version_values,
            model="VARCHAR",
            number="BIGINT",
            state="VARCHAR",
            connection="VARCHAR",
            valid_loss="DOUBLE",
            train_loss="DOUBLE",
            created_at="TIMESTAMP",
            moving="BOOLEAN",
        ),
        _model(
            "deployment",
            DeploymentState,
            _deployment_values,
            model="VARCHAR",
            number="BIGINT",
            connection="VARCHAR",
            state="VARCHAR",
            live="BOOLEAN",
            requested_at="TIMESTAMP",
        ),
    )
)
"""By kind, which is also the prefix of its streams and the name of its table."""


def split(stream: str) -> tuple[str, str]:
    """(kind, key)"""
    kind, _, key = stream.partition(":")
    return kind, key


def empty_state(stream: str) -> State | None:
    """None for a stream of a kind that this release does not know: its events are kept and folded to nothing."""
    try:
        return new_state(stream)
    except (ValueError, TenureError):
        return None


def document(state: State) -> str:
    """What a state says beyond its defaults; which those are is part of the fingerprint."""
    return canonical_text(told_fields_of(state))


_parse = json.JSONDecoder().raw_decode
"""Without the white space that `json.loads` looks for around a text, which is a fifth of its time."""


def from_document(kind: str, text: str) -> State:
    """Names of fields are interned first: else a call compares each with those of forty fields letter by letter, which
    makes a version's 5 µs instead of 2.
    """
    fields = {sys.intern(name): value for name, value in _parse(text)[0].items()}
    return cast("State", decoder(READ_MODELS[kind].state)(fields))


copy_of = shallow_copy
"""Of a state, for whoever may change it. Values inside are shared: folding replaces them and never changes them."""


def _told_defaults(model: ReadModel) -> list[str]:
    return ["" if default is dataclasses.MISSING else repr(default) for default in defaults_of(model.state)]


def fingerprint() -> str:
    """Changes with what a document holds: read models of an older release are rebuilt, and never half understood."""
    shape: Sequence[object] = [
        FOLDING,
        *(
            [kind, [(field.name, str(field.type)) for field in dataclasses.fields(model.state)], _told_defaults(model)]
            for kind, model in READ_MODELS.items()
        ),
    ]
    return hashlib.sha256(canonical_text(shape).encode()).hexdigest()[:16]
