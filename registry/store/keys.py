"""Idempotency keys: the newest with their answers in memory, all others in the database, and a sieve in front of it.

Nearly every key is new. To learn that from the database costs 0.5 ms of processor time, and 8 among a million keys; the
sieve knows it from memory (docs/decisions/0086).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from registry.application.ports import Idempotency
from registry.store.database import Database

HELD_MAX = 4_096
"""Keys that are answered again from memory, 2 KB each; a repetition mostly comes within seconds."""
LOOK_UPS_MAX = 32
"""So many keys are looked up singly, then the sieve is filled with all there are: a million in about a second."""
FILL_SLICE = 256

BITS_PER_KEY = 16
PROBES = 4
KEYS_MIN = 1 << 16


class Sieve:
    """A Bloom filter: lets nothing pass that was added, and holds back one in 100 others at most.

    2 to 8 bytes a key. When it is full it goes on in another part, twice the size. One thread at a time.
    """

    def __init__(self, keys: int = 0) -> None:
        """Made for so many, and as many again."""
        self._parts: list[tuple[bytearray, int]] = []
        self._room = 0
        self._next = max(KEYS_MIN, 1 << (2 * keys - 1).bit_length())

    @property
    def size_bytes(self) -> int:
        return sum(len(bits) for bits, _ in self._parts)

    def add(self, key: str) -> None:
        if not self._room:
            bits = self._next * BITS_PER_KEY
            self._parts.append((bytearray(bits // 8), bits - 1))
            self._room, self._next = self._next, self._next * 2
        self._room -= 1
        bits, mask = self._parts[-1]
        place = hash(key)
        step = place >> 32 | 1
        for _ in range(PROBES):
            bits[(place & mask) >> 3] |= 1 << (place & 7)
            place += step

    def __contains__(self, key: str) -> bool:
        whole = hash(key)
        step = whole >> 32 | 1
        for bits, mask in reversed(self._parts):
            place = whole
            for _ in range(PROBES):
                if not bits[(place & mask) >> 3] & 1 << (place & 7):
                    break
                place += step
            else:
                return True
        return False


class Keys:
    """Whether a key was recorded, and its answer. Safe to use from many threads.

    A key leaves memory when the database has it, and enters the sieve no later than it can be asked for, so what was
    recorded is found at every moment.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[int, Idempotency]] = OrderedDict()
        """Each with its batch; in the order of their batches."""
        self._sieve = Sieve()
        self._filling = False
        self._filled = False
        self._looked_up = 0

    def find(self, key: str) -> Idempotency | None:
        """What was recorded with it. Fills the sieve, in the caller's time, when it has become worth it."""
        known, found = self._in_memory(key)
        if known:
            return found
        with self._lock:
            self._looked_up += 1
            fill = self._looked_up > LOOK_UPS_MAX and not self._filling and not self._filled
            self._filling = self._filling or fill
        if fill:
            self._fill()
        return self._stored(key)

    def taken(self, key: str) -> bool:
        """For the writer, after whose answer nothing is recorded but by itself. It never stops to fill the sieve."""
        known, found = self._in_memory(key)
        return (found if known else self._stored(key)) is not None

    def recorded(self, batch: int, keys: Iterable[Idempotency]) -> None:
        """Before anybody is told that the batch is durable."""
        with self._lock:
            for one in keys:
                self._held[one.key] = (batch, one)
                self._sieve.add(one.key)

    def applied_to(self, batch: int) -> None:
        """The database holds everything up to a batch."""
        with self._lock:
            while len(self._held) > HELD_MAX and next(iter(self._held.values()))[0] <= batch:
                self._held.popitem(last=False)

    def _in_memory(self, key: str) -> tuple[bool, Idempotency | None]:
        """(whether memory can tell, what was recorded)"""
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                return True, held[1]
            return self._filled and key not in self._sieve, None

    def _stored(self, key: str) -> Idempotency | None:
        rows = self._database.query("SELECT fingerprint, answer FROM idempotency WHERE key = ?", [key])
        return None if not rows else Idempotency(key=key, fingerprint=rows[0][0], answer=json.loads(rows[0][1]))

    def _fill(self) -> None:
        """With what the database holds. What is recorded meanwhile is added by `recorded`; others look keys up."""
        try:
            ((count,),) = self._database.query("SELECT count(*) FROM idempotency")
            with self._lock:
                self._sieve = Sieve(count)
                for key in self._held:
                    self._sieve.add(key)
            self._database.asked(self._take_all)
            with self._lock:
                self._filled = True
        finally:
            self._filling = False

    def _take_all(self, cursor: Any) -> None:  # noqa: ANN401 -- DuckDB's
        result = cursor.execute("SELECT key FROM idempotency")
        while rows := result.fetchmany(FILL_SLICE):
            with self._lock:
                for (key,) in rows:
                    self._sieve.add(key)
