"""Bounds of what people write with a command, the same at every door: idempotency keys and reasons."""

from __future__ import annotations

import re

from registry.domain.errors import BadInputError

KEY_PATTERN = re.compile(r"[!-~]{1,200}")
REASON_CHARACTERS_MAX = 4_000


def check_key(key: str) -> str:
    """The idempotency key itself. Raises BadInputError for one that an HTTP header could not hold."""
    if KEY_PATTERN.fullmatch(key) is None:
        raise BadInputError(
            f"{key[:80]!r} is no idempotency key: write 1 to 200 visible ASCII characters, as in run-42",
            field="Idempotency-Key",
        )
    return key


def check_reason(reason: str) -> str:
    """The reason itself. Raises BadInputError for one that is longer than a page."""
    if len(reason) > REASON_CHARACTERS_MAX:
        message = f"the reason has {len(reason)} characters; it may have {REASON_CHARACTERS_MAX}"
        raise BadInputError(message, field="reason")
    return reason
