"""Every page, as a person sees it: what stands on it, that it fits a phone, and that axe finds no serious fault."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from registry.web import model
from tests.web.axe import faults
from tests.web.site import Site

PHONE_PX = 390

PAGES = {
    "overview": "/",
    "models": "/models",
    "model": "/models/support-bot",
    "history": "/models/support-bot/history",
    "timeline": "/models/support-bot/2",
    "failed": "/models/support-bot/4",
    "training": "/models/support-bot/3/training",
    "deployment": "/models/support-bot/3/deployment",
    "cost": "/models/support-bot/2/cost",
    "deployments": "/deployments?look=1",
    "audit": "/audit",
    "lifecycle": "/lifecycle",
    "event": "/events/20",
    "fine-tune": "/fine-tune?connection=cloud",
    "past": "/models/support-bot?as_of=40",
    "login": "/login",
    "not found": "/models/no-such-model",
}


@pytest.fixture(scope="module")
def phone(browser: Browser, site: Site) -> Any:
    """A dark phone."""
    context = browser.new_context(
        base_url=site.url, viewport={"width": PHONE_PX, "height": 844}, color_scheme="dark", has_touch=True
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_is_well_formed_and_axe_finds_no_serious_fault(page: Page, path: str) -> None:
    page.goto(path)
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1
    assert "Tenure" in page.title()
    assert faults(page) == []


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_fits_a_phone_and_can_be_read_and_touched_in_the_dark(phone: Page, path: str) -> None:
    phone.goto(path)
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
    assert faults(phone, "color-contrast", "link-in-text-block", "target-size", "scrollable-region-focusable") == []


def test_the_overview_says_what_is_billed_and_what_needs_somebody(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_label("Billed now").first).to_contain_text("3.60 USD/h")
    expect(page.get_by_role("region", name="Warnings").last).to_contain_text("support-bot@3 is billed but not active")
    row = page.get_by_role("row").filter(has_text="support-bot@2")
    expect(row).to_contain_text("better on refunds")


def test_a_model_shows_its_versions_their_losses_and_its_policy_in_words(page: Page) -> None:
    page.goto("/models/support-bot")
    expect(page.get_by_role("row").filter(has_text="support-bot@2")).to_contain_text("active")
    expect(page.get_by_text("It may cost at most 5.00 an hour")).to_be_visible()
    expect(page.get_by_role("img", name="Loss by step")).to_be_visible()
    page.goto("/models/support-bot?compare=1&compare=3")
    expect(page.locator("#curves")).to_contain_text("support-bot@1 validation")
    expect(page.locator("#curves")).not_to_contain_text("support-bot@2")


def test_versions_are_filtered_by_their_state(page: Page) -> None:
    page.goto("/models/support-bot")
    page.get_by_role("navigation", name="State").get_by_role("link", name="failed").click()
    expect(page.get_by_role("row").filter(has_text="support-bot@4")).to_contain_text("longer than the model's context")
    expect(page.get_by_role("row").filter(has_text="support-bot@2")).to_have_count(0)


def test_a_timeline_leads_from_an_effect_to_its_cause_and_to_the_raw_event(page: Page) -> None:
    page.goto("/models/support-bot/2")
    serves = page.locator(".entry").filter(has_text="it answered a probe")
    cause = serves.get_by_role("link", name="because of")
    target = cause.get_attribute("href") or ""
    cause.click()
    expect(page.locator(target)).to_contain_text("About to deploy")
    serves.get_by_text("JSON").click()
    expect(serves.locator("pre")).to_contain_text('"type": "deployment-serving"')
    serves.get_by_title("Permalink").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("it answered a probe")


def test_a_model_has_a_history_of_its_own_the_newest_command_first(page: Page) -> None:
    page.goto("/models/support-bot")
    page.get_by_role("navigation", name="Of support-bot").get_by_role("link", name="History").click()
    groups = page.locator("section.group")
    expect(groups.first).to_contain_text("Failed: 3 rows are longer than the model's context")
    expect(groups.last).to_contain_text("Model support-bot declared")
    switch = groups.filter(has_text="better on refunds").first
    expect(switch).to_contain_text("Retired: version 2 serves now")
    expect(switch).to_contain_text("Version 2 is the active one, version 1 no longer")
    switch.get_by_title("Permalink").nth(1).click()
    expect(page.get_by_role("heading", name="What it belongs to")).to_be_visible()
    expect(page.locator(".entry.shown")).to_contain_text("About to deploy")
    expect(page.locator("section.group")).to_contain_text("version 2 serves now")


def test_a_long_history_is_told_a_page_at_a_time(page: Page, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "EVENTS_PER_PAGE", 6)
    page.goto("/models/support-bot/history")
    told: list[str] = page.locator(".permalink").all_inner_texts()
    while page.get_by_role("link", name="Older").count():
        page.get_by_role("link", name="Older").click()
        page.wait_for_load_state()
        told += page.locator(".permalink").all_inner_texts()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    positions = sorted(int(one.removeprefix("#")) for one in told)
    mine = site.registry.reading.history("support-bot")
    assert positions == [one.position for one in mine if one.type != "version-numbered"]


def test_on_a_phone_nothing_of_a_table_stands_outside_the_window(phone: Page) -> None:
    phone.goto("/deployments")
    row = phone.get_by_role("row").filter(has_text="support-bot@3")
    for words in ("1.80", "warm standby for the launch", "Delete"):
        box = row.get_by_text(words).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= PHONE_PX


@pytest.mark.parametrize("width", [PHONE_PX, 1280])
def test_what_a_row_asks_before_it_deletes_is_seen_whole(browser: Browser, site: Site, width: int) -> None:
    """The table may be scrolled sideways, which must not cut off what opens over it."""
    context = browser.new_context(base_url=site.url, viewport={"width": width, "height": 1000})
    page = context.new_page()
    page.goto("/deployments")
    row = page.get_by_role("row").filter(has_text="support-bot@3")
    row.evaluate("(one) => one.scrollIntoView({ block: 'start' })")
    row.locator("summary").click()
    button = row.get_by_role("button", name="Delete it")
    seen = """(one) => { const box = one.getBoundingClientRect();
        return one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)) }"""
    assert button.evaluate(seen)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_what_cannot_be_done_says_why(page: Page) -> None:
    page.goto("/models/support-bot/2")
    page.get_by_text("Why not").click()
    expect(page.get_by_text("only a version that is failed or cancelled can retry")).to_be_visible()
    expect(page.get_by_role("group", name="What can be done")).to_contain_text("Retire")
    expect(page.get_by_role("group", name="What can be done")).not_to_contain_text("Activate")


def test_the_audit_draws_what_was_billed_and_hands_it_over(page: Page) -> None:
    page.goto("/audit")
    page.get_by_role("link", name="Last 90 days").click()
    expect(page.get_by_role("img", name="support-bot@1:")).to_be_visible()
    expect(page.get_by_label("By model")).to_contain_text("support-bot")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert Path(download.value.path()).read_text().count("support-bot") >= 3
    with page.expect_download() as download:
        page.get_by_role("link", name="FOCUS").click()
    assert "BilledCost" in Path(download.value.path()).read_text()


def test_deployments_stand_beside_what_the_providers_show(page: Page, site: Site) -> None:
    page.goto("/deployments")
    page.get_by_role("link", name="Look at the providers now").click()
    row = page.get_by_role("row").filter(has_text="support-bot@2")
    expect(row).to_contain_text("it serves support-bot@2, which is active")
    expect(page.get_by_text("looked at the providers")).to_be_visible()


def test_the_lifecycle_shows_where_each_version_stands(page: Page) -> None:
    page.goto("/lifecycle")
    expect(page.get_by_role("row").filter(has_text="serves the model's requests")).to_contain_text("support-bot@2")
    expect(page.get_by_role("img", name="States of a deployment")).to_be_visible()


def test_the_keyboard_alone_opens_and_closes_a_panel(page: Page) -> None:
    page.goto("/models/support-bot/2")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("summary", has_text="Retire").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Retire")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Retire")).to_be_hidden()
    expect(page.locator("summary", has_text="Retire")).to_be_focused()


def test_what_has_no_known_price_is_not_said_to_cost_nothing(page: Page) -> None:
    page.goto("/audit?from=2000-01-01T00:00:00Z")
    training = page.get_by_role("region", name="Training", exact=True).first
    expect(training).to_contain_text("price unknown")
    expect(training).not_to_contain_text("0.00")
    page.goto("/audit?from=2000-01-01T00:00:00Z&to=2000-01-02T00:00:00Z")
    expect(page.get_by_role("region", name="Training", exact=True).first).to_contain_text("0.00")


def test_what_was_chosen_on_a_page_is_chosen_at_another_time_too(page: Page) -> None:
    page.goto("/models/support-bot?state=retired&compare=1&compare=2&said=activate")
    page.locator(".asof summary").click()
    page.get_by_role("link", name="An hour ago").click()
    expect(page).to_have_url(re.compile(r"\?state=retired&compare=1&compare=2&as_of="))
    page.locator(".asof summary").click()
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("as_of=.*&state=retired&compare=1&compare=2"))
    page.get_by_role("link", name="Back to now").click()
    expect(page).to_have_url(re.compile(r"/models/support-bot\?state=retired&compare=1&compare=2$"))


def test_the_curves_are_read_under_the_pointer(page: Page) -> None:
    page.goto("/models/support-bot/3/training")
    last = page.locator("[data-last='0']")
    at_the_end = last.inner_text()
    page.locator(".box svg").hover(position={"x": 2, "y": 20})
    expect(page.locator(".at")).to_have_text("step 1")
    expect(last).not_to_have_text(at_the_end)


def test_a_page_that_is_not_there_says_so_in_words(page: Page) -> None:
    answer = page.goto("/models/suport-bot")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("did you mean support-bot?")).to_be_visible()
    page.goto("/models/support-bot?as_of=yesterday")
    expect(page.get_by_text("neither a position (an integer) nor an ISO 8601 time")).to_be_visible()
