"""Years beside the providers' own bills; `python -m tests.simulation.year --seeds N` plays more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from registry.domain import deploying
from registry.reconciler.misses import Misses
from tests.simulation.year import play

YEARS = (1, 2, 3, 6, 7)
"""The first over DuckDB; even ones are calm."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", YEARS)
def test_the_audit_of_a_year_is_what_the_providers_bill(seed: int) -> None:
    year, story = play(seed)
    assert story is None, story
    assert year.compared > 40


def test_a_ledger_that_begins_too_late_is_noticed() -> None:
    right = deploying.accepted

    def accepted(one: Any, *, billed_from: Any, **rest: Any) -> Any:
        return right(one, billed_from=billed_from + timedelta(minutes=1), **rest)

    with patch.object(deploying, "accepted", accepted):
        _, story = play(2)
    assert story is not None
    assert "too little" in story


def test_a_loss_that_leaves_no_doubt_is_noticed() -> None:
    with patch.object(Misses, "last_seen", return_value=None):
        _, story = play(3)
    assert story is not None
    assert "too much" in story
