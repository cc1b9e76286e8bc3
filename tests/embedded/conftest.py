from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.embedded import Tenure, working
from tests.stage import Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Accounts that may be looked at all the time, and waits that look all the time."""
    monkeypatch.setattr(working, "STEP_S", 0.001)
    return quick(Stage(tmp_path))


@pytest.fixture
def tenure(stage: Stage) -> Iterator[Tenure]:
    with stage.tenure() as tenure:
        yield tenure


def quick(stage: Stage) -> Stage:
    for name in ("cloud", "alone", "local"):
        cloud = stage.cloud(name)
        cloud.capabilities = replace(cloud.capabilities, poll_interval_s=0.0)
    return stage
