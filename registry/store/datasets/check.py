"""Checking training data: everything that is wrong with both sets, found at once, before anything is sent or spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from registry.store.datasets.engine import Engine
from registry.store.datasets.faults import Faults
from registry.store.datasets.files import look
from registry.store.datasets.model import Columns, DataFault, DataReport, DataSummary, FileFaultError
from registry.store.datasets.staging import Staged, scratch_folder, stage
from registry.store.datasets.tokens import CountTokens, count, counter_of, estimate

Progress = Callable[[str], None]
"""Called with a phrase when a step begins: "reading train.csv"."""


def check(
    train: Path,
    validation: Path | None,
    columns: Columns,
    *,
    rows_min: int = 1,
    size_bytes_max: int | None = None,
    faults_max: int = 20,
    count_tokens: CountTokens | None = None,
    tokenizer: Path | None = None,
    memory_limit: str = "512MB",
    progress: Progress | None = None,
) -> DataReport:
    """Look at both files and answer what they hold and what is wrong; never raises for what is wrong with the data.

    `rows_min` is the provider's, for the training set; a validation set needs one row. `size_bytes_max` is for each file,
    uncompressed. `faults_max` bounds how many faults, and how many warnings, are listed. `count_tokens` answers the tokens
    of some texts together; `tokenizer` is a tokenizer.json that does so; with neither, tokens are estimated. Blocks for
    seconds a million rows, and writes only to the folder for temporary files.

    Raises BadInputError for an unusable tokenizer, UnavailableError when memory or temporary space does not suffice.
    """
    tell = progress or (lambda _: None)
    counter = counter_of(tokenizer) if tokenizer is not None else count_tokens
    files = (str(train),) if validation is None else (str(train), str(validation))
    faults, warnings = Faults(keep_max=faults_max, files=files), Faults(keep_max=faults_max, files=files)
    with scratch_folder() as scratch, Engine(memory_limit=memory_limit, scratch=scratch) as engine:
        checker = _Checker(
            engine=engine, columns=columns, faults=faults, warnings=warnings, size_bytes_max=size_bytes_max, tell=tell
        )
        trained, train_rows = checker.one(train, "train", rows_min=rows_min, counter=counter)
        validated = None
        if validation is not None:
            validated, validation_rows = checker.one(validation, "validation", rows_min=1, counter=counter)
            if train_rows is not None and validation_rows is not None:
                checker.overlap(train, train_rows, validation, validation_rows)
    return DataReport(
        train=trained,
        validation=validated,
        faults=faults.first(),
        faults_total=faults.total,
        warnings=warnings.first(),
        warnings_total=warnings.total,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    engine: Engine
    columns: Columns
    faults: Faults
    warnings: Faults
    size_bytes_max: int | None
    tell: Callable[[str], None]

    def one(
        self, path: Path, slot: str, *, rows_min: int, counter: CountTokens | None
    ) -> tuple[DataSummary, Staged | None]:
        """What one file holds; its rows are None when nothing can be said about them."""
        summary = DataSummary(path=str(path))
        self.tell(f"reading {path.name}")
        try:
            seen = look(path)
            summary = replace(summary, sha256=seen.sha256, size_bytes=seen.size_bytes)
            seen.refuse(size_bytes_max=self.size_bytes_max)
            staged = stage(self.engine, seen, self.columns, self.faults.add, slot=slot)
        except FileFaultError as error:
            for complaint in error.complaints:
                self.faults.add(complaint.at(str(path)))
            return summary, None
        if staged.rows < rows_min:
            message = f"has {staged.rows} row{'s' if staged.rows != 1 else ''}; at least {rows_min} are needed"
            self.faults.add(DataFault(file=str(path), kind="too-few-rows", message=message))
        self.tell(f"counting the tokens of {path.name}")
        return self._summary(replace(summary, rows=staged.rows), staged, counter), staged

    def _summary(self, summary: DataSummary, staged: Staged, counter: CountTokens | None) -> DataSummary:
        size, characters, told, longest, longest_row = self.engine.one(
            "SELECT coalesce(sum(size), 0)::BIGINT, coalesce(sum(characters), 0)::BIGINT, count(*) FILTER (told),"
            f" max(size), arg_max(row, size) FROM {staged.facts} WHERE whole IS NOT NULL"  # noqa: S608 - a table of ours
        )
        tokens = count(self.engine, staged.chats, text_bytes=cast("int", size), counter=counter)
        return replace(
            summary,
            tokens=tokens.total,
            tokens_estimated=tokens.estimated,
            characters=cast("int", characters),
            duplicates=self._duplicates(summary.path, staged),
            longest_row=cast("int | None", longest_row),
            longest_tokens=None if longest is None else estimate(cast("int", longest)),
            with_system=cast("int", told),
        )

    def _duplicates(self, file: str, staged: Staged) -> int:
        """Rows that repeat an earlier one, each a warning that names the first."""
        repeated = self.engine.stream(
            "SELECT row, earliest FROM (SELECT row, whole, answer FROM"  # noqa: S608 - tables of ours
            f" {staged.facts}) JOIN (SELECT whole, answer, min(row) AS earliest FROM {staged.facts} WHERE whole IS NOT NULL"
            " GROUP BY whole, answer HAVING count(*) > 1) USING (whole, answer) WHERE row > earliest ORDER BY row"
        )
        number = 0
        for row, earliest in repeated:
            number += 1
            message = f"repeats row {earliest}"
            self.warnings.add(DataFault(file=file, row=cast("int", row), kind="duplicate", message=message))
        return number

    def overlap(self, train: Path, train_rows: Staged, validation: Path, validation_rows: Staged) -> None:
        self.tell(f"comparing {validation.name} with {train.name}")
        both = self.engine.stream(
            f"SELECT v.row, min(t.row) FROM {validation_rows.facts} v JOIN {train_rows.facts} t USING (whole, answer)"  # noqa: S608 - tables of ours
            " GROUP BY v.row ORDER BY v.row"
        )
        for row, twin in both:
            message = f"stands in the training set too ({train.name}, row {twin})"
            fault = DataFault(file=str(validation), row=cast("int", row), kind="overlap", message=message)
            self.faults.add(fault)
