"""`python -m tests.simulation --seeds 1000 [--first 0] [--jobs 2]`: plays seeds; tells the story of the first bad one.

A seed always plays the same; `--seeds 1 --first N` tells N again, and a long run that was stopped goes on from any
`--first`. `--store duckdb` plays each over the real files as well, with the same outcome. `--bugs` plants every bug
that it knows, one after another, and fails if one is not noticed; `--bug NAME` plants one and tells how it was noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.simulation.bugs import BUGS, FORGETS, planted
from tests.simulation.drama import Drama, Outcome
from tests.simulation.rules import Broken

MEMORY, DUCKDB = "memory", "duckdb"
LINES_MAX = 400
LOT = 50
SEEDS_FOR_A_BUG = 1_000
PROGRESS_S = 60.0
"""How often a run that no terminal shows says how far it is."""


@dataclass(slots=True)
class Tally:
    """What some seeds came to. `story`: of the seed that broke something, the last one that was played."""

    played: int = 0
    hours: float = 0.0
    kills: int = 0
    cpu_s: float = 0.0
    story: str | None = None

    def add(self, other: Tally) -> None:
        self.played += other.played
        self.hours += other.hours
        self.kills += other.kills
        self.cpu_s += other.cpu_s
        self.story = self.story or other.story


def play(seed: int, bug: str | None = None, store: str = MEMORY) -> Tally:
    return lot([seed], bug, store)


def lot(seeds: Iterable[int], bug: str | None = None, store: str = MEMORY) -> Tally:
    """Some seeds, one after another, until one breaks something."""
    begun, tally = time.process_time(), Tally()
    with tempfile.TemporaryDirectory() as folder, planted(bug), quiet():
        for seed in seeds:
            tally.add(_played(seed, Path(folder), bug, store))
            if tally.story is not None:
                break
    tally.cpu_s = time.process_time() - begun
    return tally


def _played(seed: int, folder: Path, bug: str | None, store: str) -> Tally:
    drama = Drama(seed, folder, forgets=bug == FORGETS, on_disk=store == DUCKDB)
    try:
        outcome = drama.play()
        if store == DUCKDB:
            _same(outcome, Drama(seed, folder, forgets=bug == FORGETS).play())
    except Broken as broken:
        return Tally(played=1, story=told(seed, drama, broken))
    except Exception as error:  # noqa: BLE001 -- a fault of the registry that nobody expected
        return Tally(played=1, story=told(seed, drama, error))
    return Tally(played=1, hours=outcome.hours, kills=outcome.kills)


def _same(on_disk: Outcome, in_memory: Outcome) -> None:
    if on_disk != in_memory:
        raise Broken(f"on disk the life ends as {on_disk}, in memory as {in_memory}")


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """What the reconciler logs, the story tells."""
    logger = logging.getLogger("tenure")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def told(seed: int, drama: Drama, error: BaseException) -> str:
    lines = drama.story[-LINES_MAX:]
    return "\n".join([f"seed {seed}: {type(error).__name__}: {error}", *lines, f"  ==> {error}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--store", choices=(MEMORY, DUCKDB), default=MEMORY, help="duckdb: over files too, with the same outcome"
    )
    parser.add_argument("--bug", choices=sorted(BUGS))
    parser.add_argument("--bugs", action="store_true", help="after the seeds, see that every planted bug is noticed")
    arguments = parser.parse_args()
    return _seeds(arguments) or (_bugs(arguments.jobs) if arguments.bugs else 0)


def _bugs(jobs: int) -> int:
    begun, missed = time.monotonic(), 0
    with _workers(jobs) as pool:
        for name, found in zip(BUGS, pool.map(lot, [range(SEEDS_FOR_A_BUG)] * len(BUGS), BUGS), strict=True):
            missed += found.story is None
            after = f"noticed by seed {found.played - 1}" if found.story else f"NOT noticed by {found.played} seeds"
            print(f"{after:<24}  {name}")  # noqa: T201 -- the answer
    print(f"{len(BUGS)} planted bugs, {missed} not noticed, {time.monotonic() - begun:.0f} s")  # noqa: T201 -- see above
    return 1 if missed else 0


def _seeds(arguments: argparse.Namespace) -> int:
    run = _Run(arguments.first, arguments.seeds)
    last = arguments.first + arguments.seeds
    lots = [range(start, min(start + LOT, last)) for start in range(arguments.first, last, LOT)]
    with _workers(arguments.jobs) as pool:
        for found in pool.map(lot, lots, [arguments.bug] * len(lots), [arguments.store] * len(lots)):
            run.tally.add(found)
            if found.story is not None:
                print(found.story)  # noqa: T201 -- what it is for
                pool.shutdown(cancel_futures=True)
                return 1
            run.progress()
    print(run.summary())  # noqa: T201 -- the answer
    return 0


def _workers(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, initializer=_rarely_collected)


def _rarely_collected() -> None:
    """A life leaves few cycles behind: looking for them at every seven hundred objects is a twentieth of the time."""
    gc.set_threshold(50_000, 20, 50)


class _Run:
    """How far a run is, and what it has come to."""

    def __init__(self, first: int, seeds: int) -> None:
        self.tally = Tally()
        self._first = first
        self._seeds = seeds
        self._begun = self._told = time.monotonic()

    def progress(self) -> None:
        """On a terminal one line that changes; elsewhere a line a minute."""
        now, live = time.monotonic(), sys.stderr.isatty()
        if not live and now - self._told < PROGRESS_S:
            return
        self._told = now
        played = self.tally.played
        left = timedelta(seconds=round((now - self._begun) * (self._seeds - played) / played))
        line = f"{played:,} of {self._seeds:,} seeds hold, up to {self._first + played - 1}; {left} left"
        print(f"\r{line}" if live else line, end=" " if live else "\n", file=sys.stderr, flush=True)  # noqa: T201 -- progress

    def summary(self) -> str:
        tally, seconds = self.tally, time.monotonic() - self._begun
        pace = tally.hours / tally.cpu_s
        return (
            f"{tally.played:,} seeds, {tally.hours:,.0f} virtual hours, {tally.kills:,} kills, {seconds:.0f} s;"
            f" {pace:.0f} virtual hours in a second of one core"
        )


if __name__ == "__main__":
    sys.exit(main())
