"""Training data at OpenAI and Azure OpenAI: uploaded once per content, deleted when no job needs it any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from providers.errors import ProviderError, RejectedError, UnavailableError
from providers.openai.client import Client
from providers.openai.data import PREFIX, Converted
from providers.openai.errors import absent, translated
from providers.openai.lists import Json, pages, thing
from providers.redaction import redacted

FILE_WAIT_S = 2.0
READING_MAX = timedelta(minutes=10)
"""A file that is not processed by then is no reason to wait before a job is refused."""
KEPT = timedelta(days=1)
"""So long data stays for the next version that is trained on it."""
FRESH = KEPT / 2
"""Data older than this is sent again, so that a clean-up does not take it from under a new job."""


class Files:
    """`wait`: a job may name a file only once it is processed."""

    def __init__(self, client: Client, *, wait: bool, now: Callable[[], datetime]) -> None:
        self._client = client
        self._wait = wait
        self._now = now
        self._sent: dict[str, str] = {}
        """Ids by name of what this process sent: a list may not show it yet."""

    def uploaded(self, data: Converted) -> str:
        """The file's id; data that is there already is not sent again. Raises RejectedError where it cannot be read."""
        named = [one for one in self._listed() if one.get("filename") == data.name]
        there = next((one for one in named if self._usable(one)), None) or self._remembered(data.name)
        if there is None:
            # An upload whose answer is lost leaves a file that the next attempt finds, and costs nothing.
            with translated("upload", now=self._now):
                asked = self._client.get().files.with_raw_response
                made = asked.create(file=(data.name, data.content), purpose="fine-tune")
                there = _file(made.http_response.json())
            self._sent[data.name] = str(there["id"])
        if there.get("status") == "error":
            self._refuse(there, data)
        if self._wait and there.get("status") != "processed":
            raise self._unread(data.name)
        return str(there["id"])

    def still_read(self, ids: Sequence[str]) -> UnavailableError | None:
        """Why a job that names these files may have been refused although they are good: they are being processed."""
        for id_ in ids:
            with contextlib.suppress(ProviderError):  # the refusal stands, whether or not it can be explained
                there = self._get(id_)
                unread = there is not None and there.get("status") not in {"processed", "error"}
                if there is not None and unread and self._age(there) < READING_MAX:
                    return self._unread(str(there.get("filename")))
        return None

    def clean_up(self, used: Callable[[], set[str]]) -> Sequence[str]:
        """`used`: ids of the files that unfinished jobs name; asked only if there is something to delete."""
        listed = [one for one in self._listed() if str(one.get("filename")).startswith(PREFIX)]
        old = [one for one in listed if self._age(one) > KEPT]
        if not old:
            return []
        needed = used()
        gone = [one for one in old if one["id"] not in needed]
        for one in gone:
            self._delete(str(one["id"]))
        return [str(one["filename"]) for one in gone]

    def _refuse(self, there: Json, data: Converted) -> None:
        """So that another attempt sends it again, the file goes."""
        self._sent.pop(data.name, None)
        with contextlib.suppress(ProviderError):
            self._delete(str(there["id"]))
        told = redacted(there.get("status_details") or "no reason is given")
        raise RejectedError(f"the provider cannot read {data.name}: {told}", operation="upload")

    def _unread(self, name: str) -> UnavailableError:
        return UnavailableError(f"the provider is still reading {name}", operation="upload", retry_after_s=FILE_WAIT_S)

    def _remembered(self, name: str) -> Json | None:
        there = self._get(self._sent[name]) if name in self._sent else None
        return there if there is not None and self._usable(there) else None

    def _get(self, id_: str) -> Json | None:
        with translated("get-file", now=self._now):
            import openai

            try:
                return _file(self._client.get().files.with_raw_response.retrieve(id_).http_response.json())
            except openai.NotFoundError as exc:
                return absent(exc)

    def _delete(self, id_: str) -> None:
        with translated("delete-file", now=self._now):
            import openai

            try:
                self._client.get().files.delete(id_)
            except openai.NotFoundError as exc:
                absent(exc)

    def _listed(self) -> list[Json]:
        asked = self._client.get().files.with_raw_response
        with translated("list-files", now=self._now):
            listed = pages(lambda follow: asked.list(purpose="fine-tune", extra_query=follow))
            return [_file(one) for page in listed for one in page]

    def _usable(self, file: Json) -> bool:
        return file.get("status") not in {"deleted", "deleting"} and self._age(file) < FRESH

    def _age(self, file: Json) -> timedelta:
        return self._now() - datetime.fromtimestamp(file["created_at"], UTC)


def _file(answer: object) -> Json:
    return thing(answer, "id", "created_at")
