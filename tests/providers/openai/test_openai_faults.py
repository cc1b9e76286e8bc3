from __future__ import annotations

import pytest

from tests.providers.cloud_faults import CloudFaults
from tests.providers.cloud_harness import CloudHarness


class TestOpenAIFaults(CloudFaults):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        return harness
