"""Where a connection may lead: not to the machine's own metadata, and into a private network only where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.cloud_settings import SettingsReader
from providers.errors import RejectedError
from providers.ports import Connection


def read(url: str, **more: object) -> str | None:
    settings = {"base_url": url, **more}
    connection = Connection(name="c", provider="openai", settings=settings, registry="r", folder=Path("nowhere"))
    reader = SettingsReader(connection, {"base_url"})
    found = reader.url("base_url")
    reader.finish()
    return found


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://proxy.internal/v1",
        "https://8.8.8.8",
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://127.1:8000",
        "http://[::1]:8000",
        "https://[::ffff:127.0.0.1]",
    ],
)
def test_public_addresses_names_and_loopback_are_taken(url: str) -> None:
    assert read(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://10.1.2.3",
        "https://192.168.1.1:8443/v1",
        "https://172.16.0.1",
        "https://100.64.0.1",
        "https://[fd12::1]",
    ],
)
def test_a_private_address_is_taken_where_the_connection_says_so(url: str) -> None:
    with pytest.raises(RejectedError, match="private_addresses = true"):
        read(url)
    assert read(url, private_addresses=True) == url


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "metadata.google.internal",
        "METADATA.google.internal.",
    ],
)
def test_where_machines_get_their_credentials_no_connection_leads(host: str) -> None:
    with pytest.raises(RejectedError, match="the machine's own metadata"):
        read(f"https://{host}/v1", private_addresses=True)


@pytest.mark.parametrize("url", ["https://user:pass@example.org", "https://token@example.org"])
def test_an_address_with_a_credential_in_it_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RejectedError, match="base_url has a credential in it") as refused:
        read(url)
    assert "example.org" not in refused.value.message


def test_what_stands_behind_a_path_is_refused_and_not_repeated() -> None:
    with pytest.raises(RejectedError, match="base_url has more behind its path") as refused:
        read("https://example.org/v1?key=sesame")
    assert "sesame" not in refused.value.message


@pytest.mark.parametrize("url", ["https://[", "https://", "ftp://example.org", "http://10.0.0.1", "nonsense"])
def test_what_is_no_address_or_not_private_on_the_way_is_refused(url: str) -> None:
    with pytest.raises(RejectedError, match=r"https://|plain http"):
        read(url, private_addresses=True)
