"""Training data and results in S3: written once per content, deleted when no job needs it any more."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from providers.bedrock.clients import Clients
from providers.bedrock.data import Converted
from providers.bedrock.errors import UnreadableError, is_missing, translated
from providers.bedrock.settings import Settings
from providers.errors import RejectedError

PAGES_MAX = 100
KEPT = timedelta(days=1)
"""So long data stays for the next version that is trained on it."""
FRESH = KEPT / 2
"""Data older than this is written again, so that a clean-up does not take it from under a new job."""


class Files:
    def __init__(self, settings: Settings, clients: Clients, *, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clients = clients
        self._now = now

    def uri(self, *parts: str) -> str:
        return f"s3://{self._settings.bucket}/{self._key(*parts)}"

    def uploaded(self, data: Converted) -> str:
        """The object's URI; data that is there already is not sent again."""
        name = f"{data.digest}.jsonl"
        if not self._is_there(self._key("data", name)):
            with translated("upload", now=self._now):
                self._s3().put_object(Bucket=self._settings.bucket, Key=self._key("data", name), Body=data.content)
        return self.uri("data", name)

    def rows(self, uri: str) -> list[dict[str, str]]:
        """A CSV's rows; none where it is not there."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            with translated("get-results", now=self._now):
                body = self._s3().get_object(Bucket=bucket, Key=key)["Body"].read()
        except RejectedError as error:
            if is_missing(error):
                return []
            raise
        text = io.StringIO(body.decode("utf-8-sig", errors="replace"))
        return list(csv.DictReader(text, skipinitialspace=True))

    def clean_up(self, used: Callable[[], set[str]]) -> Sequence[str]:
        """`used`: URIs of the data of unfinished jobs; asked only if there is something to delete."""
        until = self._now() - KEPT
        old = [str(one["Key"]) for one in self._listed() if one["LastModified"] < until]
        if not old:
            return []
        needed = used()
        gone = [key for key in old if f"s3://{self._settings.bucket}/{key}" not in needed]
        for key in gone:
            with translated("delete-data", now=self._now):
                self._s3().delete_object(Bucket=self._settings.bucket, Key=key)
        return gone

    def _is_there(self, key: str) -> bool:
        try:
            with translated("look-at-data", now=self._now):
                found = self._s3().head_object(Bucket=self._settings.bucket, Key=key)
                if "LastModified" not in found:
                    raise UnreadableError("HeadObject was answered without Last-Modified")
        except RejectedError as error:
            if is_missing(error):
                return False
            raise
        return bool(found["LastModified"] > self._now() - FRESH)

    def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        follow: dict[str, str] = {}
        with translated("list-data", now=self._now):
            for _ in range(PAGES_MAX):
                page = self._s3().list_objects_v2(Bucket=self._settings.bucket, Prefix=self._key("data", ""), **follow)
                found += page.get("Contents") or []
                if not page.get("NextContinuationToken"):
                    return found
                follow = {"ContinuationToken": page["NextContinuationToken"]}
        return found  # what is older and further on waits for the next time

    def _key(self, *parts: str) -> str:
        return "/".join((self._settings.prefix, *parts) if self._settings.prefix else parts)

    def _s3(self) -> Any:  # noqa: ANN401 - untyped SDK
        return self._clients.get("s3")
