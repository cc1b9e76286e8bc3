"""Training data as the application takes it: checked, converted once, kept under the home by digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from registry.application.ports import CheckedData, DataSource
from registry.domain.errors import BadInputError
from registry.domain.events import DataRef
from registry.store.datasets import Columns, DataReport, DataSummary, check, convert

FAULTS_SHOWN_MAX = 20


class HomeTrainingData:
    """`TrainingData` in `<home>/data/<sha256>.jsonl`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def prepare(self, source: DataSource, *, rows_min: int) -> CheckedData:
        columns = Columns(
            prompt=source.prompt, completion=source.completion, system=source.system, system_text=source.system_text
        )
        report = check(source.train, source.validation, columns, rows_min=rows_min, faults_max=FAULTS_SHOWN_MAX)
        _refuse(report)
        assert report.train is not None
        return CheckedData(
            train=self._keep(source.train, report.train, columns),
            validation=self._keep(source.validation, report.validation, columns)
            if source.validation is not None and report.validation is not None
            else None,
            warnings=tuple(one.message for one in report.warnings),
        )

    def _keep(self, path: Path, summary: DataSummary, columns: Columns) -> DataRef:
        """The same file with the same columns is converted once."""
        key = hashlib.sha256(f"{summary.sha256} {columns!r}".encode()).hexdigest()
        kept = self._home / "data" / f"{key}.jsonl"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            convert(path, columns, kept)
        return DataRef(
            sha256=summary.sha256, rows=summary.rows, tokens=summary.tokens, name=path.name, path=f"data/{key}.jsonl"
        )


def _refuse(report: DataReport) -> None:
    """Raises BadInputError with every fault that was found, each on a line of its own."""
    if not report.faults:
        return
    lines = tuple(str(fault) for fault in report.faults)
    more = report.faults_total - len(lines)
    head = f"{report.faults_total} fault{'s' if report.faults_total != 1 else ''} in the training data:"
    tail = (f"… and {more} more",) if more > 0 else ()
    raise BadInputError("\n  ".join((head, *lines, *tail)), field="train", faults=lines)
