"""What can go wrong at a provider, as values, and when: scripted by a test or drawn from a seed.

The kinds are the ones that a registry of paid things must survive; each acts on one call to one operation. Operations
are named `<service>.<call>`, as `openai.create_job`, `arm.put_deployment`, `bedrock.list_custom_models`; patterns are
`fnmatch`'s. A drawn schedule depends on the seed, the operation and its count alone, never on which thread came first.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

FaultKind = Literal[
    "throttled", "server-error", "echo", "unauthorized", "forbidden", "quota",
    "timeout", "reset", "reset-in-body", "duplicate", "slow",
    "stale", "cut-short", "unknown-status", "backwards",
    "delete-ignored", "delete-reappears", "vanishes", "doomed", "clock-jump",
]  # fmt: skip
RetryAfter = Literal["seconds", "date", "absent"]
Effect = Literal["read", "list", "create", "delete", "change"]
"""What an operation does; faults fit some effects and not others."""

_FITS: dict[FaultKind, frozenset[Effect]] = {
    "stale": frozenset({"list"}),
    "cut-short": frozenset({"list"}),
    "unknown-status": frozenset({"list", "read"}),
    "backwards": frozenset({"read"}),
    "duplicate": frozenset({"create", "delete", "change"}),
    "doomed": frozenset({"create"}),
    "quota": frozenset({"create"}),
    "vanishes": frozenset({"create", "read"}),
    "delete-ignored": frozenset({"delete"}),
    "delete-reappears": frozenset({"delete"}),
}
_EVERY: frozenset[Effect] = frozenset({"read", "list", "create", "delete", "change"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`after_effect`: the call did what it was asked to, and only the answer is lost. `seconds`: see each maker."""

    kind: FaultKind
    status: int = 0
    seconds: float = 0.0
    after_effect: bool = False
    retry_after: RetryAfter = "absent"
    text: str = ""

    def fits(self, effect: Effect) -> bool:
        return effect in _FITS.get(self.kind, _EVERY)


def throttled(retry_after: RetryAfter = "seconds", *, seconds: float = 1.0) -> Fault:
    """429; the wait is told in seconds, as an HTTP date, or not at all."""
    return Fault(kind="throttled", status=429, retry_after=retry_after, seconds=seconds)


def server_error(status: int = 500, *, after_effect: bool = False) -> Fault:
    return Fault(kind="server-error", status=status, after_effect=after_effect)


def echo(status: int = 400) -> Fault:
    """Refused in words that quote what was sent: the credential and the body."""
    return Fault(kind="echo", status=status)


def timeout(*, after_effect: bool, hold_s: float = 30.0) -> Fault:
    """No answer until the caller gives up, or `hold_s` real seconds have passed and the connection is dropped."""
    return Fault(kind="timeout", after_effect=after_effect, seconds=hold_s)


def reset(*, after_effect: bool) -> Fault:
    """The connection is reset before a byte of the answer."""
    return Fault(kind="reset", after_effect=after_effect)


def reset_in_body() -> Fault:
    """The effect happens; the headers and half of the body arrive, then a reset."""
    return Fault(kind="reset-in-body", after_effect=True)


def duplicate() -> Fault:
    """The request is delivered twice, as by a proxy that retried it; the second answer is the one that arrives."""
    return Fault(kind="duplicate")


def slow(seconds: float) -> Fault:
    """The answer takes so many real seconds."""
    return Fault(kind="slow", seconds=seconds)


def stale(seconds: float = 60.0) -> Fault:
    """The list is what it would have been so many (virtual) seconds ago."""
    return Fault(kind="stale", seconds=seconds)


def backwards(seconds: float = 60.0) -> Fault:
    """One thing is shown as it was so many (virtual) seconds ago, after newer answers: statuses out of order."""
    return Fault(kind="backwards", seconds=seconds)


def cut_short() -> Fault:
    """Half of the list, and no sign that there is more."""
    return Fault(kind="cut-short")


def unknown_status(word: str = "a-status-of-tomorrow") -> Fault:
    return Fault(kind="unknown-status", text=word)


