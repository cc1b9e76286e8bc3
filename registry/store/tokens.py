"""Tokens in `<home>/tokens.json`, so that they can be made and revoked while a server runs, and before it ever ran.

Whoever can write the home may: the folder is its owner's alone. Changes take a lock of their own and replace the file
whole; a server reads it again when it has changed. When a token was last used is kept beside it, by the server alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from registry.application.access import Grant, Token
from registry.application.views import iso
from registry.domain.errors import NotFoundError, UnavailableError

FILE = "tokens.json"
USED_FILE = "tokens-used.json"
LOCK = "tokens.lock"


class TokenFile:
    """All tokens of a home. Safe to use from several threads and processes."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / FILE
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._tokens: dict[str, Token] = {}
        self._used: dict[str, datetime] = {}

    def all(self) -> list[Token]:
        """Oldest first, with when each was last used."""
        with self._lock:
            self._refresh()
            used = {**_read_used(self._home / USED_FILE), **self._used}
            return [replace(one, last_used_at=used.get(one.id)) for one in self._tokens.values()]

    def find(self, id: str) -> Token | None:
        with self._lock:
            self._refresh()
            return self._tokens.get(id)

    def add(self, token: Token) -> None:
        with self._changing() as tokens:
            tokens[token.id] = token

    def revoke(self, id: str, now: datetime) -> Token:
        """May be repeated. Raises NotFoundError."""
        with self._changing() as tokens:
            token = tokens.get(id)
            if token is None:
                raise NotFoundError(f"there is no token {id!r}", hint="`tenure tokens list` shows those that are")
            if token.revoked_at is None:
                token = tokens[id] = replace(token, revoked_at=now)
            return token

    def used(self, id: str, now: datetime) -> None:
        """In memory until `flush`."""
        self._used[id] = now

    def flush(self) -> None:
        """Keep when tokens were last used. The server's, now and then."""
        with self._lock:
            if not self._used:
                return
            used = {**_read_used(self._home / USED_FILE), **self._used}
            _replace(self._home / USED_FILE, {one: iso(time) for one, time in used.items() if one in self._tokens})
            self._used.clear()

    @contextlib.contextmanager
    def _changing(self) -> Generator[dict[str, Token]]:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock, (self._home / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh()
            tokens = dict(self._tokens)
            yield tokens
            _replace(self._path, {"tokens": [_written(one) for one in tokens.values()]})
            self._refresh()

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._stamp:
            return
        try:
            document = json.loads(self._path.read_text("utf-8"))
            self._tokens = {one["id"]: _read(one) for one in document["tokens"]}
        except (ValueError, KeyError, TypeError) as error:
            hint = f"restore {self._path} from a backup, or move it away and make new tokens"
            raise UnavailableError(f"{FILE} cannot be read: {type(error).__name__}", hint=hint) from error
        self._stamp = stamp


def _written(token: Token) -> dict[str, object]:
    return {**token.as_json(), "digest": token.digest}


def _read(found: dict[str, Any]) -> Token:
    def time(name: str) -> datetime | None:
        return datetime.fromisoformat(found[name]) if found.get(name) else None

    created_at = time("created_at")
    assert created_at is not None
    return Token(
        id=found["id"],
        actor=found["actor"],
        grants=frozenset(Grant.parse(one) for one in found["roles"]),
        digest=found["digest"],
        created_at=created_at,
        created_by=found["created_by"],
        expires_at=time("expires_at"),
        revoked_at=time("revoked_at"),
        rate_max=found.get("rate_max"),
    )


def _read_used(path: Path) -> dict[str, datetime]:
    try:
        found = cast("dict[str, str]", json.loads(path.read_text("utf-8")))
        return {one: datetime.fromisoformat(time) for one, time in found.items()}
    except (OSError, ValueError):
        return {}


def _replace(path: Path, document: object) -> None:
    """Whole or not at all, and readable by the owner alone."""
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a mode from the first byte on
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
