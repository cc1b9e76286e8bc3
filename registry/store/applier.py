"""The one who brings the database up to the journal: batches and the read models they touch, in one transaction.

Batches gather for a moment unless somebody waits for them, since a transaction costs about 2 ms however small it is.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import duckdb

from registry.domain.errors import TenureError
from registry.domain.states import State
from registry.store.batches import Batch
from registry.store.database import Database, translated
from registry.store.live import Live
from registry.store.migrations import sync_folder
from registry.store.statements import Cursor, write_batches

GATHER_S = 0.1
EVENTS_PER_COMMIT_MAX = 5_000
HURRY_BACKLOG = 2_000
RETRY_S = 1.0
CHECKPOINT_RETRY_S = 5.0

logger = logging.getLogger(__name__)


class Applier:
    def __init__(self, live: Live, database: Database, finished: deque[tuple[int, Path]]) -> None:
        self._live = live
        self._database = database
        self._finished = finished
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._applying = threading.Lock()
        self._stopping = False
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="tenure-applier", daemon=True)
        self._thread.start()

    def take(self, batch: Batch) -> None:
        self._queue.put(batch)
        if self._live.backlog >= HURRY_BACKLOG:
            self._live.hurry.set()

    def stop(self) -> None:
        """Apply what there is. What cannot be applied stays in the journal, for the next opening."""
        self._stopping = True
        self._queue.put(None)
        self._live.hurry.set()
        self._thread.join()

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """The database is at the end of a batch and stays there; appends go on into the journal."""
        with self._applying:
            yield

    def _run(self) -> None:
        going = True
        while going:
            batch = self._queue.get()
            if batch is None:
                break
            if not self._stopping and not self._live.waited_for:
                self._live.hurry.wait(GATHER_S)
            self._live.hurry.clear()
            batches, going = self._gathered(batch)
            with self._applying:
                if not self._apply(batches):
                    break
                self._drop_segments()

    def _gathered(self, first: Batch) -> tuple[list[Batch], bool]:
        batches, events = [first], len(first.events)
        with contextlib.suppress(Empty):
            while events < EVENTS_PER_COMMIT_MAX:
                batch = self._queue.get_nowait()
                if batch is None:
                    return batches, False
                batches.append(batch)
                events += len(batch.events)
        return batches, True

    def _apply(self, batches: Sequence[Batch]) -> bool:
        """Until it is done; False when the log is being closed and it cannot be done."""
        bases: dict[str, State] | None = None
        touched: dict[str, State] | None = None
        while True:
            generation = self._database.generation
            try:
                if touched is None:
                    bases = self._live.stored(self._live.unknown_bases(batches)) if bases is None else bases
                    touched = self._live.fold(batches, bases)
                self._write(batches, touched)
            except (duckdb.Error, TenureError, OSError) as exc:
                if not self._recover(exc, generation):
                    return False
                continue
            return True

    def _write(self, batches: Sequence[Batch], touched: dict[str, State]) -> None:
        """Told before the cursor goes back, so that nobody can open the database again in between and miss them."""
        with self._database.cursor() as cursor:
            if not self._has(cursor, batches[-1].number):
                cursor.execute("BEGIN")
                try:
                    write_batches(cursor, batches, touched)
                    cursor.execute("COMMIT")
                except duckdb.Error:
                    with contextlib.suppress(duckdb.Error):
                        cursor.execute("ROLLBACK")
                    raise
            self._live.applied_to(batches[-1].number)

    def _has(self, cursor: Cursor, number: int) -> bool:
        """Whether a commit that failed had happened all the same."""
        if self._live.failing is None:
            return False
        ((batch,),) = cursor.execute("SELECT batch FROM meta").fetchall()
        return batch >= number

    def _recover(self, exc: Exception, generation: int) -> bool:
        """Say what is wrong, open the database again, and wait before the next try. False: give up, we are closing."""
        error = translated(exc) if isinstance(exc, duckdb.Error) else exc
        logger.warning("the database cannot be written, the journal keeps what is recorded: %s", error)
        self._live.failed(str(error))
        with contextlib.suppress(TenureError, duckdb.Error):
            self._database.reopen(generation)
        if self._stopping:
            return False
        self._live.hurry.wait(RETRY_S)
        self._live.hurry.clear()
        return True

    def _drop_segments(self) -> None:
        """Checkpoint when full segments have been applied, and then remove them.

        Only those that were there before: the writer may finish another while the checkpoint goes on without it.
        """
        needless = len(self._finished)
        if not needless or self._finished[needless - 1][0] > self._live.applied or time.monotonic() < self._not_before:
            return
        generation = self._database.generation
        try:
            self._database.checkpoint()
        except (duckdb.Error, TenureError, OSError) as exc:
            logger.warning("the checkpoint failed and is tried again later: %s", exc)
            self._not_before = time.monotonic() + CHECKPOINT_RETRY_S
            with contextlib.suppress(TenureError, duckdb.Error):
                self._database.reopen(generation)
            return
        remove(self._finished.popleft()[1] for _ in range(needless))


def remove(segments: Iterable[Path]) -> None:
    """Segments whose batches are in the database file for good."""
    folders: set[Path] = set()
    for path in segments:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
