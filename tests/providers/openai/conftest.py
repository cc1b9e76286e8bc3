from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.openai import connect
from providers.rehearsal import Rehearsal
from tests.providers.cloud_harness import AT_ONCE, NOON, CloudHarness


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudHarness]:
    with Rehearsal(start=NOON, speed=0.0, pace=AT_ONCE) as rehearsal:
        for name, value in rehearsal.environment().items():
            monkeypatch.setenv(name, value)
        stage = CloudHarness(
            rehearsal,
            connect,
            name="rehearsal-openai",
            base_model="gpt-4.1-mini-2025-04-14",
            creates="openai.create_job",
            folder=tmp_path,
        )
        yield stage
        stage.close()
