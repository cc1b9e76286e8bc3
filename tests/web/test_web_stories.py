"""What people come for, with mouse and keyboard: fine-tune, watch, activate, roll back, clean up, look back."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from registry.domain.ids import VersionRef
from tests.stage import ANA
from tests.web.site import ROWS, Site


def state_of(page: Page, ref: str) -> None:
    """Stand on a version's page."""
    model, number = ref.split("@")
    page.goto(f"/models/{model}/{number}")


def test_fine_tune_from_a_dropped_file_and_watch_its_loss(page: Page, site: Site, tmp_path: Path) -> None:
    data = tmp_path / "tickets.csv"
    data.write_text(ROWS)
    held_out = tmp_path / "held-out.csv"
    held_out.write_text("prompt,completion\nsomething new,an answer\n")
    page.goto("/")
    page.get_by_role("link", name="New fine-tune").click()
    page.get_by_role("button", name="cloud azure-openai").click()
    page.get_by_label("Model (a new name makes a new model)").fill("ticket-bot")
    expect(page.get_by_label("Base model")).to_have_value("base")
    page.get_by_label("Training data").set_input_files(data)
    expect(page.get_by_text("24 rows, every check passed")).to_be_visible()
    page.get_by_label("Validation data").set_input_files(held_out)
    expect(page.get_by_text("1 row, every check passed")).to_be_visible()
    expect(page.locator("#estimate")).to_contain_text("0.50 USD")
    page.get_by_role("button", name="Check and estimate").click()
    expect(page.locator("#estimate")).to_contain_text("0.50 USD")
    expect(page.locator("#estimate")).to_contain_text("24 rows to train on")
    page.get_by_label("Why").fill("tickets of October")
    page.get_by_role("button", name="Start the fine-tune").click()
    expect(page.get_by_role("status").first).to_contain_text("The fine-tune is queued")
    expect(page.locator("#headline")).to_contain_text("queued")
    site.run()
    expect(page.locator("#headline")).to_contain_text("training")
    site.job().polls_left = -1
    ref = VersionRef("ticket-bot", 1)
    site.draw(ref, 0.7, 6)
    site.run()
    curve = page.locator(".curve").first
    expect(curve).to_be_visible()
    drawn = curve.get_attribute("d") or ""
    site.draw(ref, 0.7, 20)
    expect(page.locator(".curve").first).not_to_have_attribute("d", drawn)
    site.end()
    expect(page.locator("#headline")).to_contain_text("trained")
    page.get_by_role("link", name="Timeline").click()
    expect(page.get_by_text("“tickets of October”")).to_be_visible()


def test_faulty_data_are_told_row_by_row_and_cost_nothing(page: Page, site: Site, tmp_path: Path) -> None:
    data = tmp_path / "broken.csv"
    data.write_text("prompt,completion\nhello,\n" + "a,b\n" * 12)
    page.goto("/fine-tune?connection=cloud")
    page.get_by_label("Training data").set_input_files(data)
    expect(page.locator(".checks .fault").first).to_contain_text("broken.csv")
    page.get_by_label("Model (a new name makes a new model)").fill("broken-bot")
    page.get_by_role("button", name="Start the fine-tune").click()
    expect(page.locator("#problem")).to_contain_text("drop a file with training data")
    assert "broken-bot" not in [one.model for one in site.registry.reading.models()]


