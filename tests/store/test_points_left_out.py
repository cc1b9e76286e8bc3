"""A journal that holds a point which no database can: the rest of it is taken, and that is left out."""

from __future__ import annotations

from datetime import datetime

from registry.store.batches import Batch, batch_of, metric_line, payload_of
from registry.store.chain import GENESIS

AT = datetime.fromisoformat("2026-11-01T09:00")


def test_a_point_beyond_64_bits_that_an_earlier_release_wrote_is_left_out_when_its_journal_is_read() -> None:
    good = ("bot", 1, 1, 7, "train_loss", 0.5, None, AT)
    lines = [metric_line(("bot", 1, 1, 2**63, "train_loss", 0.5, None, AT)), metric_line(good)]
    payload = payload_of(Batch(1, 0, GENESIS), lines)
    assert batch_of(1, payload, position=0, hash=GENESIS).metrics == [good]
