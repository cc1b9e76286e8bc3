from __future__ import annotations

import pytest

from tests.providers.cloud_harness import CloudHarness
from tests.providers.conformance import Harness, ProviderConformance


class TestAzure(ProviderConformance):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> Harness:
        return harness

    def test_a_registry_that_starts_again_finds_its_job_by_name_and_by_token(self, harness: Harness) -> None:
        """By its name alone: Azure keeps no token with a job. The registry gives a job one word for both."""
        job = harness.connect().training.submit(harness.training_request("job-1", ends=False))
        training = harness.connect().training
        assert [one.id for one in training.find(name="job-1", token="another")] == [job.id]
        assert training.find(name="another", token="another") == []
