"""Training data as the application takes it: checked, converted once, kept under the home by digest."""

from __future__ import annotations

import hashlib
import json
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
        if source.as_is:
            train = self._keep_as_is(source.train, rows_min)
            validation = self._keep_as_is(source.validation, 1) if source.validation is not None else None
            return CheckedData(train=train, validation=validation, warnings=())
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
            warnings=tuple(str(one) for one in report.warnings),
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

    def _keep_as_is(self, path: Path, rows_min: int) -> DataRef:
        """Raises BadInputError for what is not JSON Lines of objects, and for too few of them."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{path.name}: {error.strerror}", field="train") from error
        rows = [line for line in content.splitlines() if line.strip()]
        faults = [f"{path.name}, row {n}: is not a JSON object" for n, row in enumerate(rows, 1) if not _is_object(row)]
        if len(rows) < rows_min:
            faults.append(f"{path.name} has {len(rows)} rows; at least {rows_min} are needed")
        if faults:
            shown = tuple(faults[:FAULTS_SHOWN_MAX])
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise BadInputError("\n  ".join((f"{count} in the training data:", *shown)), field="train", faults=shown)
        digest = hashlib.sha256(content).hexdigest()
        kept = self._home / "data" / f"{digest}.jsonl"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_suffix(".tmp")
            temporary.write_bytes(content)
            temporary.replace(kept)
        return DataRef(sha256=digest, rows=len(rows), tokens=None, name=path.name, path=f"data/{kept.name}")


def _is_object(row: bytes) -> bool:
    try:
        return isinstance(json.loads(row), dict)
    except ValueError:
        return False


def _refuse(report: DataReport) -> None:
    """Raises BadInputError with every fault that was found, each on a line of its own."""
    if not report.faults:
        return
    lines = tuple(str(fault) for fault in report.faults)
    more = report.faults_total - len(lines)
    head = f"{report.faults_total} fault{'s' if report.faults_total != 1 else ''} in the training data:"
    tail = (f"… and {more} more",) if more > 0 else ()
    unnamed = any(fault.kind == "missing-column" for fault in report.faults)
    hint = "say which columns hold them: prompt_column, completion_column (--prompt-column C)" if unnamed else None
    raise BadInputError("\n  ".join((head, *lines, *tail)), field="train", faults=lines, hint=hint)
