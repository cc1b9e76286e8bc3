"""Files that were sent here, named by an id until a version uses them."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

from anyio import to_thread

from registry.domain.errors import BadInputError, NotFoundError, UnavailableError
from registry.transport.room import within_room

KEPT_S = 7 * 24 * 3600.0
"""How long an upload waits to be used, in seconds. A version that is begun has a copy of its own."""
_ID = re.compile(r"ds_[0-9a-f]{24}")


class Uploads:
    """`<home>/uploads/<id>/<name>`; the id is of the bytes and the name, so that sending again changes nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "uploads"

    def path(self, id: str, field: str) -> Path:
        """Raises NotFoundError for what was never sent, or so long ago that it was let go."""
        named = _ID.fullmatch(id) is not None
        found = [one for one in (self.folder / id).glob("*") if one.is_file()] if named else []
        if not found:
            raise NotFoundError(f"{field}: there is no data set {id}", hint="send it to POST /api/v1/datasets")
        return found[0]

    async def receive(self, chunks: AsyncIterator[bytes], name: str) -> tuple[str, Path, int, str]:
        """(id, file, bytes, sha256). Raises BadInputError for nothing, UnavailableError where it cannot be kept."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self.folder / f"incoming-{time.time_ns()}"
            sha256 = hashlib.sha256()
            size = 0
            try:
                with temporary.open("xb") as file:
                    async for chunk in within_room(chunks, self.folder):
                        sha256.update(chunk)
                        size += len(chunk)
                        await to_thread.run_sync(file.write, chunk)
                if size == 0:
                    raise BadInputError("the file is empty", field="file")
                digest = sha256.hexdigest()
                upload = f"ds_{hashlib.sha256(f'{digest} {name}'.encode()).hexdigest()[:24]}"
                target = self.folder / upload / name
                target.parent.mkdir(mode=0o700, exist_ok=True)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(
                f"the file cannot be kept: {error.strerror}", hint="make room on its disk"
            ) from error
        return upload, target, size, digest

    def forget_old(self) -> None:
        """What nobody used for a week."""
        limit = time.time() - KEPT_S
        for one in self.folder.glob("ds_*"):
            if max((file.stat().st_mtime for file in one.iterdir()), default=0.0) < limit:
                shutil.rmtree(one, ignore_errors=True)
