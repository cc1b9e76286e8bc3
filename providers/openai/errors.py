"""The openai SDK's errors in the registry's three kinds of answer; Azure's data plane speaks through the same SDK."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from datetime import datetime
from typing import TYPE_CHECKING, cast

from providers.errors import (
    ChatError,
    OutcomeUnknownError,
    ProviderError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.extras import needing
from providers.redaction import redacted
from providers.waits import retry_after_s

if TYPE_CHECKING:
    import openai

QUOTA_CODES = frozenset({"insufficient_quota", "quotaExceeded", "billing_hard_limit_reached"})
"""429s that do not go away by waiting."""
_TIMED_OUT = 408
_THROTTLED = 429
_BROKEN = 500
_UNAUTHORIZED = frozenset({401, 403})


@needing("openai")
@contextlib.contextmanager
def translated(
    operation: str, *, now: Callable[[], datetime], effect: bool = False, token: str | None = None
) -> Generator[None, None, None]:
    """`effect`: the call changes something, so that a lost answer is an unknown outcome; a read is just repeated."""
    import openai

    try:
        yield
    except openai.APIStatusError as exc:
        raise _of_status(exc, operation, now=now, effect=effect, token=token) from exc
    except (openai.APIConnectionError, openai.APIResponseValidationError) as exc:
        raise _of_connection(exc, operation, effect=effect, token=token) from exc
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        # It was cut off, or is a proxy's own page, which the SDK hands out as a text where it promises an object.
        raise _lost(
            f"the answer is none to {operation}: does a proxy answer?", operation, effect=effect, token=token
        ) from exc


def absent(missing: openai.NotFoundError) -> None:
    """What a 404 stands for. Raised again where it is a page: a proxy's, that says nothing of what was asked for."""
    if _is_page(missing):
        raise missing


@contextlib.contextmanager
def translated_chat(*, now: Callable[[], datetime]) -> Generator[None, None, None]:
    """Statuses are handed through with their bodies; without an answer it is as for every other call."""
    with translated("chat", now=now, effect=True):
        import openai

        try:
            yield
        except openai.APIStatusError as exc:
            body: object = exc.body
            with contextlib.suppress(ValueError):
                body = exc.response.json()
            raise ChatError(_message(exc), status=exc.status_code, body=body, code=_code(exc)) from exc


def _of_status(
    exc: openai.APIStatusError, operation: str, *, now: Callable[[], datetime], effect: bool, token: str | None
) -> ProviderError:
    code, status, request_id, message = _code(exc), exc.status_code, exc.request_id, _message(exc)
    if status in _UNAUTHORIZED:
        return UnauthorizedError(message, operation=operation, code=code, request_id=request_id)
    if status == _THROTTLED and code not in QUOTA_CODES:
        wait_s = retry_after_s(exc.response.headers, now=now())
        return UnavailableError(message, operation=operation, retry_after_s=wait_s, code=code, request_id=request_id)
    if status >= _BROKEN or status == _TIMED_OUT:
        if effect:
            return OutcomeUnknownError(message, operation=operation, token=token, code=code or str(status))
        wait_s = retry_after_s(exc.response.headers, now=now())
        return UnavailableError(
            message, operation=operation, retry_after_s=wait_s, code=code or str(status), request_id=request_id
        )
    return RejectedError(message, operation=operation, code=code, request_id=request_id)


def _of_connection(exc: openai.APIError, operation: str, *, effect: bool, token: str | None) -> ProviderError:
    import httpx2

    cause = exc.__cause__
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return UnavailableError(f"no connection: {redacted(cause)}", operation=operation)
    return _lost(f"the answer was lost: {redacted(cause or exc.message)}", operation, effect=effect, token=token)


def _lost(message: str, operation: str, *, effect: bool, token: str | None) -> ProviderError:
    if effect:
        return OutcomeUnknownError(message, operation=operation, token=token)
    return UnavailableError(message, operation=operation)


def _code(exc: openai.APIStatusError) -> str | None:
    return None if exc.code is None else str(exc.code)


def _message(exc: openai.APIStatusError) -> str:
    """The SDK's own message is the whole answer; what the service says stands in it."""
    said: object = cast("dict[str, object]", exc.body).get("message") if isinstance(exc.body, dict) else exc.body
    if _is_page(exc):
        said = f"a page with status {exc.status_code}, not the service's own answer"
    return redacted(said or exc.message, code=_code(exc), request_id=exc.request_id)


def _is_page(exc: openai.APIStatusError) -> bool:
    return isinstance(exc.body, str) and exc.body.lstrip().startswith("<")
