"""The tables of the log, as SQLModel: what a new database is made from, and what every migration must end in.

Imported only when tables are made or migrated (0.6 s); everyday reads and writes use DuckDB's own connection. There is
one index, on `event.stream`; read models have none, because updates of indexed columns have corrupted DuckDB's indexes
(duckdb#23645) and a scan of 100,000 rows is fast enough. Primary keys are the mapper's only: in DDL each would be one
more index, and the one writer gives out positions without gaps anyway.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, DateTime, Double, Engine, Index, String, Table
from sqlmodel import Field as _Field
from sqlmodel import SQLModel


def _text() -> Any:  # noqa: ANN401 -- what sqlmodel's Field answers fits every annotation
    return _Field(sa_column=Column(String, nullable=False))


def _text_or_null() -> Any:  # noqa: ANN401 -- see above
    return _Field(sa_column=Column(String))


def _whole() -> Any:  # noqa: ANN401 -- see above
    return _Field(sa_column=Column(BigInteger, nullable=False))


def _time_or_null() -> Any:  # noqa: ANN401 -- see above
    return _Field(sa_column=Column(DateTime))


def _number_or_null() -> Any:  # noqa: ANN401 -- see above
    return _Field(sa_column=Column(Double))


class EventRow(SQLModel, table=True):
    """Insert-only. `recorded_at` is UTC, `data` canonical JSON, `hash` hex."""

    __tablename__ = "event"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __table_args__ = (Index("event_stream", "stream"),)
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["position"]}

    position: int = _whole()
    stream: str = _text()
    stream_version: int = _whole()
    id: str = _text()
    type: str = _text()
    schema_version: int = _whole()
    recorded_at: datetime = _Field(sa_column=Column(DateTime, nullable=False))
    actor: str = _text()
    reason: str | None = _text_or_null()
    correlation_id: str = _text()
    causation_id: str | None = _text_or_null()
    data: str = _text()
    hash: str = _text()


class RegistryRow(SQLModel, table=True):
    __tablename__ = "registry"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    stream_version: int = _whole()
    doc: str = _text()


class ConnectionRow(SQLModel, table=True):
    __tablename__ = "connection"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    stream_version: int = _whole()
    doc: str = _text()


class ModelRow(SQLModel, table=True):
    __tablename__ = "model"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    stream_version: int = _whole()
    doc: str = _text()


class VersionRow(SQLModel, table=True):
    """`moving`: a plan has to look at it."""

    __tablename__ = "version"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    model: str = _text()
    number: int = _whole()
    state: str = _text()
    connection: str = _text()
    valid_loss: float | None = _number_or_null()
    train_loss: float | None = _number_or_null()
    created_at: datetime | None = _time_or_null()
    moving: bool = _Field(nullable=False)
    stream_version: int = _whole()
    doc: str = _text()


class DeploymentRow(SQLModel, table=True):
    """`live`: not yet seen gone."""

    __tablename__ = "deployment"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    model: str = _text()
    number: int = _whole()
    connection: str = _text()
    state: str = _text()
    live: bool = _Field(nullable=False)
    requested_at: datetime | None = _time_or_null()
    stream_version: int = _whole()
    doc: str = _text()


class MetricRow(SQLModel, table=True):
    """Telemetry. Recording a point again replaces it, by delete and insert."""

    __tablename__ = "metric"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["model", "number", "attempt", "step", "name"]}

    model: str = _text()
    number: int = _whole()
    attempt: int = _whole()
    step: int = _whole()
    name: str = _text()
    value: float = _Field(sa_column=Column(Double, nullable=False))
    epoch: float | None = _number_or_null()
    recorded_at: datetime = _Field(sa_column=Column(DateTime, nullable=False))


class UsageRow(SQLModel, table=True):
    """The gateway's counts by the hour. `deployment` is empty where the provider serves without one."""

    __tablename__ = "usage"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["model", "number", "deployment", "hour"]}

    model: str = _text()
    number: int = _whole()
    deployment: str = _text()
    hour: datetime = _Field(sa_column=Column(DateTime, nullable=False))
    requests: int = _whole()
    errors: int = _whole()
    unmetered: int = _whole()
    prompt_tokens: int = _whole()
    completion_tokens: int = _whole()
    duration_s: float = _Field(sa_column=Column(Double, nullable=False))
    last_used_at: datetime = _Field(sa_column=Column(DateTime, nullable=False))


class IdempotencyRow(SQLModel, table=True):
    __tablename__ = "idempotency"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["key"]}

    key: str = _text()
    fingerprint: str = _text()
    answer: str = _text()


class MetaRow(SQLModel, table=True):
    """One row: the schema, how read models were folded, and how far the journal has been applied."""

    __tablename__ = "meta"  # pyright: ignore[reportAssignmentType] -- sqlmodel types it as a method
    __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": ["schema_version"]}

    schema_version: int = _whole()
    folding: str = _text()
    batch: int = _whole()
    position: int = _whole()
    hash: str = _text()


def create(engine: Engine) -> None:
    """Make every table. Raises where one exists."""
    rows = (
        EventRow,
        RegistryRow,
        ConnectionRow,
        ModelRow,
        VersionRow,
        DeploymentRow,
        MetricRow,
        UsageRow,
        IdempotencyRow,
        MetaRow,
    )
    SQLModel.metadata.create_all(engine, tables=[table_of(row) for row in rows], checkfirst=False)


def table_of(row: type[SQLModel]) -> Table:
    return row.__dict__["__table__"]
