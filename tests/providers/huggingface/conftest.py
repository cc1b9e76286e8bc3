from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.huggingface.local_harness import LocalHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LocalHarness]:
    harness = LocalHarness(tmp_path)
    yield harness
    harness.close()
