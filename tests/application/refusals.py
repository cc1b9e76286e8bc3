"""A refusal writes nothing: what every refused command is held to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.domain.errors import TenureError
from tests.stage import Stage


def refused(stage: Stage, command: Callable[[], object], kind: type[TenureError], match: str) -> None:
    """It is refused with this error, and not one event is written."""
    head = stage.log.head()
    with pytest.raises(kind, match=match):
        command()
    assert stage.log.head() == head
