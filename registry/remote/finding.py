"""How a command finds the server that owns a home: `server.json`. A stale one is recognised and ignored."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

SERVER_FILE = "server.json"
"""In a home that a server owns: its url, its pid, and a secret for commands on this machine."""
ANSWER_S_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    url: str
    pid: int
    token: str


def find_server(home: Path) -> Found | None:
    """The server that owns a home and answers; None when there is none, or what is written there is stale."""
    try:
        document: dict[str, Any] = json.loads((home / SERVER_FILE).read_text("utf-8"))
        found = Found(url=str(document["url"]), pid=int(document["pid"]), token=str(document["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _is_running(found.pid) and _answers(found.url) else None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _answers(url: str) -> bool:
    """Whether something there says that it is alive: after a crash the pid may be somebody else's."""
    try:
        with build_opener(ProxyHandler({})).open(f"{url}/healthz", timeout=ANSWER_S_MAX) as response:
            return response.status == 200  # noqa: PLR2004
    except (OSError, ValueError):
        return False
