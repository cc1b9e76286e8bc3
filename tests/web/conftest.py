from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.web.site import Site, served

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 20_000
"""What a loaded machine may take for what takes milliseconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window. Skips where there is none.

    One for each module: as long as it is there, Playwright's event loop runs in this thread, and no other one can.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH; `make chromium` installs Debian's")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One furnished registry for the tests of a module, which leave what they find or make their own model."""
    with served(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A window of its own for each test. What a page's scripts or policy complain about fails the test."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda message: complaints.append(message.text) if is_fault(message.type, message.text) else None
    )
    yield page
    assert not complaints, complaints


def is_fault(kind: str, text: str) -> bool:
    """An error of ours; that an answer had an error status is what some tests ask for."""
    return kind == "error" and "the server responded with a status of" not in text and "ERR_" not in text


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where screenshots for the README go; None unless they are asked for (`make screenshots`)."""
    folder = os.environ.get("TENURE_SCREENSHOTS")
    return Path(folder) if folder else None
