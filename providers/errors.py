"""The three kinds of answer a provider can give besides success. Each adapter translates into them in one place.

*Rejected* is definitive and ends the attempt. *Unavailable* means that nothing happened: later. *Unknown* means that it
may have happened: look it up by name, tag or token before anything is tried again.
"""

from __future__ import annotations


class ProviderError(Exception):
    """`code`, `request_id`: the provider's own, when it gave them. `operation`: what was asked, as `create-job`."""

    def __init__(self, message: str, *, operation: str, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.code = code
        self.request_id = request_id


class RejectedError(ProviderError):
    """Validation, quota, permission, not found, a state that forbids it: asking again gives the same answer."""


class UnauthorizedError(RejectedError):
    """The credential is missing, expired or lacks the permission: stops this connection's polling until it recovers."""


class UnavailableError(ProviderError):
    """429 or no connection: nothing happened. `retry_after_s` is what the provider asked for, in seconds."""

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        retry_after_s: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, operation=operation, code=code, request_id=request_id)
        self.retry_after_s = retry_after_s


class OutcomeUnknownError(ProviderError):
    """Time-out, 5xx or reset: it may have happened. `token` is how to find out."""

    def __init__(self, message: str, *, operation: str, token: str | None = None, code: str | None = None) -> None:
        super().__init__(message, operation=operation, code=code)
        self.token = token


class ChatError(ProviderError):
    """A serving endpoint refused a chat. `status` is HTTP's, `body` the provider's own answer, to be handed through.

    `retry_after_s` is what it asked for, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: object = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, operation="chat", code=code)
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