def unauthorized() -> Fault:
    return Fault(kind="unauthorized", status=401)


def forbidden() -> Fault:
    return Fault(kind="forbidden", status=403)


def quota() -> Fault:
    return Fault(kind="quota")


def delete_ignored() -> Fault:
    """The delete is answered as a success and does nothing."""
    return Fault(kind="delete-ignored")


def delete_reappears(seconds: float = 60.0) -> Fault:
    """The delete takes effect, and so many (virtual) seconds after that the thing is back, and billed."""
    return Fault(kind="delete-reappears", seconds=seconds)


def vanishes() -> Fault:
    """What this call made or looked at is deleted right after its answer, by somebody else."""
    return Fault(kind="vanishes")


def doomed(message: str = "The rehearsal was told to fail this one.") -> Fault:
    """What this call creates is accepted, and fails later (and stays billed, where a failed one is)."""
    return Fault(kind="doomed", text=message)


def clock_jump(seconds: float = 3600.0) -> Fault:
    """From this call on, the dates in the answers are wrong by so much more."""
    return Fault(kind="clock-jump", seconds=seconds)


COMMON: tuple[Fault, ...] = (
    throttled("seconds"), throttled("date"), throttled("absent"),
    server_error(500), server_error(502), server_error(503), server_error(500, after_effect=True),
    timeout(after_effect=False), timeout(after_effect=True), reset(after_effect=False), reset(after_effect=True),
    reset_in_body(), duplicate(), stale(), cut_short(), unknown_status(), backwards(), unauthorized(), forbidden(),
    quota(), delete_ignored(), delete_reappears(), doomed(), vanishes(), slow(0.05),
    clock_jump(3600), clock_jump(-3600),
)  # fmt: skip
"""Every fault once, for schedules that leave nothing out."""


@dataclass(slots=True, kw_only=True)
class _Order:
    pattern: str
    fault: Fault
    left: int | None
    skip: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    seed: int
    rate: float
    among: tuple[Fault, ...]
    pattern: str


class Faults:
    """Which fault the next call meets. Orders come first, in the order they were given; then the schedule."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order] = []
        self._schedule: _Schedule | None = None
        self._seen: Counter[str] = Counter()
        self.struck: list[tuple[str, Fault]] = []
        """What happened, in order: operation and fault."""

    def inject(self, pattern: str, fault: Fault, *, times: int | None = 1, after: int = 0) -> None:
        """On the calls that match, `after` so many of them, `times` times (None: until `clear`)."""
        with self._lock:
            self._orders.append(_Order(pattern=pattern, fault=fault, left=times, skip=after))

    def schedule(self, *, seed: int, rate: float, among: Sequence[Fault] = COMMON, pattern: str = "*") -> None:
        """From now on each matching call meets, with probability `rate`, one of the faults that fit it."""
        with self._lock:
            self._schedule = _Schedule(seed=seed, rate=rate, among=tuple(among), pattern=pattern)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._orders.clear()
            self._schedule = None

    def draw(self, operation: str, effect: Effect) -> Fault | None:
        with self._lock:
            self._seen[operation] += 1
            fault = self._ordered(operation, effect) or self._drawn(operation, effect)
            if fault is not None:
                self.struck.append((operation, fault))
            return fault

    def _ordered(self, operation: str, effect: Effect) -> Fault | None:
        for order in self._orders:
            if not fnmatchcase(operation, order.pattern) or not order.fault.fits(effect):
                continue
            if order.skip > 0:
                order.skip -= 1
                continue
            if order.left is not None:
                order.left -= 1
                if order.left <= 0:
                    self._orders.remove(order)
            return order.fault
        return None

    def _drawn(self, operation: str, effect: Effect) -> Fault | None:
        plan = self._schedule
        if plan is None or not fnmatchcase(operation, plan.pattern):
            return None
        digest = hashlib.sha256(f"{plan.seed}/{operation}/{self._seen[operation]}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= plan.rate * 2**64:
            return None
        fitting = [fault for fault in plan.among if fault.fits(effect)]
        return fitting[int.from_bytes(digest[8:16], "big") % len(fitting)] if fitting else None
