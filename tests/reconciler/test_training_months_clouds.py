"""Through the vendors' own SDKs: a training costs in the month in which the cloud says that it ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from registry.domain.ids import VersionRef
from tests.reconciler.test_clouds import EVERY, OPENAI, Sky, sky

__all__ = ["sky"]
"""The fixture, which pytest finds by its name."""
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def trained_and_seen_two_days_later(sky: Sky, connection: str) -> VersionRef:
    """Asked for ten minutes before the month ends; it takes less, and nobody looks."""
    sky.clouds.clock.set(DECEMBER - timedelta(minutes=10))
    ref = sky.fine_tune(connection)
    sky.run()
    sky.clouds.clock.advance(2 * 86_400)
    sky.settle()
    assert sky.version(ref).state == "trained"
    return ref


@EVERY
def test_it_is_of_the_month_in_which_it_ended_whenever_that_was_seen(sky: Sky, connection: str) -> None:
    ref = trained_and_seen_two_days_later(sky, connection)
    (training,) = sky.registry.auditing.audit(to=DECEMBER).training
    assert training.version == str(ref)
    assert DECEMBER - timedelta(minutes=10) < training.trained_at < DECEMBER
    assert sky.registry.auditing.audit(from_=DECEMBER).training == ()


@pytest.mark.parametrize(("wrong_by", "seen"), [(90, 2), (-90, 0)], ids=["ahead", "behind"])
def test_a_cloud_whose_clock_is_wrong_moves_it_no_further_than_it_can_have_been(
    sky: Sky, wrong_by: int, seen: int
) -> None:
    sky.clouds.clock.jump(wrong_by * 86_400)
    trained_and_seen_two_days_later(sky, OPENAI)
    (training,) = sky.registry.auditing.audit().training
    asked = DECEMBER - timedelta(minutes=10)
    assert asked + timedelta(days=seen) <= training.trained_at < asked + timedelta(days=seen, minutes=5)
