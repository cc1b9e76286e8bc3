"""One connection to a server: requests, pages, streams, and problems turned back into the errors that they were."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2

from registry.application.access import NotAllowedError, NotSignedInError
from registry.application.views import to_json
from registry.domain.bounds import check_key
from registry.domain.errors import (
    BadInputError,
    ConflictError,
    IdempotencyConflictError,
    NotFoundError,
    RefusedError,
    TenureError,
    UnavailableError,
)

ANSWER_S_MAX = 600.0
"""How long one answer may take: a pass of the reconciler or the check of a large file does, in seconds."""
CONNECT_S_MAX = 10.0
TRIES = 3
AGAIN_S = 0.5
PAGE = 1_000
PIECE_BYTES = 16 << 20
"""Of a model's files, sent at once."""

Json = dict[str, Any]
_API = "/api/v1"
_WORDS = {errno.ENOENT: "there is no such file", errno.EISDIR: "is a folder, not a file"}


class Http:
    """Safe to use from several threads. Every POST has a key, so that one whose answer was lost is sent again."""

    def __init__(self, url: str, token: str | None, actor: str | None) -> None:
        headers = {"User-Agent": "tenure"}
        if token:
            headers["Authorization"] = f"Bearer {_sendable(token, 'token', 'TENURE_TOKEN')}"
        if actor:
            headers["Tenure-Actor"] = _sendable(actor, "actor", "TENURE_ACTOR")
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise BadInputError(f"{url!r} is not an address: write https://tenure.example.org", field="TENURE_URL")
        try:
            self._client = httpx2.Client(
                base_url=self.url, headers=headers, timeout=httpx2.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX)
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise BadInputError(f"{url!r} is not an address: {error}", field="TENURE_URL") from error

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        return self._answer("GET", path, query).json()

    def text(self, path: str, **query: object) -> str:
        return self._answer("GET", path, query).text

    def post(self, path: str, body: object, *, key: str | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        return self._answer("POST", path, query, body, _key(key)).json()

    def put(self, path: str, body: object, *, key: str | None = None) -> Any:  # noqa: ANN401 - JSON
        return self._answer("PUT", path, {}, body, key and check_key(key)).json()

    def delete(self, path: str, *, key: str | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        answer = self._answer("DELETE", path, query, key=_key(key))
        return answer.json() if answer.content else None

    def pages(self, path: str, items_max: int | None = None, **query: object) -> Iterator[Json]:
        """The items of every page, `items_max` at most."""
        cursor: str | None = None
        left = items_max
        while left is None or left > 0:
            page = self.get(path, limit=PAGE if left is None else min(left, PAGE), cursor=cursor, **query)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def upload(self, path: Path, field: str) -> tuple[str, str]:
        """The id of a file that the server has now, and its name there. Streamed; checked where it is used."""
        try:
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    raise _unsendable(path, "is empty", field)
                url = f"{_API}/datasets"
                answer = self._send(
                    lambda: self._client.post(
                        url, params={"name": path.name, "check": "false"}, content=iter(lambda: file.read(1 << 20), b"")
                    )
                )
        except OSError as error:
            raise _unsendable(path, str(error.strerror), field, error.errno) from error
        try:
            kept = _checked(answer).json()
            return str(kept["id"]), str(kept["name"])
        except BadInputError as error:
            raise BadInputError(f"{path}: {error.message}", field=field, hint=error.hint) from error

    def send_file(self, path: str, file: Path, name: str) -> None:
        """Leave a file there, piece by piece; a piece whose answer was lost is sent again."""
        url = f"{_API}{path}"
        with file.open("rb") as source:
            for offset in range(0, max(1, file.stat().st_size), PIECE_BYTES):
                given: dict[str, str | int] = {"name": name, "offset": offset}
                piece = source.read(PIECE_BYTES)
                _checked(self._send(partial(self._client.put, url, params=given, content=piece), tries=TRIES))

    def save(self, path: str, target: Path) -> Mapping[str, str]:
        """Write an answer to a new file as it comes; gives its headers."""
        with self._reached(), self._client.stream("GET", f"{_API}{path}") as answer:
            if answer.is_error:
                answer.read()
            _checked(answer)
            with target.open("xb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            return answer.headers

    @contextmanager
    def lines(
        self, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Generator[Iterator[str]]:
        """The lines of an answer as they come."""
        with self._reached(), self._client.stream(method, path, json=body, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            _checked(answer)
            yield answer.iter_lines()

    def _answer(
        self, method: str, path: str, query: Mapping[str, object], body: object = None, key: str | None = None
    ) -> httpx2.Response:
        given: dict[str, Any] = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        headers = {"Idempotency-Key": key} if key else {}
        content = None if body is None else json.dumps(to_json(body)).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        return _checked(
            self._send(
                lambda: self._client.request(method, f"{_API}{path}", params=given, content=content, headers=headers),
                tries=TRIES,
            )
        )

    def _send(self, ask: Callable[[], httpx2.Response], tries: int = 1) -> httpx2.Response:
        """Sent again when the connection broke: reads and PUTs may be repeated, POST and DELETE have a key."""
        with self._reached():
            for _ in range(tries - 1):
                try:
                    return ask()
                except httpx2.ConnectError:
                    break
                except httpx2.TransportError:
                    time.sleep(AGAIN_S)
            return ask()

    @contextmanager
    def _reached(self) -> Generator[None]:
        if self._client.is_closed:
            raise UnavailableError(
                f"the connection to {self.url} was closed here", hint="registry.connect() makes another"
            )
        try:
            yield
        except httpx2.ConnectError as error:
            hint = "start one there: tenure serve; or unset TENURE_URL"
            raise UnavailableError(f"no server answers at {self.url}: {error}", hint=hint) from error
        except httpx2.TransportError as error:
            raise UnavailableError(f"the connection to {self.url} broke: {error!r}", hint="try again") from error


def _key(given: str | None) -> str:
    return os.urandom(16).hex() if given is None else check_key(given)


def _unsendable(path: Path, why: str, field: str, number: int | None = None) -> BadInputError:
    """As it is told where nothing has to be sent: of data by their check, of code by the system."""
    if field == "code":
        return BadInputError(f"{path}: {why}", field=field)
    fault = f"{path}: {_WORDS.get(number or 0, why)}"
    return BadInputError(f"1 fault in the training data:\n  {fault}", field=field, faults=(fault,))


def _sendable(text: str, what: str, variable: str) -> str:
    """Raises BadInputError, without the text: it may be a secret."""
    if not (text.isascii() and text.isprintable()):
        raise BadInputError(f"the {what} has characters that no token or name here has", field=variable)
    return text


def _checked(answer: httpx2.Response) -> httpx2.Response:
    """Raises the error that a problem tells of."""
    if not answer.is_error:
        return answer
    raise error_of(answer.status_code, _problem(answer), answer.headers.get("retry-after"))


def _problem(answer: httpx2.Response) -> Json:
    """The problem's members; from the gateway's errors, in the shape that OpenAI's clients read, too."""
    try:
        document = cast("Json", answer.json())
        told = cast("Json | str", document.get("error") or document)
        return {**({} if isinstance(told, str) else told), "detail": words_of(told)}
    except (ValueError, KeyError, AttributeError):
        return {"detail": f"{answer.url.host} answered {answer.status_code}, as no registry does"}


def words_of(told: object) -> str:
    """What a problem or an error says; some providers say it in one sentence. Raises KeyError for neither."""
    if isinstance(told, str):
        return told
    said = cast("Json", told)
    return str(said.get("detail") or said["message"])


def error_of(status: int, problem: Json, retry_after: str | None) -> TenureError:  # noqa: PLR0911 - a table
    message, hint = str(problem["detail"]), problem.get("hint")
    match status:
        case 401:
            return NotSignedInError(message, hint=hint)
        case 403:
            return NotAllowedError(message, hint=hint)
        case 404:
            return NotFoundError(message, hint=hint)
        case 409 if problem.get("title") == IdempotencyConflictError.title:
            return IdempotencyConflictError(message, hint=hint)
        case 409:
            return RefusedError(message, state=problem.get("state"), legal=tuple(problem.get("legal", ())), hint=hint)
        case 412:
            stream = str(problem.get("stream"))
            return ConflictError(message, stream=stream, expected=problem.get("expected"), actual=problem.get("actual"))
        case 400 | 413 | 422:
            faults = tuple(problem.get("faults", ()))
            return BadInputError(message, field=problem.get("field"), faults=faults, hint=hint)
        case _:
            after = float(retry_after) if retry_after and retry_after.isdigit() else None
            return UnavailableError(message, retry_after_s=after, hint=hint)
