"""What is on the screen stays true while a page is open, and nobody who reads or uses it is disturbed."""

from __future__ import annotations

import csv
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from registry.web import overview
from tests.stage import ANA
from tests.web.site import Site


def live(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.locator("#live")).to_have_text("live")


def test_the_sum_of_the_deployments_changes_with_their_rows(page: Page, site: Site) -> None:
    ref = site.tuned("summed-bot")
    live(page, "/deployments")
    before = page.locator(".facts").inner_text()
    deployment = site.registry.commands.deploy(ref, ANA)
    site.settle()
    expect(page.get_by_role("region", name="side by side").first).to_contain_text(deployment)
    expect(page.locator(".facts")).not_to_have_text(before)
    site.registry.commands.undeploy(deployment, ANA)
    site.settle()
    expect(page.locator(".facts")).to_have_text(before)
    expect(page.get_by_role("region", name="Gone lately").first).to_contain_text(deployment)


def test_the_providers_are_looked_at_once_and_not_with_every_event(page: Page, site: Site) -> None:
    live(page, "/deployments?look=1")
    calls = site.cloud().calls
    before = calls.count("list")
    ref = site.fine_tune("unlooked-bot")
    expect(page.locator("#position")).to_have_text(str(site.log.head()))
    assert calls.count("list") == before
    site.registry.commands.cancel(ref, ANA)


def test_the_first_version_of_a_model_comes_into_its_page(page: Page, site: Site) -> None:
    site.registry.declaring.set_policy("young-bot", {}, ANA)
    live(page, "/models/young-bot")
    expect(page.get_by_text("No version yet")).to_be_visible()
    site.fine_tune("young-bot")
    expect(page.locator("#table")).to_contain_text("young-bot@1")


def test_a_timeline_counts_what_comes(page: Page, site: Site) -> None:
    ref = site.fine_tune("counted-bot")
    live(page, "/models/counted-bot/1")
    expect(page.get_by_text("1 event.")).to_be_visible()
    site.registry.commands.cancel(ref, ANA)
    expect(page.get_by_text("2 events.")).to_be_visible()


def test_what_is_downloaded_from_the_audit_is_what_it_shows(page: Page, site: Site) -> None:
    site.activate(site.tuned("billed-bot"))
    site.settle()
    live(page, "/audit")
    site.let_pass(hours=3)
    site.registry.declaring.set_policy("billed-bot", {"approvals": 1}, ANA)
    expect(page.locator("#position")).to_have_text(str(site.log.head()))
    csv = page.get_by_role("link", name="CSV").get_attribute("href") or ""
    assert f"{site.clock():%Y-%m-%dT%H%%3A%M%%3A%S}" in csv
    expect(page.locator(".facts")).to_contain_text(f"{site.clock():%H:%M:%S}")


def test_what_is_downloaded_adds_up_to_what_is_shown_also_within_a_second(page: Page, site: Site) -> None:
    site.registry.declaring.declare_connection("dear", {"provider": "azure-openai", "capacity": 5000}, ANA)
    site.registry.commands.deploy(site.tuned("dear-bot", "dear"), ANA)
    site.settle()
    site.clock.advance(minutes=1, seconds=0.9)
    page.goto("/audit")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "tenure-audit.csv"
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    total = sum(Decimal(row["cost"]) for row in rows if row["cost"])
    expect(page.get_by_label("Total", exact=True)).to_contain_text(f"{total:,.2f}")


def test_focus_stays_where_it_is_when_what_is_around_it_is_renewed(page: Page, site: Site) -> None:
    ref = site.fine_tune("held-bot")
    live(page, "/")
    page.locator("#overview").get_by_role("link", name="All deployments").focus()
    site.registry.commands.cancel(ref, ANA)
    expect(page.locator("#position")).to_have_text(str(site.log.head()))
    expect(page.get_by_role("link", name="All deployments")).to_be_focused()


def test_what_is_scrolled_stays_scrolled_when_it_is_renewed(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    live(page, "/lifecycle")
    picture = page.locator("#picture-version")
    picture.evaluate("(one) => { one.scrollLeft = 120; }")
    counted = picture.inner_html()
    site.fine_tune("seen-bot")
    expect(page.locator("#position")).to_have_text(str(site.log.head()))
    assert picture.inner_html() != counted
    assert picture.evaluate("(one) => one.scrollLeft") == 120


def test_the_text_that_somebody_is_choosing_stays_chosen(page: Page, site: Site) -> None:
    ref = site.fine_tune("chosen-bot")
    live(page, "/models/chosen-bot/1")
    page.locator("#timeline .permalink").first.evaluate("(one) => getSelection().selectAllChildren(one)")
    site.registry.commands.cancel(ref, ANA)
    expect(page.locator("h1")).to_contain_text("cancelled")
    assert page.evaluate("getSelection().toString()").startswith("#")


def test_the_oldest_of_all_that_is_billed_is_told_also_where_only_the_dearest_are_listed(
    page: Page, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "BILLED_SHOWN", 1)
    site.registry.declaring.declare_connection("dearer", {"provider": "azure-openai", "capacity": 9}, ANA)
    site.registry.commands.deploy(site.tuned("latest-bot", "dearer"), ANA)
    site.settle()
    page.goto("/")
    expect(page.get_by_text("The dearest 1 of")).to_be_visible()
    told, listed = (
        page.locator(f"#overview {place} time").get_attribute("datetime") or ""
        for place in ("section[aria-labelledby=f-billed]", "td[data-label=Since]")
    )
    assert told < listed
