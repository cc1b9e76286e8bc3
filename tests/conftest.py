"""What holds for all tests."""

from __future__ import annotations

import signal

import pytest

# A shell without job control starts what goes to the background with Ctrl-C ignored, and children inherit that: those
# that a test interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is begun first, or one process would still be busy with it when the others have nothing left."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
