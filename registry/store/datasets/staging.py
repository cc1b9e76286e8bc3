"""One file, read once into a narrow table of facts: where rows are at fault, and digests of those that are not.

The view `facts_<slot>` has row, flags, two digests, sizes and whether there is a system text, and no text but faulty JSON
lines, so that a million rows take some 50 MB, and ten million spill into the scratch folder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from registry.store.datasets import chats as bits
from registry.store.datasets.chats import chats
from registry.store.datasets.engine import Engine, UnreadableError
from registry.store.datasets.explain import explain_line, keys_of
from registry.store.datasets.files import Look
from registry.store.datasets.model import Columns, Complaint, DataFault, FileFaultError
from registry.store.datasets.sources import Source, forgiving_source, missing_column, strict_source

Report = Callable[[DataFault], None]

TABLE_FAULTS = (
    (bits.PROMPT_MISSING, "prompt", "missing-value", "is missing"),
    (bits.PROMPT_EMPTY, "prompt", "empty-text", "is empty"),
    (bits.COMPLETION_MISSING, "completion", "missing-value", "is missing"),
    (bits.COMPLETION_EMPTY, "completion", "empty-text", "is empty"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """`chats` is the relation of rows, `facts` the view. `rows` counts faulty ones too."""

    chats: str
    facts: str
    rows: int


@contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """A folder that is gone afterwards, among the temporary files or beside a destination."""
    folder = Path(tempfile.mkdtemp(prefix=".tenure-data-", dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(engine: Engine, seen: Look, columns: Columns, report: Report, *, slot: str) -> Staged:
    """Read a file and report every fault within its rows.

    Raises FileFaultError where its rows cannot be looked at.
    """
    file = str(seen.path)
    broken: list[DataFault] = []
    source = _read(engine, seen, columns, broken.append, slot=slot)
    for fault in broken:
        report(fault)
    relation, facts = chats(source, columns), f"facts_{slot}"
    rows, faulty = engine.one(
        f"SELECT count(*) FILTER (flags & {bits.BLANK_LINE} = 0), count(*) FILTER (flags & {bits.FAULTY} <> 0) FROM {facts}"  # noqa: S608 - names and numbers of ours
    )
    staged = Staged(chats=relation, facts=facts, rows=cast("int", rows) + len(broken))
    if staged.rows == 0:
        raise FileFaultError.because("no-rows", "has a header and no rows" if source.names else "has no rows")
    if faulty and source.names is not None:
        _report_table(engine, staged, columns, report, file=file)
    elif faulty:
        _report_lines(engine, staged, columns, report, file=file)
    return staged


def _read(engine: Engine, seen: Look, columns: Columns, broken: Report, *, slot: str) -> Source:
    """Fill the table of facts, by the strict reader where it can and the forgiving one where it cannot."""
    if seen.format == "parquet" or (seen.clean and not seen.begins_blank):
        try:
            source = strict_source(engine, seen, columns, slot=slot)
            _materialise(engine, source, columns, slot=slot)
        except UnreadableError as error:
            if seen.format == "parquet":
                message = f"is not a whole Parquet file: {error.detail}"
                raise FileFaultError.because("corrupt", message) from error
        else:
            return source
    source = forgiving_source(engine, seen, columns, broken, slot=slot)
    _materialise(engine, source, columns, slot=slot)
    return source


def _materialise(engine: Engine, source: Source, columns: Columns, *, slot: str) -> None:
    texts = "list_transform(messages, lambda one: {measure}(one.content))"
    engine.run(
        f"CREATE OR REPLACE TABLE read_{slot} AS SELECT row, flags, line, hash(messages) AS whole,"  # noqa: S608 - SQL of ours
        f" hash(messages[-1].content) AS answer, list_sum({texts.format(measure='strlen')})::UINTEGER AS size,"
        f" list_sum({texts.format(measure='length')})::UINTEGER AS characters,"
        f" messages[1].role = 'system' AS told FROM ({chats(source, columns)})"
    )
    engine.run(
        f"CREATE OR REPLACE VIEW facts_{slot} AS SELECT * REPLACE (coalesce(row, rowid + 1) AS row) FROM read_{slot}"  # noqa: S608 - see above
    )


def _report_table(engine: Engine, staged: Staged, columns: Columns, report: Report, *, file: str) -> None:
    names = {"prompt": columns.prompt, "completion": columns.completion}
    found = engine.stream(f"SELECT row, flags FROM {staged.facts} WHERE flags & {bits.FAULTY} <> 0 ORDER BY row")  # noqa: S608 - see above
    for row, flags in found:
        for bit, column, kind, message in TABLE_FAULTS:
            if cast("int", flags) & bit:
                report(DataFault(file=file, row=cast("int", row), column=names[column], kind=kind, message=message))


def _report_lines(engine: Engine, staged: Staged, columns: Columns, report: Report, *, file: str) -> None:
    absent = list(_absent_everywhere(engine, staged, columns))
    for complaint in absent:
        report(complaint.at(file))
    told = {complaint.column for complaint in absent}
    lines = engine.stream(f"SELECT row, line FROM {staged.facts} WHERE flags & {bits.EXPLAIN} <> 0 ORDER BY row")  # noqa: S608 - see above
    for row, line in lines:
        for complaint in explain_line(cast("str", line), columns):
            if complaint.kind != "missing-value" or complaint.column not in told:
                report(complaint.at(file, cast("int", row)))


def _absent_everywhere(engine: Engine, staged: Staged, columns: Columns) -> Iterator[Complaint]:
    """Names that no line has are one fault of the file, not one of every line."""
    looked_for = [(bits.NO_PROMPT, columns.prompt), (bits.NO_COMPLETION, columns.completion)]
    if columns.system is not None:
        looked_for.append((bits.NO_SYSTEM, columns.system))
    example = f"flags & {bits.EXAMPLE} <> 0"
    for bit, name in looked_for:
        examples, lacking = engine.one(
            f"SELECT count(*), count(*) FILTER (flags & {bit} <> 0) FROM {staged.facts} WHERE {example}"  # noqa: S608 - see above
        )
        if examples and examples == lacking:
            (line,) = engine.one(f"SELECT first(line) FROM {staged.facts} WHERE {example} AND line IS NOT NULL")  # noqa: S608 - see above
            yield missing_column(name, keys_of(cast("str", line)) if line is not None else ())
