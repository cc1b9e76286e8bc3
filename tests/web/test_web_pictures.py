"""The pictures of the README, taken of real pages; `make screenshots` puts them into docs/images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.web.site import Site, served

PNG = b"\x89PNG"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
PICTURES = {
    "overview": ("/", DESKTOP, "light"),
    "timeline": ("/models/support-bot/2", DESKTOP, "light"),
    "compare": ("/models/support-bot?compare=1&compare=2&compare=5#compare-card", DESKTOP, "light"),
    "audit": ("/audit", {"width": 1280, "height": 1000}, "light"),
    "lifecycle": ("/lifecycle", {"width": 1280, "height": 560}, "light"),
    "overview-dark": ("/", DESKTOP, "dark"),
    "phone": ("/models/support-bot/5/training", PHONE, "dark"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The furnished registry, with a version that is training."""
    with served(tmp_path_factory.mktemp("pictures")) as site:
        site.training("support-bot", points=22)
        yield site


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_taken(browser: Browser, site: Site, pictures: Path | None, tmp_path: Path, name: str) -> None:
    path, size, scheme = PICTURES[name]
    context = browser.new_context(
        base_url=site.url,
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=1.5 if pictures else 1,
    )
    page = context.new_page()
    page.goto(path)
    expect(page.locator("#live")).to_have_text("live")
    file = (pictures or tmp_path) / f"{name}.png"
    page.screenshot(path=file, animations="disabled")
    context.close()
    assert file.read_bytes().startswith(PNG)
