"""Azure Resource Manager's errors in three kinds of answer. The data plane's are in `providers.openai.errors`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from providers.errors import OutcomeUnknownError, ProviderError, RejectedError, UnauthorizedError, UnavailableError
from providers.extras import needing
from providers.redaction import redacted
from providers.waits import retry_after_s

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError

BUSY_CODES = frozenset({"RequestConflict", "Conflict", "AnotherOperationInProgress"})
BUSY_WORDS = "Another operation is being performed"
BUSY_WAIT_S = 5.0
_REFUSED, _TIMED_OUT, _CONFLICT, _THROTTLED, _BROKEN = 400, 408, 409, 429, 500
_UNAUTHORIZED = frozenset({401, 403})


@needing("azure")
@contextlib.contextmanager
def translated(
    operation: str, *, now: Callable[[], datetime], effect: bool = False, token: str | None = None
) -> Generator[None, None, None]:
    """`effect`: the call changes something, so that a lost answer is an unknown outcome; a read is just repeated."""
    from azure.core import exceptions

    try:
        yield
    except exceptions.ClientAuthenticationError as exc:
        raise _unauthorized(exc, operation) from exc
    except exceptions.HttpResponseError as exc:
        raise _of_status(exc, operation, now=now, effect=effect, token=token) from exc
    except exceptions.ServiceRequestError as exc:  # the request was never sent
        raise UnavailableError(f"no connection: {redacted(exc.message)}", operation=operation) from exc
    except exceptions.AzureError as exc:
        raise _lost(redacted(exc.message), operation, effect=effect, token=token) from exc
    except (ValueError, TypeError, AttributeError, KeyError) as exc:  # what the SDK cannot read, or reads as nothing
        raise _lost(
            f"the answer is none to {operation}: does a proxy answer?", operation, effect=effect, token=token
        ) from exc


def _of_status(
    exc: HttpResponseError, operation: str, *, now: Callable[[], datetime], effect: bool, token: str | None
) -> ProviderError:
    status, code, message, request_id = exc.status_code or 0, _code(exc), _message(exc), _request_id(exc)
    response: Any = exc.response
    headers = {} if response is None else dict(response.headers)
    wait_s = retry_after_s(headers, now=now())
    if status in _UNAUTHORIZED:
        return _unauthorized(exc, operation)
    if status == _CONFLICT and (code in BUSY_CODES or BUSY_WORDS in message):
        return UnavailableError(
            message, operation=operation, retry_after_s=wait_s or BUSY_WAIT_S, code=code, request_id=request_id
        )
    if status == _THROTTLED:
        return UnavailableError(message, operation=operation, retry_after_s=wait_s, code=code, request_id=request_id)
    if status < _REFUSED or status == _TIMED_OUT or status >= _BROKEN:  # 202, where the SDK knows 200 and 201 only
        return _lost(message, operation, effect=effect, token=token, code=code or str(status), wait_s=wait_s)
    return RejectedError(message, operation=operation, code=code, request_id=request_id)


def _unauthorized(exc: HttpResponseError, operation: str) -> UnauthorizedError:
    return UnauthorizedError(_message(exc), operation=operation, code=_code(exc), request_id=_request_id(exc))


def _lost(
    message: str,
    operation: str,
    *,
    effect: bool,
    token: str | None,
    code: str | None = None,
    wait_s: float | None = None,
) -> ProviderError:
    if effect:
        return OutcomeUnknownError(message, operation=operation, token=token, code=code)
    return UnavailableError(message, operation=operation, retry_after_s=wait_s, code=code)


def _message(exc: HttpResponseError) -> str:
    said = exc.error.message if exc.error is not None and exc.error.message else exc.message
    return redacted(said, code=_code(exc), request_id=_request_id(exc))


def _code(exc: HttpResponseError) -> str | None:
    return None if exc.error is None or exc.error.code is None else str(exc.error.code)


def _request_id(exc: HttpResponseError) -> str | None:
    response: Any = exc.response
    return None if response is None else response.headers.get("x-ms-request-id")
