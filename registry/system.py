"""The real clock, the real source of ids and of randomness: the only place where they are asked for."""

from __future__ import annotations

import os
import random  # noqa: TID251 - the source that others are given
import threading
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the clock that others are given


def jitter() -> float:
    """Uniform in [0, 1)."""
    return random.random()  # noqa: S311 - spreads retries, protects nothing


RANDOM_DIGITS = 13
RANDOM_BYTES = 6_500


class TimeOrderedIds:
    """UUIDv7-like: 48 bits of milliseconds, then randomness, with a counter so that ids of one process increase."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = ""
        self._used = 0

    def __call__(self) -> str:
        """32 hex digits."""
        with self._lock:
            stamp = time.time_ns() // 1_000_000 << 20
            self._last = max(stamp, self._last + 1)
            if self._used + RANDOM_DIGITS > len(self._random):
                # Many at once: to ask the system lets go of the interpreter's lock, and the log's writer asks for each
                # event while all its clients wait for that lock.
                self._random, self._used = os.urandom(RANDOM_BYTES).hex(), 0
            random_hex = self._random[self._used : self._used + RANDOM_DIGITS]
            self._used += RANDOM_DIGITS
            head_hex = f"{self._last:017x}"
        return f"{head_hex[:12]}7{head_hex[12:15]}8{head_hex[15:]}{random_hex}"


def short_id() -> str:
    """Six letters and digits that name a registry at its providers."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return "".join(alphabet[byte % len(alphabet)] for byte in os.urandom(6))
