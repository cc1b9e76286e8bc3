"""What the settings of every cloud connection are checked for: known keys, right types, no secrets, no plain http."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
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
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
COUNT_MAX = 1_000_000
"""Units of a deployment: more is a slip, and its price would not fit into any sum."""
PRIVATE_KEY = "private_addresses"
METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200"), ip_address("168.63.129.16")})
"""Where clouds answer their own machines with credentials, beside the link-local 169.254.169.254."""
METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
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
        known = {*keys, PRIVATE_KEY}
        unknown = sorted(set(self._given) - known - SECRET_KEYS)
        if unknown:
            self._faults.append(f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(known))})")
        self._private = self.flag(PRIVATE_KEY, default=False)

    def text(self, key: str) -> str | None:
        value = self._given.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        self._faults.append(f"{key} is {value!r}, not a text")
        return None

    def variable(self, key: str) -> str | None:
        """The name of an environment variable. What cannot be one may be a secret, and is not repeated."""
        name = self.text(key)
        if name is None or VARIABLE.fullmatch(name):
            return name
        self._faults.append(f"{key} names an environment variable, as in OPENAI_API_KEY; no secret may be written here")
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
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= COUNT_MAX:
            self._faults.append(f"{key} is {value!r}, not a whole number from 1 to {COUNT_MAX:,}")
            return default
        return value

    def url(self, key: str) -> str | None:
        """Without a slash at its end. Plain http is for loopback only, and a private address for who says so.

        An address that is written as a number is checked; what a name leads to is the network's business, where private
        endpoints of the clouds have public names.
        """
        value = self.text(key)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        address = _address(host)
        if parts.username is not None or parts.password is not None:
            self._faults.append(f"{key} has a credential in it; name a variable that holds it")
        elif parts.query or parts.fragment:
            self._faults.append(f"{key} has more behind its path (? or #) than an address; a credential has a variable")
        elif parts.scheme not in {"http", "https"} or not host:
            self._faults.append(f"{key} is {value!r}, not an address that begins with https://")
        elif parts.scheme == "http" and host != "localhost" and not (address and address.is_loopback):
            self._faults.append(f"{key} is {value!r}: plain http is accepted for loopback only")
        elif host.rstrip(".") in METADATA_NAMES:
            self._no_metadata(key, value)
        elif address is not None and not address.is_loopback:
            self._check_private(key, value, address)
        return value.rstrip("/")

    def _check_private(self, key: str, value: str, address: IPv4Address | IPv6Address) -> None:
        if address.is_link_local or address.is_unspecified or address.is_multicast or address in METADATA:
            self._no_metadata(key, value)
        elif not address.is_global and not self._private:
            self._faults.append(f"{key} is {value!r}, a private address: say {PRIVATE_KEY} = true if that is meant")

    def _no_metadata(self, key: str, value: str) -> None:
        self._faults.append(f"{key} is {value!r}: no provider answers there, but the machine's own metadata may")

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


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, also in the ways that only `inet_aton` reads (127.1, 0x7f000001)."""
    try:
        found = ip_address(host)
    except ValueError:
        try:
            found = IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
