"""A model's policy on its page: in words, foretold, changed after a look at what that would do; and as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from registry.web import policy
from tests.stage import ANA
from tests.web.axe import faults
from tests.web.site import Site, served

MODEL = "thrifty-bot"
RULES = f"/models/{MODEL}/policy"
STANDBY = "Delete a standby that nobody called for"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One model with an active version and a standby that nobody calls, and a rule for every model."""
    with served(tmp_path, furnished=False) as site:
        site.registry.declaring.apply({"policy": {"superseded": "keep"}}, ANA, plan=False)
        site.registry.declaring.set_policy(MODEL, {"max_hourly_cost": "9.00"}, ANA)
        site.activate(site.tuned(MODEL))
        site.settle()
        site.registry.commands.deploy(site.tuned(MODEL, loss=0.8), ANA)
        site.settle()
        site.let_pass(days=3)
        yield site


def review(page: Page) -> None:
    page.get_by_role("button", name="See what it would change").click()


def test_a_change_is_foretold_and_then_saved_with_its_reason(page: Page, site: Site) -> None:
    page.goto(f"/models/{MODEL}")
    page.get_by_role("link", name="Change it").click()
    page.get_by_label(STANDBY).fill("7d")
    page.get_by_label("Highest cost of an hour").fill("")
    before = site.log.head()
    review(page)
    told = page.get_by_role("region", name="What this would change")
    expect(told).to_contain_text("No longer: It may cost at most 9.00 an hour")
    expect(told).to_contain_text("New: A standby that nobody called for 7d is deleted")
    expect(told).to_contain_text("request deletion of deployment")
    expect(told).to_contain_text("in 3 d 23 h")
    expect(told).to_contain_text("Serving would have cost")
    assert faults(page) == []
    assert site.log.head() == before
    told.get_by_label("Why").fill("nobody uses standbys")
    told.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("status").first).to_contain_text("The policy is changed")
    expect(page.get_by_label(STANDBY)).to_have_value("7d")
    expect(page.locator("#plan")).to_contain_text("idle_delete")
    changed = site.history(MODEL)[-1]
    assert (changed.type, changed.actor, changed.reason) == ("policy-changed", "user:ana", "nobody uses standbys")
    assert site.registry.reading.model_state(MODEL).policy == {"max_hourly_cost": None, "idle_delete": "7d"}
    page.goto(f"{RULES}?as_of={before}")
    expect(page.get_by_role("region", name="The rules then")).to_contain_text("this page shows the past")
    expect(page.get_by_text("It may cost at most 9.00 an hour")).to_be_visible()
    expect(page.get_by_role("button", name="See what it would change")).to_have_count(0)


def test_what_is_wrong_stands_beside_each_rule_and_what_was_typed_stays(page: Page, site: Site) -> None:
    page.goto(RULES)
    page.get_by_label(STANDBY).fill("soon")
    page.get_by_label("Approvals").fill("two")
    review(page)
    expect(page.get_by_role("alert")).to_contain_text("nothing is changed")
    for label, said in ((STANDBY, "'soon' is not a duration"), ("Approvals", "'two' is not a whole number")):
        field = page.get_by_label(label)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{field.get_attribute('aria-describedby')}")).to_contain_text(said)
    expect(page.get_by_label(STANDBY)).to_have_value("soon")
    expect(page.get_by_label(STANDBY)).to_be_focused()
    assert faults(page) == []


def test_a_change_that_somebody_else_has_overtaken_is_not_saved(page: Page, site: Site) -> None:
    page.goto(RULES)
    page.get_by_label("Approvals").fill("2")
    review(page)
    save = page.get_by_role("button", name="Save the policy")
    expect(save).to_be_visible()
    site.registry.declaring.set_policy(MODEL, {"orphans": "adopt"}, ANA)
    save.click()
    expect(page.get_by_role("alert")).to_contain_text("Changed meanwhile")
    assert site.registry.reading.policy(MODEL)["approvals"] == 0
    review(page)
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("status").first).to_contain_text("The policy is changed")
    assert site.registry.reading.policy(MODEL)["approvals"] == 2


def test_the_same_rules_again_change_nothing(page: Page) -> None:
    page.goto(RULES)
    review(page)
    expect(page.get_by_role("heading", name="This changes nothing")).to_be_visible()
    expect(page.get_by_role("button", name="Save the policy")).to_have_count(0)


def test_a_form_that_names_few_rules_changes_no_others(page: Page, site: Site) -> None:
    before = site.registry.reading.policy(MODEL)
    page.request.post(RULES, form={"keep_artifacts": "40", "intent": "save"})
    assert site.registry.reading.policy(MODEL) == {**before, "keep_artifacts": 40}


def test_a_rule_of_every_model_is_named_so_until_the_model_has_its_own(page: Page) -> None:
    page.goto(RULES)
    rule = page.locator(".rule").filter(has=page.get_by_label("Deployment of a version that is no longer active"))
    expect(rule).to_contain_text("as for every model")
    expect(rule.get_by_role("combobox")).to_have_value("keep")


def test_a_long_history_is_left_to_the_command_line(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "REPLAYED_MAX", 1)
    page.goto(RULES)
    page.get_by_label("Highest cost of a month").fill("100")
    review(page)
    expect(page.get_by_text(f"tenure policy replay {MODEL} --policy FILE")).to_be_visible()


def test_a_policy_is_changed_without_javascript(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(RULES)
    page.get_by_label("Activate").select_option("if-better")
    review(page)
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("status").first).to_contain_text("The policy is changed")
    assert site.registry.reading.policy(MODEL)["activate"] == "if-better"
    context.close()


def test_a_past_page_says_what_the_policy_would_have_done_then(page: Page, site: Site) -> None:
    site.registry.declaring.set_policy(MODEL, {"superseded": "delete", "idle_delete": None, "approvals": 0}, ANA)
    site.activate(site.tuned(MODEL, loss=0.7))
    for _ in range(8):
        site.run()
        site.clock.advance(seconds=20)
    then = site.log.head()
    site.let_pass(hours=1)
    page.goto(f"/models/{MODEL}?as_of={then}")
    expect(page.get_by_role("heading", name="What it would have done then")).to_be_visible()
    expect(page.locator("#plan")).to_contain_text("superseded = delete")
    page.goto(f"/models/{MODEL}")
    expect(page.locator("#plan")).to_contain_text("Nothing: everything is as it says.")