def test_activate_after_seeing_the_price_and_roll_back_in_one_click(page: Page, site: Site) -> None:
    first, second = site.tuned("swing-bot"), site.tuned("swing-bot", loss=0.8)
    site.activate(first)
    site.settle()
    state_of(page, str(second))
    page.locator("summary", has_text="Activate").click()
    panel = page.get_by_role("group", name="What can be done").locator("form").filter(has_text="It is deployed")
    expect(panel).to_contain_text("1.80 USD/h")
    panel.get_by_label("Why").fill("shorter answers")
    panel.get_by_role("button", name="Activate").click()
    expect(page.get_by_role("status").first).to_contain_text("Activation asked for")
    site.settle()
    expect(page.locator("h1")).to_contain_text("active")
    page.get_by_role("link", name="swing-bot", exact=True).click()
    site.let_pass(hours=1)
    page.reload()
    expect(page.locator("#headline")).to_contain_text("deployed again, up to 1.80")
    page.get_by_role("button", name="Roll back to @1").click()
    expect(page.get_by_role("status").first).to_contain_text("Activation asked for")
    site.settle()
    expect(page.locator("#headline")).to_contain_text("swing-bot@1 active")
    assert site.active_ref("swing-bot") == "swing-bot@1"
    reasons = {event.reason for event in site.history("swing-bot@1")}
    assert "rolled back from swing-bot@2" in reasons


def test_delete_a_deployment_and_see_it_gone(page: Page, site: Site) -> None:
    ref = site.tuned("spare-bot")
    deployment = site.registry.commands.deploy(ref, ANA)
    site.settle()
    page.goto("/deployments")
    row = page.get_by_role("row").filter(has_text=deployment)
    row.locator("summary").click()
    expect(row.locator("form")).to_contain_text("Saves 1.80 USD/h")
    row.get_by_label("Why").fill("nobody needs it")
    row.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("status").first).to_contain_text("Deletion asked for")
    site.settle()
    page.reload()
    gone = page.get_by_role("region", name="Gone lately").last
    expect(gone).to_contain_text(deployment)
    assert site.registry.reading.deployment(deployment).state == "deleted"


def test_deploy_a_standby_and_attach_what_is_there(page: Page, site: Site) -> None:
    ref = site.tuned("warm-bot")
    page.goto(f"/models/warm-bot/{ref.number}/deployment")
    page.get_by_role("button", name=re.compile(r"Deploy for 1\.80\s+USD")).click()
    expect(page.get_by_role("status").first).to_contain_text("Deployment asked for")
    site.settle()
    expect(page.locator("#deployments")).to_contain_text("serving")
    expect(page.locator("#deploycard")).to_contain_text("it has a deployment already")
    page.get_by_label("Name, resource id or ARN").fill("no-such-deployment")
    page.get_by_role("button", name="Attach").click()
    expect(page.get_by_role("alert")).to_contain_text("has no deployment 'no-such-deployment'")
    expect(page.get_by_label("Name, resource id or ARN")).to_have_value("no-such-deployment")


def test_what_is_refused_is_told_on_the_page_it_was_asked_on(page: Page, site: Site) -> None:
    ref = site.tuned("poor-bot")
    site.registry.declaring.set_policy("poor-bot", {"max_hourly_cost": "1.00"}, ANA)
    state_of(page, str(ref))
    page.locator("summary", has_text="Activate").click()
    page.get_by_role("group", name="What can be done").get_by_role("button", name="Activate").click()
    expect(page.get_by_role("alert")).to_contain_text("max_hourly_cost = 1.00")
    assert site.state(ref) == "trained"
    expect(page).to_have_url(f"{site.url}/models/poor-bot/1")
    expect(page.locator("#live")).to_have_text("live")
    site.registry.commands.delete(ref, ANA)
    site.settle()
    expect(page.locator("h1")).to_contain_text("deleted")
    expect(page.get_by_role("alert")).to_contain_text("max_hourly_cost = 1.00")
    page.locator(".asof summary").click()
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("This is the past.")).to_be_visible()


def test_the_address_of_a_form_leads_to_the_page_that_it_stands_on(page: Page, site: Site) -> None:
    for sent_to, stands_on in (("/models/support-bot/1/do/activate", "/models/support-bot/1"),
                               ("/models/support-bot/1/deploy", "/models/support-bot/1/deployment"),
                               ("/deployments/dep_0/delete", "/deployments")):  # fmt: skip
        page.goto(sent_to)
        expect(page).to_have_url(f"{site.url}{stands_on}")
        expect(page.locator("h1")).to_be_visible()


