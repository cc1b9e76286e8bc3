"""botocore's errors in the registry's three kinds of answer.

Bedrock's service model is the source of the codes; a code that is not known is judged by its HTTP status.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

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
    from botocore.exceptions import ClientError

THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "SlowDown", "RequestLimitExceeded"}
)
UNAUTHORIZED = frozenset(
    {
        "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId",
        "InvalidAccessKeyId", "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException",
    }
)  # fmt: skip
PASSING = frozenset({"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentChecksumMismatch"})
"""S3's 400 for what was cut off or damaged on its way: nothing was stored, and the same again may be well."""
FORBIDDEN = frozenset({401, 403, 407})
"""407: a proxy on the way asks for a credential."""
MISSING = frozenset({"ResourceNotFoundException", "NoSuchKey", "404"})
IN_STREAM = {
    "validationException": 400,
    "modelStreamErrorException": 424,
    "throttlingException": 429,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}
"""Errors that come in the midst of ConverseStream bear no status of their own; those of the service model."""
_INVALID = 400
_DONE = 300
_BROKEN = 500
_THROTTLED = 429


class UnreadableError(Exception):
    """A success whose body is none of AWS's: a proxy's page, or an answer that was cut off."""


def check_readable(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - untyped SDK
    """Before botocore parses an answer, which it would take for one in which everything is left out: an empty list."""
    shape: Any = operation_model.output_shape
    if (
        response_dict["status_code"] >= _DONE
        or operation_model.has_event_stream_output
        or not (shape and shape.members)
    ):
        return
    try:
        whole = isinstance(json.loads(response_dict["body"]), dict)
    except ValueError:
        whole = False
    if not whole:
        kind = response_dict["headers"].get("content-type")
        raise UnreadableError(
            f"{operation_model.name} was answered with {response_dict['status_code']} and no JSON ({kind})"
        )


def check_of_s3(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - untyped SDK
    """The same of S3's answers, whose bodies are what was stored.

    Redirected, botocore asks for the bucket's region with HeadBucket: where that is redirected too, it never ends.
    """
    status, headers = int(response_dict["status_code"]), response_dict["headers"]
    kind = headers.get("content-type") or ""
    if status < _DONE and kind.startswith("text/html"):
        raise UnreadableError(f"{operation_model.name} was answered with {status} and a page ({kind})")
    is_region_asked = operation_model.name == "HeadBucket"
    if is_region_asked and _DONE <= status < _INVALID and not headers.get("x-amz-bucket-region"):
        raise UnreadableError(f"{operation_model.name} was answered with {status}, a redirect that names no region")


@needing("bedrock")
@contextlib.contextmanager
def translated(
    operation: str, *, now: Callable[[], datetime], effect: bool = False, token: str | None = None
) -> Generator[None, None, None]:
    """`effect`: the call changes something, so that a lost answer is an unknown outcome; a read is just repeated."""
    from botocore import eventstream, exceptions, parsers
    from urllib3.exceptions import HTTPError

    try:
        yield
    except exceptions.ClientError as exc:
        raise _of_answer(exc, operation, now=now, effect=effect, token=token) from exc
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
        exceptions.LoginError,
    ) as exc:
        raise UnauthorizedError(redacted(exc), operation=operation, code="missing-credential") from exc
    except (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError) as exc:
        raise UnavailableError(f"no connection: {redacted(exc)}", operation=operation) from exc
    except exceptions.ParamValidationError as exc:
        raise RejectedError(redacted(exc), operation=operation, code="ParamValidationError") from exc
    except exceptions.ReadTimeoutError as exc:
        raise _lost(redacted(exc), operation, effect=effect, token=token, code="timeout") from exc
    except KeyError as exc:
        raise _lost(f"the answer lacks {exc}", operation, effect=effect, token=token) from exc
    except UnicodeDecodeError as exc:  # botocore's
        raise _lost("the answer cannot be read: it is no text", operation, effect=effect, token=token) from exc
    except (
        exceptions.BotoCoreError,
        parsers.ResponseParserError,
        eventstream.ParserError,
        HTTPError,
        UnreadableError,
    ) as exc:
        raise _lost(redacted(exc), operation, effect=effect, token=token) from exc


@contextlib.contextmanager
def translated_chat(*, now: Callable[[], datetime]) -> Generator[None, None, None]:
    """What the endpoint answers is handed through with its status; without an answer it is as for every other call."""
    with translated("chat", now=now, effect=True):
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            yield
        except ParamValidationError as exc:
            said, code = redacted(exc), "ParamValidationError"
            error = {"message": said, "type": "invalid_request_error", "code": code, "param": None}
            raise ChatError(said, status=_INVALID, body={"error": error}, code=code) from exc
        except ClientError as exc:
            code, message, status, headers = _parts(exc)
            body = {"error": {"message": message, "type": code, "code": code, "param": None}}
            wait_s = retry_after_s(headers, now=now())
            raise ChatError(message, status=status or _BROKEN, body=body, code=code, retry_after_s=wait_s) from exc


def is_missing(exc: ProviderError) -> bool:
    return isinstance(exc, RejectedError) and exc.code in MISSING


def _of_answer(
    exc: ClientError, operation: str, *, now: Callable[[], datetime], effect: bool, token: str | None
) -> ProviderError:
    code, message, status, headers = _parts(exc)
    request_id = _request_id(headers)
    if code in UNAUTHORIZED or status in FORBIDDEN:  # S3 answers HEAD without a code
        return UnauthorizedError(message, operation=operation, code=code, request_id=request_id)
    wait_s = retry_after_s(headers, now=now())
    if code in THROTTLED or code in PASSING or status == _THROTTLED:
        return UnavailableError(message, operation=operation, retry_after_s=wait_s, code=code, request_id=request_id)
    if status >= _BROKEN or _DONE <= status < _INVALID:
        return _lost(message, operation, effect=effect, token=token, code=code)
    return RejectedError(message, operation=operation, code=code, request_id=request_id)


def _lost(message: str, operation: str, *, effect: bool, token: str | None, code: str | None = None) -> ProviderError:
    if effect:
        return OutcomeUnknownError(message, operation=operation, token=token, code=code)
    return UnavailableError(message, operation=operation, code=code)


def _parts(exc: ClientError) -> tuple[str, str, int, dict[str, str]]:
    """Code, message, HTTP status, headers."""
    response: Any = exc.response  # pyright: ignore[reportUnknownMemberType]
    error: dict[str, Any] = response.get("Error", {})
    meta: dict[str, Any] = response.get("ResponseMetadata", {})
    code = str(error.get("Code", ""))
    status = IN_STREAM.get(code, int(meta.get("HTTPStatusCode", 0)))
    headers: dict[str, str] = meta.get("HTTPHeaders", {})
    said = redacted(error.get("Message") or code or f"HTTP {status}", code=code, request_id=_request_id(headers))
    return code, said, status, headers


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-amzn-requestid") or headers.get("x-amz-request-id")
