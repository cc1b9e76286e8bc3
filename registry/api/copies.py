"""Copies of the log for whoever keeps them elsewhere: every event as a line, or a home of its own as an archive."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from registry.api.answers import documented
from registry.domain.errors import UnavailableError
from registry.transport.services import Services, check

EVENTS = "Tenure-Events"
CHUNK_BYTES = 1 << 20


class Copies:
    def __init__(self, services: Services) -> None:
        self._tools = services.registry.tools
        self._home = services.registry.home

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        lines = documented(200, {"type": "string"}, media="application/x-ndjson", description="One event a line")
        archive = documented(200, {"type": "string", "format": "binary"}, media="application/x-tar")
        add("/log/export", self.export, methods=["GET"], responses=lines, response_class=StreamingResponse)
        add("/log/backup", self.backup, methods=["GET"], responses=archive, response_class=StreamingResponse)

    def export(self, request: Request) -> StreamingResponse:
        """Every event as one line of JSON, as `tenure log import` reads it. `Tenure-Events` says how many."""
        check(request, "read")
        return self._sent("events.jsonl", self._tools.export, _bytes_of, "application/x-ndjson")

    def backup(self, request: Request) -> StreamingResponse:
        """A consistent copy of the log, made while it is in use: a tar archive of a folder that opens as a home."""
        check(request, "administer")
        return self._sent("home", self._tools.backup, archived, "application/x-tar")

    def _sent(
        self, name: str, make: Callable[[Path], int], told: Callable[[Path], Iterator[bytes]], media: str
    ) -> StreamingResponse:
        """Made on the home's own disk, because a log may be larger than where temporary files are kept."""
        try:
            room = tempfile.TemporaryDirectory(dir=self._home, prefix="copy-")
        except OSError as exc:
            raise UnavailableError(
                f"a copy is made in {self._home} before it is sent: {exc.strerror}",
                hint="make room on the server's disk, or stop the server and run `tenure log export` or `backup` there",
            ) from exc
        copy = Path(room.name) / name
        try:
            events = make(copy)
        except BaseException:
            room.cleanup()
            raise
        headers = {EVENTS: str(events), "Cache-Control": "no-store"}
        gone = BackgroundTask(room.cleanup)
        return StreamingResponse(_lent(room, told(copy)), media_type=media, headers=headers, background=gone)


def _lent(room: tempfile.TemporaryDirectory[str], content: Iterator[bytes]) -> Generator[bytes]:
    """The room goes also when nobody listens any more."""
    try:
        yield from content
    finally:
        room.cleanup()


def archived(folder: Path) -> Iterator[bytes]:
    """A tar archive of a folder, as it is read."""
    for path in sorted(folder.rglob("*")):
        entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
        entry.mode = 0o700 if path.is_dir() else 0o600
        entry.type = tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE
        entry.mtime = int(path.stat().st_mtime)
        entry.size = 0 if path.is_dir() else path.stat().st_size
        yield entry.tobuf()
        if entry.size:
            yield from _bytes_of(path)
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _bytes_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
