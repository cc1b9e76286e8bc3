"""The database's schema: made from nothing, and brought forward from every earlier one. Forward only, additive only.

A step may add tables and nullable columns; DuckDB refuses most other ALTERs on tables with an index. Each is followed
by a CHECKPOINT, because DuckDB's write-ahead log has not always replayed DDL well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.domain.errors import BadInputError
from registry.store.chain import GENESIS

SCHEMA = 2

STEPS: Mapping[int, tuple[str, ...]] = {
    1: (
        (
            "CREATE TABLE usage (model VARCHAR NOT NULL, number BIGINT NOT NULL, deployment VARCHAR NOT NULL, "
            "hour TIMESTAMP NOT NULL, requests BIGINT NOT NULL, errors BIGINT NOT NULL, unmetered BIGINT NOT NULL, "
            "prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, duration_s DOUBLE NOT NULL, "
            "last_used_at TIMESTAMP NOT NULL)"
        ),
    ),
}
"""The statements that lead from a schema to the next one. Never changed once released."""

CONFIG: Mapping[str, Any] = {
    # Files stay readable by the long-supported 1.4 line.
    "storage_compatibility_version": "v1.4.0",
    # Checkpoints happen when the journal says so, and nowhere else.
    "checkpoint_threshold": "1TB",
}
BLOCK_BYTES = 64 << 10
"""Of a new file. Who reads the history of one version reads a block of each column."""


def create(path: Path) -> None:
    """A new, empty database. It appears under its name only when it is whole."""
    from sqlalchemy.pool import NullPool
    from sqlmodel import Session, create_engine

    from registry.store import tables

    new = path.with_name(path.name + ".new")
    for leftover in (new, new.with_name(new.name + ".wal")):
        leftover.unlink(missing_ok=True)
    # As an argument, since in a URL a % or a ? of the path would mean something else.
    config = {**CONFIG, "default_block_size": BLOCK_BYTES}
    engine = create_engine("duckdb://", poolclass=NullPool, connect_args={"database": str(new), "config": config})
    try:
        tables.create(engine)
        with Session(engine) as session:
            session.add(tables.MetaRow(schema_version=SCHEMA, folding="", batch=0, position=0, hash=GENESIS))
            session.commit()
        with engine.connect() as connection:
            connection.exec_driver_sql("CHECKPOINT")
    finally:
        engine.dispose()
    new.replace(path)
    sync_folder(path.parent)


def migrate(connection: Any) -> None:  # noqa: ANN401 -- a DuckDB connection
    """Bring an open database to SCHEMA. May be repeated; killed between two steps, it goes on with the next."""
    (version,) = connection.execute("SELECT schema_version FROM meta").fetchone()
    if version > SCHEMA:
        raise BadInputError(
            f"this home was written by a newer release (schema {version}; this one knows {SCHEMA})",
            field="TENURE_HOME",
            hint="upgrade tenure, or use another home",
        )
    for step in range(version, SCHEMA):
        connection.execute("BEGIN")
        for statement in STEPS[step]:
            connection.execute(statement)
        connection.execute("UPDATE meta SET schema_version = ?", [step + 1])
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")


def sync_folder(path: Path) -> None:
    """Make a file's new name, or its absence, survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
