from __future__ import annotations

import pytest

from tests.providers.cloud_faults import CloudFaults
from tests.providers.cloud_harness import CloudHarness


class TestProvisionedFaults(CloudFaults):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        return harness


class TestOnDemandFaults(CloudFaults):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        harness.set(serving="on-demand")
        return harness
