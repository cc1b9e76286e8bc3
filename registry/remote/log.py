"""`tenure log …` on a log that a server owns: files are made there, and written here."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

from registry.domain.errors import BadInputError, RefusedError
from registry.remote.http import Http

EVENTS = "Tenure-Events"
"""The header that says how many events a file holds."""


class RemoteLog:
    def __init__(self, http: Http) -> None:
        self._http = http

    def verify(self) -> int:
        return self._http.post("/log/verify", None)["events"]

    def rebuild(self) -> int:
        return self._http.post("/log/rebuild", None)["events"]

    def export(self, target: Path) -> int:
        """One event per line, every byte as it is in the log. A file that is there is replaced when all have come."""
        try:
            with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".tenure-") as folder:
                copy = Path(folder) / "events.jsonl"
                headers = self._http.save("/log/export", copy)
                copy.replace(target)
                return int(headers[EVENTS])
        except OSError as error:
            raise _unwritable(target, error) from error

    def backup(self, target: Path) -> int:
        """A folder that opens as a home. Raises BadInputError when it exists and holds something."""
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise BadInputError(f"{target} exists and is not an empty folder", field="target")
            with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".tenure-") as folder:
                home, copy = Path(folder) / "home", Path(folder) / "home.tar"
                headers = self._http.save("/log/backup", copy)
                with tarfile.open(copy) as archive:
                    archive.extractall(home, filter="data")
                home.chmod(0o700)
                os.sync()
                home.replace(target)
                return int(headers[EVENTS])
        except OSError as error:
            raise _unwritable(target, error) from error

    def import_(self, source: Path) -> int:
        raise RefusedError(
            f"cannot import {source}: a log is read into a home that is empty, and the server at {self._http.url} has"
            " one that is in use",
            hint="name a new folder with TENURE_HOME, without TENURE_URL, and serve that one then",
        )


def _unwritable(target: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{target} cannot be written: {error.strerror or error}", field="target")
