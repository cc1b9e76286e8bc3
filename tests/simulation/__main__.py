"""`python -m tests.simulation --seeds 1000 [--first 0] [--jobs 2]`: plays seeds; tells the story of the first bad one.

A seed always plays the same; `--seeds 1 --first N` tells N again. `--bugs` plants every bug that it knows, one after
another, and fails if one is not noticed; `--bug NAME` plants one and tells how it was noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.bugs import BUGS, FORGETS, planted
from tests.simulation.drama import Drama
from tests.simulation.rules import Broken

LINES_MAX = 400
LOT = 50
SEEDS_FOR_A_BUG = 1_000


def play(seed: int, bug: str | None = None) -> tuple[float, int, str | None]:
    """(virtual hours, kills, the story if something is broken)"""
    with tempfile.TemporaryDirectory() as folder, planted(bug), quiet():
        drama = Drama(seed, Path(folder), forgets=bug == FORGETS)
        try:
            outcome = drama.play()
        except Broken as broken:
            return 0.0, 0, told(seed, drama, broken)
        except Exception as error:  # noqa: BLE001 -- a fault of the registry that nobody expected
            return 0.0, 0, told(seed, drama, error)
        return outcome.hours, outcome.kills, None


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


def lot(seeds: Iterable[int], bug: str | None) -> tuple[float, int, int, str | None]:
    hours, kills, played = 0.0, 0, 0
    for seed in seeds:
        one_hours, one_kills, story = play(seed, bug)
        played += 1
        hours, kills = hours + one_hours, kills + one_kills
        if story is not None:
            return hours, kills, played, story
    return hours, kills, played, None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bug", choices=sorted(BUGS))
    parser.add_argument("--bugs", action="store_true", help="after the seeds, see that every planted bug is noticed")
    arguments = parser.parse_args()
    return _seeds(arguments) or (_bugs(arguments.jobs) if arguments.bugs else 0)


def _bugs(jobs: int) -> int:
    begun, missed = time.monotonic(), 0
    with ProcessPoolExecutor(jobs) as pool:
        found = pool.map(lot, [range(SEEDS_FOR_A_BUG)] * len(BUGS), BUGS)
        for name, (*_, played, story) in zip(BUGS, found, strict=True):
            missed += story is None
            after = f"noticed by seed {played - 1}" if story else f"NOT noticed by {played} seeds"
            print(f"{after:<24}  {name}")  # noqa: T201 -- the answer
    print(f"{len(BUGS)} planted bugs, {missed} not noticed, {time.monotonic() - begun:.0f} s")  # noqa: T201 -- see above
    return 1 if missed else 0


def _seeds(arguments: argparse.Namespace) -> int:
    begun, hours, kills, played = time.monotonic(), 0.0, 0, 0
    last = arguments.first + arguments.seeds
    lots = [range(start, min(start + LOT, last)) for start in range(arguments.first, last, LOT)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for one_hours, one_kills, one_played, story in pool.map(lot, lots, [arguments.bug] * len(lots)):
            hours, kills, played = hours + one_hours, kills + one_kills, played + one_played
            if story is not None:
                print(story)  # noqa: T201 -- what it is for
                pool.shutdown(cancel_futures=True)
                return 1
            if sys.stderr.isatty():
                print(f"\r{played} seeds", end="", file=sys.stderr)  # noqa: T201 -- progress
    seconds = time.monotonic() - begun
    print(f"{played} seeds, {hours:,.0f} virtual hours, {kills:,} kills, {seconds:.0f} s")  # noqa: T201 -- the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
