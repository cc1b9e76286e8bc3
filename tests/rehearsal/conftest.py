from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from providers.rehearsal import Rehearsal
from tests.rehearsal.sdks import OPENED

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """All emulators, at noon, with a clock that stands still until it is told to move."""
    with Rehearsal(start=NOON, speed=0.0) as running:
        yield running
        OPENED.close()