def test_what_nobody_knows_the_price_of_says_so_before_the_click(page: Page, site: Site) -> None:
    site.registry.declaring.declare_connection(
        "reserved", {"provider": "azure-openai", "sku": "ProvisionedManaged"}, ANA
    )
    state_of(page, str(site.tuned("reserved-bot", "reserved")))
    page.locator("summary", has_text="Activate").click()
    panel = page.get_by_role("group", name="What can be done").locator("form").filter(has_text="It is deployed")
    expect(panel).to_contain_text("Its price is not known: add a [[prices]] entry")
    expect(panel).not_to_contain_text("Costs up to")


def test_what_needs_no_deployment_is_not_said_to_be_deployed(page: Page, site: Site) -> None:
    state_of(page, str(site.tuned("plain-served-bot", "alone")))
    page.locator("summary", has_text="Activate").click()
    panel = page.get_by_role("group", name="What can be done").locator("form").filter(has_text="takes over")
    expect(panel).to_contain_text("Its provider serves it as it is")


def test_read_last_month_as_it_was(page: Page, site: Site) -> None:
    """Version 2 has been active since November; in October it was version 1, and the bill was another one."""
    page.goto("/audit")
    page.get_by_role("link", name="Last month").click()
    expect(page.get_by_role("img", name="support-bot@1:")).to_be_visible()
    expect(page.get_by_role("img", name="support-bot@2:")).to_have_count(0)
    page.goto("/models/support-bot")
    expect(page.locator("#headline")).to_contain_text("support-bot@2 active")
    page.locator(".asof summary").click()
    page.get_by_role("link", name="End of last month").click()
    expect(page.get_by_text("This is the past.")).to_be_visible()
    expect(page.locator("#headline")).to_contain_text("support-bot@1 active")
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_label("Billed now").first).to_contain_text("1.80 USD/h")
    page.get_by_role("link", name="Back to now").click()
    expect(page.get_by_text("This is the past.")).to_have_count(0)


def test_a_fine_tune_is_of_the_present_alone(page: Page) -> None:
    page.goto("/fine-tune?as_of=20&connection=cloud")
    expect(page.get_by_text("Nothing can be begun in the past")).to_be_visible()
    expect(page.get_by_role("button", name="Start the fine-tune")).to_have_count(0)
    page.get_by_role("link", name="Back to now").click()
    expect(page.get_by_role("heading", name="1. Where")).to_be_visible()
    expect(page.locator(".asof")).to_have_count(0)
    page.goto("/models/support-bot?as_of=20")
    expect(page.get_by_role("link", name="New fine-tune")).to_have_count(0)


def test_a_fine_tune_that_is_begun_at_a_version_is_of_its_model(page: Page) -> None:
    page.goto("/models/support-bot/2")
    page.get_by_role("link", name="New fine-tune").click()
    page.get_by_role("button", name="cloud azure-openai").click()
    expect(page.get_by_label("Model (a new name makes a new model)")).to_have_value("support-bot")


def test_the_overview_is_live(page: Page, site: Site) -> None:
    page.goto("/")
    expect(page.locator("#live")).to_have_text("live")
    ref = site.fine_tune("fresh-bot")
    expect(page.locator("#left")).to_contain_text(str(ref))
    expect(page.locator("#position")).to_have_text(str(site.log.head()))


def test_everything_but_sending_a_file_works_without_javascript(browser: Browser, site: Site) -> None:
    ref = site.tuned("plain-bot")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/models/plain-bot/{ref.number}")
    page.locator("summary", has_text="Activate").click()
    page.get_by_role("group", name="What can be done").get_by_role("button", name="Activate").click()
    expect(page.get_by_role("status").first).to_contain_text("Activation asked for")
    site.settle()
    page.reload()
    expect(page.locator("h1")).to_contain_text("active")
    context.close()
