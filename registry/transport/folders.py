"""A model's folder that is sent here, file by file and piece by piece."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from anyio import to_thread

from registry.domain.errors import BadInputError, RefusedError, UnavailableError
from registry.transport.room import within_room

FILES_MAX = 1_000
DEPTH_MAX = 5
NAME_MAX = 250
PART_BYTES_MAX = 255


async def receive(chunks: AsyncIterator[bytes], folder: Path, name: str, offset: int) -> int:
    """Write a file from `offset` on, replacing what stood there; answers how long it is then.

    Raises BadInputError for a name that leaves the folder or too many files, RefusedError for a piece that would leave
    a gap, UnavailableError where it cannot be kept.
    """
    target = folder / inside(name)
    try:
        file = await to_thread.run_sync(_opened, folder, target, offset)
        try:
            async for chunk in within_room(chunks, folder):
                await to_thread.run_sync(file.write, chunk)
            size = file.tell()
        finally:
            await to_thread.run_sync(file.close)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise BadInputError(f"{name!r} is a file and a folder at once", field="name") from error
    except OSError as error:
        raise UnavailableError(f"{name} cannot be kept: {error.strerror}", hint="make room on its disk") from error
    return size


def inside(name: str) -> PurePosixPath:
    """Raises BadInputError for what is no plain path below a folder."""
    path = PurePosixPath(name)
    plain = name.isprintable() and name != "." and "\\" not in name and str(path) == name and not path.is_absolute()
    fits = len(path.parts) in range(1, DEPTH_MAX + 1) and all(
        len(os.fsencode(one)) <= PART_BYTES_MAX for one in path.parts
    )
    if not plain or not fits or ".." in path.parts:
        raise BadInputError(f"{name!r} is not the name of a file in a model's folder", field="name")
    return path


def _opened(folder: Path, target: Path, offset: int) -> BinaryIO:
    if offset == 0 and not target.exists():
        if sum(1 for one in folder.rglob("*") if one.is_file()) >= FILES_MAX:
            raise BadInputError(f"a model has at most {FILES_MAX} files", field="name")
        target.parent.mkdir(parents=True, exist_ok=True)
    size = target.stat().st_size if target.is_file() else 0
    if offset > size:
        raise RefusedError(f"{target.name} has {size} bytes: the next piece begins there, not at {offset}")
    file = target.open("r+b" if target.exists() else "xb")
    file.seek(offset)
    file.truncate()
    return file
