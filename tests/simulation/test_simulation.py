"""A few seeds; `make test` plays thousands beside this, and every planted bug; `make simulate SEEDS=100000` more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.__main__ import lot, play
from tests.simulation.drama import Drama

pytestmark = pytest.mark.slow

SEEDS = 60
SEEDS_ON_DISK = 24

KEPT = (14, 39, 55, 85, 138, 659, 1451, 7151, 11680, 12771, 20011, 61389)
"""Seeds that once found something; they are played first and for ever."""


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_broke_something_holds(seed: int) -> None:
    found = play(seed)
    assert found.story is None, found.story


def test_a_few_seeds_hold_what_must_always_hold() -> None:
    found = lot(range(5_000, 5_000 + SEEDS))
    assert found.story is None, found.story
    assert found.played == SEEDS
    assert found.kills > SEEDS
    assert found.hours > 2 * SEEDS


@pytest.mark.parametrize("first", range(6_000, 6_000 + SEEDS_ON_DISK, 6))
def test_over_duckdb_and_its_journal_a_seed_holds_and_tells_the_same_life(first: int) -> None:
    """Every kill leaves files from which the next process goes on."""
    found = lot(range(first, first + 6), store="duckdb")
    assert found.story is None, found.story
    assert found.kills > 0


def test_a_planted_bug_is_noticed_and_its_story_is_told() -> None:
    story = lot(range(100), "the successor is activated before the predecessor retires").story
    assert story is not None
    assert "2 versions of" in story
    assert "version-activated" in story


def test_a_seed_always_plays_the_same(tmp_path: Path) -> None:
    stories: list[list[str]] = []
    for part in ("one", "two"):
        drama = Drama(7, tmp_path / part)
        drama.play()
        stories.append(drama.story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 100
