"""Names as long as they may be, and far more of everything than a page can show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from registry.domain.versions import Who
from registry.web import deployments, model, overview
from tests.web.site import Site, served

LONG = "customer-conversation-summaries-for-the-north-american-region-2"
UNBROKEN = "x" * 63
STANDBYS = 5
WHO = Who(actor="user:ana", reason="a load test before the launch of the new assistant in all regions")
OVERFLOWING = """() => [...document.querySelectorAll("main .card, main .card td, main .card th, main h1, main .facts")]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        || (one.matches(".card") && one.scrollWidth > one.clientWidth + 1))
    .map((one) => `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("extremes"), furnished=False) as site:
        for name in (LONG, UNBROKEN):
            site.activate(site.tuned(name))
            site.settle()
        for _ in range(STANDBYS):
            site.registry.commands.deploy(site.tuned("busy-bot", points=2), WHO)
            site.settle()
        site.cloud().results.append(("failed", f"see https://example.org/{'x' * 300}"))
        site.fine_tune(LONG)
        site.settle()
        yield site


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    "path",
    ["/", "/models", f"/models/{LONG}", f"/models/{UNBROKEN}", f"/models/{UNBROKEN}/1", f"/models/{LONG}/1/cost",
     f"/models/{LONG}/2", f"/models/{LONG}/policy", "/deployments?look=1", "/audit", "/lifecycle"],
)  # fmt: skip
def test_the_longest_names_stay_in_their_places(browser: Browser, site: Site, path: str, width: int) -> None:
    context = browser.new_context(base_url=site.url, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []
    for scrolling in page.locator(".side nav, .tabs, .scroll:not(.diagram)").all():
        assert scrolling.evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0, scrolling
    context.close()


def test_many_standbys_of_one_model_are_one_warning(page: Page) -> None:
    page.goto("/")
    warnings = page.get_by_role("region", name="Warnings").last
    expect(warnings).to_contain_text(f"{STANDBYS} deployments of busy-bot are billed but not active")
    expect(warnings).to_contain_text("At 9.00 USD an hour in all")


def test_more_warnings_than_fit_are_counted(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "IDLE_TOLD", STANDBYS)
    monkeypatch.setattr(overview, "WARNINGS_SHOWN", 2)
    page.goto("/")
    expect(page.get_by_role("region", name="Warnings").first).to_contain_text(str(STANDBYS))
    expect(page.get_by_text(f"And {STANDBYS - 2} more")).to_be_visible()


def test_the_dearest_deployments_come_first_and_all_are_one_click_away(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "LIVE_SHOWN", 3)
    page.goto("/deployments")
    rows = page.get_by_role("region", name="side by side").get_by_role("row")
    expect(rows).to_have_count(1 + 3)
    expect(page.locator(".facts")).to_contain_text(f"{STANDBYS + 2} billed")
    page.get_by_role("link", name="Show all").click()
    expect(rows).to_have_count(1 + STANDBYS + 2)


def test_a_version_of_many_is_reached_by_its_number(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "VERSIONS_PER_PAGE", 2)
    page.goto("/models/busy-bot")
    expect(page.get_by_role("row")).to_have_count(1 + 2)
    page.get_by_label("Version's number").fill("1")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("busy-bot@1")
    page.goto("/models/busy-bot?version=1&as_of=40")
    assert page.url.endswith("/models/busy-bot/1?as_of=40")


def test_what_is_printed_is_the_page_without_its_controls(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.goto("/models/busy-bot")
    expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    for away in ("Compare the chosen", "As of now"):
        expect(page.get_by_text(away)).to_be_hidden()
    expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 33, 48)", "dark ink"
