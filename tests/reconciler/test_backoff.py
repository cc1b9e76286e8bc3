"""When to try again."""

from __future__ import annotations

from datetime import timedelta

from registry.reconciler.backoff import BASE_S, CAP_S, Backoff
from tests.clock import EPOCH


def test_a_failure_and_a_pace_both_hold_and_a_pass_asked_for_now_keeps_to_the_failure_alone() -> None:
    backoff = Backoff(lambda: 1.0)
    backoff.later("bot@1", "poll", EPOCH + timedelta(seconds=15))
    assert backoff.wait_until("bot@1", "poll", looks=False) is None
    backoff.failed("bot@1", "poll", EPOCH)
    assert backoff.wait_until("bot@1", "poll", looks=True) == EPOCH + timedelta(seconds=15)
    assert backoff.wait_until("bot@1", "poll", looks=False) == EPOCH + timedelta(seconds=BASE_S)
    backoff.failed("bot@1", "poll", EPOCH, retry_after_s=60)
    assert backoff.wait_until("bot@1", "poll", looks=True) == EPOCH + timedelta(seconds=60)
    backoff.succeeded("bot@1", "poll")
    assert backoff.wait_until("bot@1", "poll", looks=True) is None


def test_waits_double_up_to_a_limit_and_a_providers_word_goes_before_it() -> None:
    backoff = Backoff(lambda: 1.0)
    waits: list[float] = []
    for _ in range(12):
        backoff.failed("bot@1", "create", EPOCH)
        until = backoff.wait_until("bot@1", "create", looks=False)
        assert until is not None
        waits.append((until - EPOCH).total_seconds())
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == CAP_S
    backoff.failed("bot@1", "create", EPOCH, retry_after_s=2 * CAP_S)
    assert backoff.wait_until("bot@1", "create", looks=False) == EPOCH + timedelta(seconds=2 * CAP_S)
