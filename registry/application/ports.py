"""What the application asks of the outside: the event log with its read models, a clock and a source of ids.

Adapters live in `registry.store` (DuckDB, memory); the composition root chooses. One conformance suite runs on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol

from providers.ports import Provider
from registry.domain.events import DataRef, Event, NewEvent, UnitPrice
from registry.domain.ids import VersionRef
from registry.domain.ledger import Charge
from registry.domain.states import (
    ConnectionState,
    DeploymentState,
    ModelState,
    RegistryState,
    State,
    VersionState,
)

VersionOrder = Literal["newest", "oldest", "valid_loss", "train_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A client-chosen key, a digest of the whole command, and the answer that a repetition gets (JSON)."""

    key: str
    fingerprint: str
    answer: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """`position`: of the last event of this append, or the head of the log when it held none."""

    position: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionQuery:
    """Which versions, in which order. `artifact`: an id, upper and lower case alike. `after` is the cursor of the page
    before: opaque to everyone but the log.
    """

    model: str | None = None
    states: frozenset[str] = field(default_factory=frozenset[str])
    connection: str | None = None
    artifact: str | None = None
    order: VersionOrder = "newest"
    limit: int | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPage:
    items: tuple[VersionState, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentQuery:
    """`live`: not yet seen gone (every state but deleted and lost)."""

    model: str | None = None
    version: int | None = None
    connection: str | None = None
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Everything that is not at rest, and so all that a plan has to look at.

    Versions in queued, training, deploying, or asked to be deleted, or over with a job that is not seen final;
    deployments that are neither deleted nor lost; models of those versions and deployments. `serving`: the other
    versions that those deployments are of.
    """

    versions: tuple[VersionState, ...]
    deployments: tuple[DeploymentState, ...]
    models: tuple[ModelState, ...]
    serving: tuple[VersionState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One point of one curve: (version, attempt, step, name) is its key; recording it again replaces it."""

    attempt: int
    step: int
    name: str
    value: float
    epoch: float | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the gateway handed through to one version within one hour. Telemetry, like metrics: no events.

    `deployment` is None where the provider serves a tuned model without one. `errors`: requests that ended in anything
    but an answer, those of the provider and those of the way to it. `unmetered`: answers that came without a token
    count (a stream is counted where its caller asked for `include_usage`). `duration_s`: the sum over all requests.
    """

    model: str
    version: int
    deployment: str | None
    hour: datetime
    requests: int = 0
    errors: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_s: float = 0.0
    last_used_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """A deployment that was billed within a time, and what each of its spans there cost, in order."""

    deployment: DeploymentState
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledDay:
    """What deployments priced in one currency cost on a day in UTC. `unpriced`: those without a known price."""

    day: str
    currency: str
    cost: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training that ended well, as its event tells it. `trained_at`: when its job ended, as far as anybody tells."""

    ref: str
    connection: str
    provider: str
    trained_at: datetime
    tokens: int | None
    duration_s: float | None
    price: UnitPrice | None
    cost: Decimal | None
    currency: str | None


class EventLog(Protocol):
    """The log and its read models. Safe to call from many threads; one process owns it."""

    def append(
        self,
        events: Sequence[NewEvent],
        *,
        expected: Mapping[str, int],
        correlation_id: str | None = None,
        causation_id: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        """Append to one or several streams, all or nothing; returns when it is durable.

        `expected` maps streams to the stream_version they must have (0: must not exist); streams that events name and
        `expected` does not are appended to whatever their version is. With no events it records `idempotency` alone.
        `correlation_id` None: the id of the first event. Ids and `recorded_at` come from the injected source and
        clock; `recorded_at` never goes back within a log.

        Raises ConflictError (nothing was written), IdempotencyConflictError (the key is taken, whatever the
        fingerprint: ask `answered` first), UnavailableError (no space, closed).
        """
        ...

    def answered(self, key: str) -> Idempotency | None: ...

    def head(self) -> int:
        """The position of the last durable event; 0 for an empty log."""
        ...

    def position_at(self, time: datetime) -> int:
        """The last position recorded at or before a time; 0 when there is none."""
        ...

    def wait(self, after: int, timeout_s: float) -> int:
        """Block until the log has grown past a position or the time is up; answers the head."""
        ...

    def read(
        self,
        *,
        stream: str | None = None,
        streams: Sequence[str] | None = None,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Events in order, positions in (after, until]; of one stream, of several, or all. In bounded memory."""
        ...

    def model_streams(self, model: str) -> Sequence[str]:
        """The names of a model's own stream, its versions' and its deployments'."""
        ...

    def load(self, stream: str) -> State | None:
        """The state of one stream as of everything appended; None when it does not exist."""
        ...

    def registry(self, *, at: int | None = None) -> RegistryState: ...
    def connection(self, name: str, *, at: int | None = None) -> ConnectionState | None: ...
    def connections(self, *, at: int | None = None) -> Sequence[ConnectionState]: ...
    def model(self, name: str, *, at: int | None = None) -> ModelState | None: ...
    def models(self, *, at: int | None = None) -> Sequence[ModelState]: ...
    def version(self, ref: VersionRef, *, at: int | None = None) -> VersionState | None: ...
    def versions(self, query: VersionQuery, *, at: int | None = None) -> VersionPage: ...
    def deployment(self, id: str, *, at: int | None = None) -> DeploymentState | None: ...
    def deployments(self, query: DeploymentQuery, *, at: int | None = None) -> Sequence[DeploymentState]:
        """Oldest request first. `at` is a position: the answer is then folded from the log."""
        ...

    def billed(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Billed]:
        """What was billed in [from_, to), oldest request first; what is not over is billed until `to`."""
        ...

    def billed_by_day(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[BilledDay]:
        """The costs of `billed`, cut at midnight UTC; by day and currency."""
        ...

    def trained(self, *, from_: datetime, to: datetime, at: int | None = None) -> Sequence[Trained]:
        """Trainings that ended in [from_, to), in order."""
        ...

    def motion(self) -> Motion: ...
    def surplus(self, keep: Mapping[str, int]) -> Sequence[VersionState]:
        """Of each of these models, its retired versions beyond so many newest ones, oldest first.

        Imported ones count among the newest, and are left out themselves; so are those that are asked to be deleted.
        """
        ...

    def version_counts(self) -> Mapping[str, int]:
        """How many versions are in each state; states that none is in are left out."""
        ...

    def record_metrics(self, ref: VersionRef, points: Sequence[Metric]) -> None:
        """Telemetry, not events: durable with the next commit, replaced when recorded again. What no database can hold
        (a step beyond 64 bits, a name that is no text) is left out.
        """
        ...

    def metrics(self, ref: VersionRef, *, attempt: int | None = None) -> Sequence[Metric]:
        """By name and step; of one attempt, or of the newest that has any."""
        ...

    def record_usage(self, usage: Sequence[Usage]) -> None:
        """Add to what is recorded for the same version, deployment and hour; durable when it returns."""
        ...

    def usage(
        self, *, model: str | None = None, version: int | None = None, since: datetime | None = None
    ) -> Sequence[Usage]:
        """By hour, model, version and deployment; of hours that had not ended at `since`."""
        ...

    def last_used(self) -> Mapping[str, datetime]:
        """When each deployment was last called through the gateway, by the registry's id; never called: left out."""
        ...

    def close(self) -> None:
        """Finish what was acknowledged, checkpoint, release the home. May be repeated."""
        ...


class LogTools(Protocol):
    """What `tenure log …` does, on an open log."""

    def verify(self) -> int:
        """Walk the hash chain; answers how many events it holds.

        Raises CorruptLogError with the first wrong position.
        """
        ...

    def rebuild(self) -> int:
        """Drop the read models and fold them again; answers the events folded."""
        ...

    def export(self, target: Path) -> int: ...
    def import_(self, source: Path) -> int:
        """Only into an empty log. Positions, hashes and bytes stay as they were. Raises BadInputError with the line."""
        ...

    def backup(self, target: Path) -> int:
        """A consistent copy of the home's log while it is in use; answers its head."""
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, aware UTC."""
        ...


class Ids(Protocol):
    def __call__(self) -> str:
        """A new unique id, 32 hex digits, increasing with time (UUIDv7-like) so that indexes stay narrow."""
        ...


class Providers(Protocol):
    """Doors to the connections' providers, opened when they are first needed and kept."""

    def of(self, connection: ConnectionState) -> Provider:
        """Raises BadInputError for settings that the provider refuses, or a provider that is not installed."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where training data lie and how their columns are called. `system_text`: one system text for all rows."""

    train: Path
    validation: Path | None = None
    prompt: str = "prompt"
    completion: str = "completion"
    system: str | None = None
    system_text: str | None = None
    as_is: bool = False
    """JSON Lines in the provider's own form, as dpo and reinforcement need it: kept and handed on unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedData:
    """Both sets checked, and converted to JSON Lines under the home. `warnings` are sentences."""

    train: DataRef
    validation: DataRef | None
    warnings: tuple[str, ...]


class TrainingData(Protocol):
    def prepare(self, source: DataSource, *, rows_min: int) -> CheckedData:
        """Check both sets and keep a copy by digest; the same data again cost a check and no copy.

        Raises BadInputError with every fault (file, row, column), capped with a count.
        """
        ...
