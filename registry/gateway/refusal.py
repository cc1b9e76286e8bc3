"""What a caller is told instead of an answer, in the shape that OpenAI's clients read."""

from __future__ import annotations

import json
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

_TYPES = {
    403: "permission_error",
    429: "rate_limit_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}


class RefusalError(Exception):
    """`retry_after_s`: when to come back, where that is known. `again`: whether it makes sense to ask again at all.
    `closing`: the connection ends with this. `more`: further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        again: bool = True,
        closing: bool = False,
        more: Headers = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.again = again
        self.closing = closing
        self.more = more

    def body(self) -> bytes:
        kind = _TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()

    def headers(self) -> Headers:
        """`x-should-retry`: OpenAI's clients would otherwise ask again after each 409."""
        found = [(b"content-type", b"application/json")]
        if self.retry_after_s is not None:
            found.append(retry_after(self.retry_after_s))
        if not self.again:
            found.append((b"x-should-retry", b"false"))
        if self.closing:
            found.append((b"connection", b"close"))
        return [*found, *self.more]


def retry_after(wait_s: float) -> tuple[bytes, bytes]:
    return b"retry-after", str(max(1, round(wait_s))).encode()


class UpstreamError(RefusalError):
    """What serves the version failed before the first byte of an answer.

    `elsewhere`: another replica may be asked instead. `lost`: the connection broke, which may have been nothing but its
    age; the same replica may be asked once more.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        elsewhere: bool = True,
        lost: bool = False,
    ) -> None:
        super().__init__(status, code, message, retry_after_s=retry_after_s)
        self.elsewhere = elsewhere
        self.lost = lost


class BrokenOffError(Exception):
    """What serves the version broke off in the middle of its answer, which cannot be taken back."""


class UnreadError(Exception):
    """A caller does not take its answer. What is left of it goes nowhere."""
