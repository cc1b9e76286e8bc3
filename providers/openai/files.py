"""Training data at OpenAI and Azure OpenAI: uploaded once per content, deleted when no job needs it any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from providers.errors import UnavailableError
from providers.openai.client import Client
from providers.openai.data import PREFIX, Converted
from providers.openai.errors import translated

if TYPE_CHECKING:
    from openai.types import FileObject

FILE_WAIT_S = 2.0
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

    def uploaded(self, data: Converted) -> str:
        """The file's id; data that is there already is not sent again."""
        there = next((file for file in self._listed() if file.filename == data.name and self._usable(file)), None)
        if there is None:
            # An upload whose answer is lost leaves a file that the next attempt finds, and costs nothing.
            with translated("upload", now=self._now):
                there = self._client.get().files.create(file=(data.name, data.content), purpose="fine-tune")
        if self._wait and str(there.status) != "processed":
            raise UnavailableError(
                f"the provider is still reading {data.name}", operation="upload", retry_after_s=FILE_WAIT_S
            )
        return there.id

    def clean_up(self, used: Callable[[], set[str]]) -> Sequence[str]:
        """`used`: ids of the files that unfinished jobs name; asked only if there is something to delete."""
        import openai

        old = [one for one in self._listed() if one.filename.startswith(PREFIX) and self._age(one) > KEPT]
        if not old:
            return []
        needed = used()
        gone = [one for one in old if one.id not in needed]
        for one in gone:
            with translated("delete-file", now=self._now):
                try:
                    self._client.get().files.delete(one.id)
                except openai.NotFoundError:
                    continue
        return [one.filename for one in gone]

    def _listed(self) -> list[FileObject]:
        with translated("list-files", now=self._now):
            return list(self._client.get().files.list(purpose="fine-tune"))

    def _usable(self, file: FileObject) -> bool:
        return str(file.status) not in {"error", "deleted", "deleting"} and self._age(file) < FRESH

    def _age(self, file: FileObject) -> timedelta:
        return self._now() - datetime.fromtimestamp(file.created_at, UTC)
