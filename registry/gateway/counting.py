"""What was handed through, counted in memory: for Prometheus at once, for the log's files every few seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from registry.application.ports import Usage
from registry.domain.ids import VersionRef
from registry.gateway.table import Replica

TAIL_BYTES = 8_192
"""Of an answer's end, where OpenAI's format counts the tokens."""
KEPT_MAX = 100_000
"""Rows that wait for a disk that is full."""
_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,15})')
_COMPLETION = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,15})')
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
_FAILED = 400

Tokens = tuple[int, int]
"""Of the prompt and of the completion."""


class Tail:
    """The end of an answer that passes by."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, chunk: bytes) -> None:
        self._bytes = (self._bytes + chunk)[-TAIL_BYTES:]

    def ends_an_event(self) -> bool:
        """Whether a server-sent event could follow."""
        return self._bytes.endswith((b"\n\n", b"\r\n\r\n"))

    def tokens(self) -> Tokens | None:
        """As the answer counts them. A quotation mark inside a text is escaped, so only real keys are found."""
        at = self._bytes.rfind(b'"usage"')
        while at >= 0:
            prompt, completion = _PROMPT.search(self._bytes, at), _COMPLETION.search(self._bytes, at)
            if prompt is not None:
                return int(prompt[1]), int(completion[1]) if completion is not None else 0
            at = self._bytes.rfind(b'"usage"', 0, at)
        return None


@dataclass(slots=True)
class _Sum:
    replica: Replica
    requests: int = 0
    errors: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_s: float = 0.0
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meters:
    """Of one version, found once: finding them costs more than counting."""

    seconds: Histogram
    first: Histogram
    prompt: Counter
    completion: Counter


class Counts:
    """Used on the event loop only."""

    def __init__(self, clock: Callable[[], datetime], prometheus: CollectorRegistry) -> None:
        self._clock = clock
        self._sums: dict[str, _Sum] = {}
        self._kept: list[Usage] = []
        self._meters: dict[VersionRef, _Meters] = {}
        self._requests = Counter(
            "tenure_gateway_requests", "Chats by version and status", ["version", "status"], registry=prometheus
        )
        self._refusals = Counter(
            "tenure_gateway_refusals", "Chats that reached no deployment, by why", ["code"], registry=prometheus
        )
        self._tokens = Counter(
            "tenure_gateway_tokens",
            "Tokens by version, as answers count them",
            ["version", "kind"],
            registry=prometheus,
        )
        self._seconds = Histogram(
            "tenure_gateway_seconds", "From a chat's last byte in to its last byte out", ["version"],
            buckets=_BUCKETS, registry=prometheus,
        )  # fmt: skip
        self._first = Histogram(
            "tenure_gateway_first_byte_seconds", "From a chat's last byte in to its first byte out", ["version"],
            buckets=_BUCKETS, registry=prometheus,
        )  # fmt: skip

    def count(
        self, replica: Replica, *, status: int, tokens: Tokens | None, first_s: float | None, whole_s: float
    ) -> None:
        """One request that is over. `first_s` None: nothing of an answer was handed through."""
        meters = self._meters.get(replica.ref) or self._metered(replica.ref)
        one = self._sums.get(replica.id)
        if one is None:
            one = self._sums[replica.id] = _Sum(replica)
        one.requests += 1
        one.duration_s += whole_s
        one.last_used_at = self._clock()
        if status >= _FAILED:
            one.errors += 1
        elif tokens is None:
            one.unmetered += 1
        self._requests.labels(str(replica.ref), str(status)).inc()
        meters.seconds.observe(whole_s)
        if first_s is not None:
            meters.first.observe(first_s)
        if tokens is not None:
            one.prompt_tokens += tokens[0]
            one.completion_tokens += tokens[1]
            meters.prompt.inc(tokens[0])
            meters.completion.inc(tokens[1])

    def _metered(self, ref: VersionRef) -> _Meters:
        version = str(ref)
        meters = self._meters[ref] = _Meters(
            seconds=self._seconds.labels(version),
            first=self._first.labels(version),
            prompt=self._tokens.labels(version, "prompt"),
            completion=self._tokens.labels(version, "completion"),
        )
        return meters

    def refused(self, code: str) -> None:
        """One request that reached no deployment."""
        self._refusals.labels(code).inc()

    def take(self) -> Sequence[Usage]:
        """What came together since it was taken last."""
        sums, self._sums = self._sums, {}
        kept, self._kept = self._kept, []
        return [*kept, *(_usage(one) for one in sums.values())]

    def give_back(self, usage: Sequence[Usage]) -> None:
        """It could not be recorded; it is taken again with what comes. The oldest go when it lasts for days."""
        self._kept = [*usage][-KEPT_MAX:]


def _usage(one: _Sum) -> Usage:
    assert one.last_used_at is not None
    return Usage(
        model=one.replica.ref.model,
        version=one.replica.ref.number,
        deployment=one.replica.deployment,
        hour=one.last_used_at.replace(minute=0, second=0, microsecond=0),
        requests=one.requests,
        errors=one.errors,
        unmetered=one.unmetered,
        prompt_tokens=one.prompt_tokens,
        completion_tokens=one.completion_tokens,
        duration_s=one.duration_s,
        last_used_at=one.last_used_at,
    )
