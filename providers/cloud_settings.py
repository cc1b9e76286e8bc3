"""What the settings of every cloud connection are checked for: known keys, right types, no secrets, no plain http."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from providers.errors import RejectedError, UnauthorizedError
from providers.ports import Connection
from providers.redaction import hide

REHEARSAL_KEY = "rehearsal-key"
REHEARSAL_ACCESS_KEY = "AKIAREHEARSAL0000000"
# MLClient refuses a token that is not shaped as a JWT; this one holds oid, tid and upn, and no signature.
REHEARSAL_TOKEN = (
    "eyJhbGciOiJub25lIn0."  # noqa: S105 - opens nothing but the emulator
    "eyJvaWQiOiJyZWhlYXJzYWwiLCJ0aWQiOiJyZWhlYXJzYWwiLCJ1cG4iOiJyZWhlYXJzYWwifQ.none"
)
"""What stands for a credential where `rehearsal = true`: the emulators take it, and no account does."""
REHEARSAL_POLL_S = 1.0
SECRET_KEYS = frozenset(
    {"api_key", "token", "secret", "password", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)


class SettingsReader:
    """Reads a connection's table key by key and collects the faults; `finish` raises them all at once."""

    def __init__(self, connection: Connection, keys: Collection[str]) -> None:
        self._name = connection.name
        self._given: Mapping[str, object] = connection.settings
        self._faults: list[str] = []
        secrets = sorted(set(self._given) & SECRET_KEYS)
        self._faults += [f"{key} is a secret written as a value; name a variable with {key}_env" for key in secrets]
        unknown = sorted(set(self._given) - set(keys) - SECRET_KEYS)
        if unknown:
            self._faults.append(f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(keys))})")

    def text(self, key: str) -> str | None:
        value = self._given.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        self._faults.append(f"{key} is {value!r}, not a text")
        return None

    def needed(self, key: str) -> str:
        if self._given.get(key) is None:
            self._faults.append(f"{key} is missing")
            return ""
        return self.text(key) or ""

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        value = self.text(key) or default
        if value not in choices:
            self._faults.append(f"{key} is {value!r}, not one of {', '.join(sorted(choices))}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._given.get(key, default)
        if not isinstance(value, bool):
            self._faults.append(f"{key} is {value!r}, not true or false")
        return value is True

    def count(self, key: str, default: int) -> int:
        value = self._given.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._faults.append(f"{key} is {value!r}, not a whole number from 1")
            return default
        return value

    def url(self, key: str) -> str | None:
        """Without a slash at its end. Plain http is for loopback only."""
        value = self.text(key)
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            self._faults.append(f"{key} is {value!r}, not an address that begins with https://")
        elif parts.scheme == "http" and not _is_loopback(parts.hostname):
            self._faults.append(f"{key} is {value!r}: plain http is accepted for loopback only")
        return value.rstrip("/")

    def rehearsal(self, urls: Mapping[str, str | None]) -> bool:
        """Whether this is a connection to `tenure rehearse`; then all its addresses, by key, are on loopback."""
        wanted = self.flag("rehearsal", default=False)
        if wanted:
            elsewhere = sorted(key for key, url in urls.items() if url is None or not url.startswith("http://"))
            self._faults += [f"rehearsal = true, and {key} is not an address of `tenure rehearse`" for key in elsewhere]
        return wanted

    def fault(self, text: str) -> None:
        self._faults.append(text)

    def finish(self) -> None:
        """Raises RejectedError that names every fault."""
        if self._faults:
            raise RejectedError(f"connection {self._name}: {'; '.join(self._faults)}", operation="connect")


def secret(variable: str, *, operation: str) -> str:
    """A credential from its variable. Raises UnauthorizedError that names the variable."""
    value = os.environ.get(variable)
    if not value:
        raise UnauthorizedError(
            f"the environment variable {variable} is not set", operation=operation, code="missing-credential"
        )
    return hide(value)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
