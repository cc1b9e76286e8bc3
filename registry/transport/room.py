"""Nobody fills the disk from elsewhere: what is sent ends where the log would soon have no room."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from registry.application.limits import FREE_BYTES_MIN
from registry.domain.errors import UnavailableError

LOOK_BYTES = 16 << 20
"""So many bytes between two looks at the disk."""


async def within_room(chunks: AsyncIterator[bytes], folder: Path) -> AsyncIterator[bytes]:
    """The same chunks. Raises UnavailableError when less than FREE_BYTES_MIN is free where the folder lies."""
    unseen = LOOK_BYTES
    async for chunk in chunks:
        unseen += len(chunk)
        if unseen >= LOOK_BYTES:
            unseen = 0
            free = shutil.disk_usage(folder).free
            if free < FREE_BYTES_MIN:
                message = f"{free >> 20} MiB are free: nothing is taken below {FREE_BYTES_MIN >> 20} MiB"
                raise UnavailableError(message, hint="make room on the server's disk")
        yield chunk
