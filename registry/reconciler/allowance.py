"""How often a connection may be called: a token bucket for each kind of call, so that no fault becomes a storm.

Backoff spaces the retries of one thing; this bounds all things together, those too that fail without an error (a
provider that accepts what it then drops, over and over). What is to be deleted has an allowance of its own, which
nothing else can use up: it may be billed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from registry.domain.plan import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`burst` calls at once, and `per_s` more each second."""

    burst: float
    per_s: float


CREATE, DELETE, READ = "create", "delete", "read"
RATES: Mapping[str, Rate] = {
    # A sweep over hyperparameters asks for some hundred jobs at once; a loop of failing creates, for more and more.
    CREATE: Rate(burst=300, per_s=1),
    DELETE: Rate(burst=500, per_s=10),
    # Reads are batched, one call for many; the providers allow tens in a second (Bedrock, Azure's resource manager).
    READ: Rate(burst=1_000, per_s=20),
}
KINDS: Mapping[Action, str] = {
    Action.SUBMIT: CREATE,
    Action.CREATE: CREATE,
    Action.DELETE: DELETE,
    Action.VERIFY_DELETED: DELETE,
    Action.STOP_JOB: DELETE,
    Action.STOP_ORPHAN_JOB: DELETE,
    Action.DELETE_ARTIFACT: DELETE,
    Action.FIND_JOB: CREATE,
    Action.FIND_DEPLOYMENT: CREATE,
    Action.POLL_JOB: READ,
    Action.POLL_DEPLOYMENT: READ,
    Action.WATCH: READ,
    Action.SWEEP: READ,
    Action.ADOPT: READ,
    Action.READ_RETIREMENTS: READ,
}
"""A look-up creates again what it does not find. Actions that are not here call nobody."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: datetime


class Allowance:
    """Memory that may be lost: a registry that is started again begins with full buckets."""

    def __init__(self, rates: Mapping[str, Rate] = RATES) -> None:
        self._rates = rates
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def wait_until(self, connection: str, action: Action, now: datetime) -> datetime | None:
        """When the next call of this kind is allowed; None: now."""
        kind = KINDS.get(action)
        if kind is None:
            return None
        with self._lock:
            bucket = self._buckets.get((connection, kind))
            if bucket is None or bucket.tokens >= 1:
                return None
            missing = 1 - self._filled(connection, kind, now).tokens
        return now + timedelta(seconds=missing / self._rates[kind].per_s) if missing > 0 else None

    def used(self, connection: str, action: Action, now: datetime) -> None:
        """A call was made, whatever came of it."""
        kind = KINDS.get(action)
        if kind is not None:
            with self._lock:
                self._filled(connection, kind, now).tokens -= 1

    def _filled(self, connection: str, kind: str, now: datetime) -> _Bucket:
        rate = self._rates[kind]
        bucket = self._buckets.get((connection, kind))
        if bucket is None:
            bucket = self._buckets[connection, kind] = _Bucket(rate.burst, now)
        passed = max((now - bucket.at).total_seconds(), 0.0)
        bucket.tokens = min(rate.burst, bucket.tokens + passed * rate.per_s)
        bucket.at = now
        return bucket
