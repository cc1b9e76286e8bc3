from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.conformance import ProviderConformance
from tests.providers.huggingface.local_harness import LocalHarness


class TestLocalProvider(ProviderConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[LocalHarness]:  # pyright: ignore[reportIncompatibleMethodOverride] - a fixture that cleans up
        harness = LocalHarness(tmp_path)
        yield harness
        harness.close()
