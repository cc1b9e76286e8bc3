"""Why a command is refused: what is wrong, why, and what to do. Shells map these to exit codes and HTTP."""

from __future__ import annotations


class TenureError(Exception):
    """Base of everything that a user may be told. `exit_code` and `status` are the command line's and HTTP's."""

    exit_code = 1
    status = 500
    title = "Failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInputError(TenureError):
    """A value, file or key is wrong whatever the state. `field` names the culprit, `faults` lists several."""

    exit_code = 2
    status = 422
    title = "Bad input"

    def __init__(
        self, message: str, *, field: str | None = None, faults: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.field = field
        self.faults = faults


class NotFoundError(TenureError):
    exit_code = 4
    status = 404
    title = "Not found"


class RefusedError(TenureError):
    """The command is wrong in this state. `state` and `legal` say where it stands and what can be done from there."""

    exit_code = 3
    status = 409
    title = "Refused in this state"

    def __init__(
        self, message: str, *, state: str | None = None, legal: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.state = state
        self.legal = legal


class ConflictError(TenureError):
    """Somebody else changed the stream first: read again and decide again. `stream` names it."""

    exit_code = 3
    status = 412
    title = "Changed meanwhile"

    def __init__(self, message: str, *, stream: str, expected: int | None = None, actual: int | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.expected = expected
        self.actual = actual


class IdempotencyConflictError(TenureError):
    """The same idempotency key came with another body."""

    exit_code = 3
    status = 409
    title = "Idempotency key used for something else"


class UnavailableError(TenureError):
    """A provider, the server or the disk: later. `retry_after_s` where it is known."""

    exit_code = 5
    status = 503
    title = "Unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class HomeInUseError(UnavailableError):
    """Another process has this home open; the message names it."""

    title = "The home is in use"


class CorruptLogError(TenureError):
    """The log is not what was written. Nothing is deleted to get going again; the message says what to do."""

    title = "The log is damaged"

    def __init__(self, message: str, *, position: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position
