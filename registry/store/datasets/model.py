"""What is said about training data: how its columns are named, what it holds, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from registry.domain.errors import BadInputError

FaultKind = Literal[
    "binary",  # not text at all, or a NUL byte in a row
    "column-type",  # a Parquet column, or a JSON value, that is not text
    "corrupt",  # a Parquet or gzip file that cannot be read
    "duplicate",  # a warning: a row repeats an earlier one of the same file
    "empty-file",
    "empty-text",  # nothing but white space
    "encoding",  # not UTF-8
    "file",  # missing, a folder, not to be opened
    "format",  # an extension that says nothing, or something else than is inside
    "json",  # a line that is not a JSON object
    "message",  # a chat message of the wrong shape, role or order
    "missing-column",
    "missing-value",
    "no-rows",  # a header and nothing below
    "overlap",  # a validation row that stands in the training set too
    "quote",  # a quote of a CSV file that is not closed, or closed too early
    "row-shape",  # more or fewer values than the header has names
    "too-few-rows",
    "too-large",
    "too-long",  # one row larger than any model's context
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a row's texts are. `system` None: a column named `system` is used if it is there, and may be missing.

    `system_text` is one text for all rows, instead of a column. JSON Lines rows that hold `messages` need no names.
    """

    prompt: str = "prompt"
    completion: str = "completion"
    system: str | None = None
    system_text: str | None = None

    def __post_init__(self) -> None:
        """Raises BadInputError for names that cannot all be meant."""
        if self.system is not None and self.system_text is not None:
            raise BadInputError("Give a system column or one system text for all rows, not both.", field="system")
        named = [name for name in (self.prompt, self.completion, self.system_column) if name is not None]
        if len({name.lower() for name in (*named, "messages")}) <= len(named):
            raise BadInputError(
                f"Prompt, completion and system must be columns of their own, not {', '.join(named)}"
                " (`messages` is for whole chats).",
                field="columns",
            )

    @property
    def system_column(self) -> str | None:
        """The name to look for; None where one system text stands for all rows."""
        return None if self.system_text is not None else self.system or "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFault:
    """One thing that is wrong. `row` counts records from 1 after the header (lines from 1 in JSON Lines).

    `message` is a phrase that follows the place: "is missing". It never quotes a prompt or a completion.
    """

    file: str
    row: int | None = None
    column: str | None = None
    kind: FaultKind
    message: str

    def __str__(self) -> str:
        """The place and what is wrong there, as `train.csv, row 4711, column completion: is missing`."""
        place = [self.file]
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            place.append(f"column {self.column}")
        return f"{', '.join(place)}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What is wrong, before it is known where: a fault without its file and row."""

    kind: FaultKind
    message: str
    column: str | None = None

    def at(self, file: str, row: int | None = None) -> DataFault:
        return DataFault(file=file, row=row, column=self.column, kind=self.kind, message=self.message)


class FileFaultError(Exception):
    """Nothing more can be said about a file's rows, for these reasons."""

    def __init__(self, *complaints: Complaint) -> None:
        super().__init__(*(complaint.message for complaint in complaints))
        self.complaints = complaints

    @classmethod
    def because(cls, kind: FaultKind, message: str) -> Self:
        return cls(Complaint(kind=kind, message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """What one file holds. Where it has faults, figures cover the rows that could be read.

    `sha256`: hex, of the file's bytes as they are; empty when it could not be opened. `tokens`: of all texts, without
    what a chat template adds; `tokens_estimated` unless every text was counted. `duplicates`: rows that repeat an
    earlier one. `longest_row`: the row with the most text, `longest_tokens` its tokens. `with_system`: rows with a
    system text.
    """

    path: str
    sha256: str = ""
    size_bytes: int = 0
    rows: int = 0
    tokens: int | None = None
    tokens_estimated: bool = True
    characters: int = 0
    duplicates: int = 0
    longest_row: int | None = None
    longest_tokens: int | None = None
    with_system: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What a check found. `faults` and `warnings` are the first of them by file and row; `…_total` counts them all."""

    train: DataSummary
    validation: DataSummary | None
    faults: tuple[DataFault, ...]
    faults_total: int
    warnings: tuple[DataFault, ...]
    warnings_total: int

    @property
    def ok(self) -> bool:
        return self.faults_total == 0

    def error(self) -> BadInputError:
        """The refusal that names every fault listed, for whoever must not go on with this data."""
        count = f"{self.faults_total} fault{'s' if self.faults_total != 1 else ''}"
        rest = self.faults_total - len(self.faults)
        listed = tuple(str(fault) for fault in self.faults) + ((f"… and {rest} more",) if rest else ())
        message = f"The training data has {count}: {listed[0]}" if listed else f"The training data has {count}."
        return BadInputError(message, field="train", faults=listed)
