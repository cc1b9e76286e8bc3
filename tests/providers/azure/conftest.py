from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.azure import connect
from providers.rehearsal import Pace, Rehearsal
from tests.providers.cloud_harness import NOON, CloudHarness

SETTLED = Pace(file_s=0.0, accepted_s=0.0, creating_s=0.0)
"""Azure refuses to delete a deployment that is being created, which the conformance suite does to clean up."""


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudHarness]:
    with Rehearsal(start=NOON, speed=0.0, pace=SETTLED) as rehearsal:
        monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")  # azure-ai-ml leaves its cloud there
        for name, value in rehearsal.environment().items():
            monkeypatch.setenv(name, value)
        stage = CloudHarness(
            rehearsal,
            connect,
            name="rehearsal-azure",
            base_model="gpt-4.1-mini-2025-04-14",
            creates="azure.create_job",
            folder=tmp_path,
        )
        yield stage
        stage.close()
