"""boto3's clients for Bedrock, its runtime, S3 and CloudWatch, made when first needed, never retrying by themselves.

botocore has no types: what it hands over is `Any`, here and in the modules that call it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from providers.bedrock.errors import check_of_s3, check_readable, translated
from providers.bedrock.settings import Settings
from providers.cloud_settings import REHEARSAL_ACCESS_KEY, REHEARSAL_KEY

Service = Literal["bedrock", "bedrock-runtime", "s3", "cloudwatch"]
READ_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0
KEPT_MAX = 256
"""Connections that are kept open for the next chat; botocore's ten would mean a handshake for each one beyond."""


class Clients:
    """One session, whose credentials boto3 finds and refreshes, and a client per service."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._session: Any = None
        self._open: dict[str, Any] = {}
        self._here = threading.local()

    def get(self, service: Service, *, read_timeout_s: float = READ_TIMEOUT_S) -> Any:  # noqa: ANN401 - untyped SDK
        key = f"{service}/{read_timeout_s}"
        with self._lock:
            if key not in self._open:
                with translated("connect", now=self._now):
                    self._open[key] = self._made(service, read_timeout_s)
            return self._open[key]

    def streaming(self) -> Any:  # noqa: ANN401 - untyped SDK
        """The body of the stream that was begun last in this thread: urllib3's, which can be shut down from another."""
        return self._here.body

    def _begun(self, response_dict: dict[str, Any], **_: object) -> None:
        self._here.body = response_dict["body"]

    def close(self) -> None:
        with self._lock:
            for client in self._open.values():
                client.close()
            self._open.clear()

    def _made(self, service: Service, read_timeout_s: float) -> Any:  # noqa: ANN401 - untyped SDK
        import boto3.session
        from botocore.config import Config

        settings = self._settings
        if self._session is None:
            keys: dict[str, str] = {}
            if settings.rehearsal:
                keys = {"aws_access_key_id": REHEARSAL_ACCESS_KEY, "aws_secret_access_key": REHEARSAL_KEY}
            self._session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region, **keys)
        endpoint = {
            "bedrock": settings.endpoint_url,
            "bedrock-runtime": settings.runtime_endpoint_url,
            "s3": settings.s3_endpoint_url,
            "cloudwatch": settings.cloudwatch_endpoint_url,
        }[service]
        config: Any = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            max_pool_connections=KEPT_MAX,
        )
        client = self._session.client(service, endpoint_url=endpoint, config=config)
        if service == "s3" and endpoint and "addressing_style" not in (client.meta.config.s3 or {}):
            # Few stores of one's own have a name for each bucket; who has says so in ~/.aws/config.
            client.close()
            config = config.merge(Config(s3={"addressing_style": "path"}))
            client = self._session.client(service, endpoint_url=endpoint, config=config)
        client.meta.events.register("before-parse.bedrock-runtime.ConverseStream", self._begun)
        for checked in ("bedrock", "bedrock-runtime"):
            client.meta.events.register(f"before-parse.{checked}", check_readable)
        client.meta.events.register("before-parse.s3", check_of_s3)
        return client
