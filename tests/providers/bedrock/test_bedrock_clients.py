"""How boto3's clients are made: what ~/.aws/config says holds, where the connection does not say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from providers.bedrock.clients import Clients
from providers.bedrock.settings import settings_of
from providers.ports import Connection
from tests.providers.cloud_harness import NOON

STORE = {"s3_endpoint_url": "https://store.example.org"}


@pytest.fixture(autouse=True)
def aws_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return tmp_path / "config"


def address(settings: Mapping[str, object]) -> str:
    """Where an object of the bucket `acme` is read; nothing is sent."""
    given = {"region": "us-east-1", "fine_tuning": False, **settings}
    clients = Clients(
        settings_of(Connection(name="aws", provider="bedrock", settings=given, registry="reg", folder=Path())),
        now=lambda: NOON,
    )
    try:
        client = clients.get("s3")
        return client.generate_presigned_url("get_object", Params={"Bucket": "acme", "Key": "one"}).partition("?")[0]
    finally:
        clients.close()


def test_a_store_of_ones_own_is_addressed_by_path() -> None:
    assert address(STORE) == "https://store.example.org/acme/one"


@pytest.mark.parametrize(
    ("style", "expected"),
    [("virtual", "https://acme.store.example.org/one"), ("path", "https://store.example.org/acme/one")],
)
def test_a_store_that_names_its_buckets_is_addressed_as_the_aws_config_says(
    aws_config: Path, style: str, expected: str
) -> None:
    aws_config.write_text(f"[default]\ns3 =\n    addressing_style = {style}\n")
    assert address(STORE) == expected


def test_s3_itself_is_addressed_by_the_buckets_name() -> None:
    assert address({}) == "https://acme.s3.amazonaws.com/one"
