"""Nobody has done anything yet; somebody has to sign in; somebody may only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.stage import ANA
from tests.web.axe import faults
from tests.web.site import Site, served


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty registry, for each test."""
    with served(tmp_path, furnished=False, document={}) as site:
        yield site


@pytest.mark.parametrize("path", ["/", "/models", "/deployments", "/audit", "/lifecycle", "/fine-tune"])
def test_an_empty_page_tells_the_next_step(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.locator(".empty, .steps, table").first).to_be_visible()
    assert faults(page) == []


def test_the_first_page_leads_from_nothing_to_a_model_in_three_steps(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Nothing here yet: three steps")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="New fine-tune").click()
    expect(page.get_by_text("No connection can fine-tune")).to_be_visible()


def test_the_three_steps_make_room_for_what_they_lead_to(page: Page, site: Site) -> None:
    page.goto("/")
    expect(page.locator("#live")).to_have_text("live")
    site.registry.declaring.declare_connection("local", {"provider": "huggingface"}, ANA)
    expect(page.get_by_role("region", name="Connections")).to_contain_text("local")
