"""Writing training data in the one shape that trainers and providers take."""

from __future__ import annotations

import os
from pathlib import Path

from registry.store.datasets.engine import Engine, literal
from registry.store.datasets.faults import Faults
from registry.store.datasets.files import look
from registry.store.datasets.model import Columns, DataReport, DataSummary, FileFaultError
from registry.store.datasets.staging import Staged, scratch_folder, stage

MEMORY_LIMIT = "512MB"


def convert(source: Path, columns: Columns, destination: Path) -> None:
    """Write JSON Lines of {"prompt": [messages], "completion": [message]}, row by row, whole or not at all.

    The system text is the first message of the prompt; of a longer chat all but the assistant's last message is prompt.
    Scratch space is taken beside the destination. May be repeated: it replaces the destination.

    Raises BadInputError that names every fault, also for data that `check` was not asked about; UnavailableError when
    the disk or the memory does not suffice; OSError for a destination that cannot be written.
    """
    with scratch_folder(destination.parent) as scratch, Engine(memory_limit=MEMORY_LIMIT, scratch=scratch) as engine:
        whole = scratch / "whole.jsonl"
        staged = _staged(engine, source, columns)
        engine.run(
            f"COPY (SELECT messages[:-2] AS prompt, messages[-1:] AS completion FROM ({staged.chats})"  # noqa: S608 - SQL of ours
            f" WHERE messages IS NOT NULL) TO {literal(str(whole))} (FORMAT json)"
        )
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(destination)


def _staged(engine: Engine, source: Path, columns: Columns) -> Staged:
    faults = Faults(keep_max=20, files=(str(source),))
    staged = None
    try:
        seen = look(source)
        seen.refuse(size_bytes_max=None)
        staged = stage(engine, seen, columns, faults.add, slot="source")
    except FileFaultError as error:
        for complaint in error.complaints:
            faults.add(complaint.at(str(source)))
    if staged is None or faults.total:
        raise DataReport(
            train=DataSummary(path=str(source)),
            validation=None,
            faults=faults.first(),
            faults_total=faults.total,
            warnings=(),
            warnings_total=0,
        ).error()
    return staged
