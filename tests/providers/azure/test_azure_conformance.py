from __future__ import annotations

import pytest

from tests.providers.cloud_harness import CloudHarness
from tests.providers.conformance import Harness, ProviderConformance


class TestAzure(ProviderConformance):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> Harness:
        return harness
