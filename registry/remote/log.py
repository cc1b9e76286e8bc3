"""`tenure log …` on a log that a server owns."""

from __future__ import annotations

import json
from pathlib import Path

from registry.domain.errors import RefusedError
from registry.remote.http import Http


class RemoteLog:
    def __init__(self, http: Http) -> None:
        self._http = http

    def verify(self) -> int:
        return self._http.post("/log/verify", None)["events"]

    def rebuild(self) -> int:
        return self._http.post("/log/rebuild", None)["events"]

    def export(self, target: Path) -> int:
        """One event per line, as the server tells them."""
        count = 0
        with target.open("x", encoding="utf-8") as file:
            for event in self._http.pages("/events"):
                file.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n")
                count += 1
        return count

    def import_(self, source: Path) -> int:
        raise self._elsewhere(f"import {source}")

    def backup(self, target: Path) -> int:
        raise self._elsewhere(f"back up to {target}")

    def _elsewhere(self, what: str) -> RefusedError:
        return RefusedError(
            f"cannot {what}: the server at {self._http.url} has the home",
            hint="stop it, and say it again with TENURE_HOME and without TENURE_URL",
        )
