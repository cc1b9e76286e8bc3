"""Who may do what on the pages: signed in with a token, as somebody who may only look, as nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from registry.application.access import Grant, issue
from registry.web import overview
from tests.api.oidc_provider import CLIENT, SECRET, OidcProvider, fresh_key
from tests.stage import ANA
from tests.web.axe import faults
from tests.web.site import Site, served

WHEN = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A registry that asks for a token."""
    with served(tmp_path_factory.mktemp("guarded"), signed_in=False) as site:
        yield site


def token_of(site: Site, actor: str, *grants: str) -> str:
    given = frozenset(Grant.parse(one) for one in grants)
    name = f"t{len(site.tokens.all())}"
    kept, shown = issue(actor, given, id=name, secret=bytes(32), now=WHEN, by="user:ana")
    site.tokens.add(kept)
    return shown


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_whoever_is_not_known_signs_in_first_and_then_sees_what_they_came_for(page: Page, site: Site) -> None:
    page.goto("/models/support-bot?compare=1")
    expect(page).to_have_url(f"{site.url}/login?next=%2Fmodels%2Fsupport-bot%3Fcompare%3D1")
    assert faults(page) == []
    sign_in(page, "tenure_nobody_nothing")
    expect(page.get_by_role("alert")).to_contain_text("That token is not known")
    sign_in(page, token_of(site, "user:vera", "viewer"))
    expect(page.get_by_role("heading", level=1)).to_have_text("support-bot")
    expect(page.locator("#curves")).to_contain_text("support-bot@1 training")
    page.get_by_role("button", name="Sign out").click()
    page.goto("/audit")
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_viewer_sees_why_nothing_can_be_done(page: Page, site: Site) -> None:
    page.goto("/models/support-bot/3")
    sign_in(page, token_of(site, "user:vic", "viewer"))
    expect(page.get_by_role("group", name="What can be done").get_by_role("button")).to_have_count(0)
    page.get_by_text("Why not").click()
    expect(page.get_by_text("Activate: it needs the role developer or admin;")).to_be_visible()
    page.goto("/fine-tune?connection=cloud")
    expect(page.get_by_text("You may not start a fine-tune")).to_be_visible()
    refused = page.request.post("/models/support-bot/3/do/activate", form={}, headers={"Accept": "text/html"})
    assert refused.status == 403
    assert "user:vic may not develop" in refused.text()


def test_what_was_typed_outlives_the_session(page: Page, site: Site) -> None:
    ref = site.active(model="patient-bot")
    page.goto(f"/models/{ref.model}/{ref.number}")
    sign_in(page, token_of(site, "user:dora", "developer"))
    page.get_by_role("group", name="What can be done").get_by_text("Retire").first.click()
    why = page.get_by_label("Why").and_(page.locator(":visible"))
    why.fill("a long and careful reason")
    site.tokens.revoke(site.tokens.all()[-1].id, site.clock())
    why.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out. Sign in in another tab")
    assert faults(page) == []
    other = page.context.new_page()
    other.goto("/login")
    sign_in(other, token_of(site, "user:dora", "developer"))
    expect(other.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(why).to_have_value("a long and careful reason")
    why.press("Enter")
    expect(page.get_by_text("Retired. Its deployment goes by policy.")).to_be_visible()
    assert site.history(str(ref))[-1].reason == "a long and careful reason"


def test_a_server_that_is_away_takes_nothing_of_what_was_typed(page: Page, site: Site) -> None:
    page.goto("/fine-tune?connection=cloud")
    sign_in(page, token_of(site, "user:away", "developer"))
    page.locator("[name=reason]").fill("typed before it went away")
    page.locator("[name=model]").fill("away-bot")
    page.locator("[name=base_model]").fill("base")
    page.locator("input[type=file]").first.set_input_files(site.train)
    expect(page.get_by_text("every check passed")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Start the fine-tune").click()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    expect(page.locator("[name=reason]")).to_have_value("typed before it went away")
    page.context.set_offline(False)
    page.get_by_role("button", name="Start the fine-tune").click()
    expect(page.get_by_text("The fine-tune is queued")).to_be_visible()


def test_rules_that_one_may_only_read_fit_a_phone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/models/support-bot/policy")
    sign_in(page, token_of(site, "user:viv", "viewer"))
    expect(page.get_by_text("They cannot be changed here")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_whoever_may_only_chat_is_told_so_and_can_sign_in_as_somebody_else(page: Page, site: Site) -> None:
    page.goto("/")
    sign_in(page, token_of(site, "user:ugo", "user"))
    expect(page.get_by_text("user:ugo may not read")).to_be_visible()
    expect(page.get_by_role("link", name="To the overview")).to_have_count(0)
    assert faults(page) == []
    page.get_by_role("button", name="Sign in as somebody else").click()
    expect(page.get_by_label("Token")).to_be_visible()


def test_whoever_may_see_one_model_sees_only_that_one(page: Page, site: Site) -> None:
    page.goto("/")
    sign_in(page, token_of(site, "user:rita", "developer:refund-router"))
    expect(page.locator("#left")).to_contain_text("refund-router")
    expect(page.locator("main")).not_to_contain_text("support-bot")
    answer = page.goto("/models/support-bot")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_text("may not read on model 'support-bot'")).to_be_visible()
    page.goto("/models/refund-router/1")
    expect(page.get_by_role("group", name="What can be done")).to_contain_text("Retire")
    page.goto("/lifecycle")
    expect(page.locator("#states-version")).not_to_contain_text("support-bot")
    expect(page.get_by_role("navigation", name="Main")).not_to_contain_text("Audit")
    answer = page.goto("/audit")
    assert answer is not None
    assert answer.status == 403


def test_whoever_may_see_one_model_sees_its_deployments_alone(page: Page, site: Site) -> None:
    site.active(model="mine-bot")
    site.cloud().stranger("somebody-elses", "ft:theirs")
    page.goto("/deployments")
    sign_in(page, token_of(site, "user:mia", "viewer:mine-bot"))
    page.goto("/deployments?look=1")
    expect(page.locator("#side")).to_contain_text("mine-bot@1")
    expect(page.locator("main")).not_to_contain_text("support-bot")
    expect(page.locator("main")).not_to_contain_text("somebody-elses")
    assert faults(page) == []


def test_whoever_may_see_one_model_sees_the_connections_of_its_versions_alone(page: Page, site: Site) -> None:
    """As over REST, where connections are listed to whoever may read all models."""
    page.goto("/")
    sign_in(page, token_of(site, "user:remi", "developer:refund-router"))
    expect(page.locator("#right")).to_contain_text("Warnings")
    expect(page.get_by_role("region", name="Connections")).to_have_count(0)
    page.goto("/fine-tune")
    expect(page.get_by_role("group", name="Connection").get_by_role("button")).to_have_text(["aloneopenai"])
    page.goto("/fine-tune?connection=cloud")
    expect(page.locator("main")).not_to_contain_text("cloud")
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, token_of(site, "user:nora", "developer:newcomer-bot"))
    page.goto("/fine-tune")
    expect(page.get_by_text("None of your models has a version yet")).to_be_visible()
    assert faults(page) == []


def test_what_is_in_motion_is_told_to_whoever_may_see_only_that(page: Page, site: Site) -> None:
    """However much newer work there is elsewhere."""
    mine = site.fine_tune("slow-router", "alone")
    for _ in range(overview.MOVING_SHOWN + 1):
        site.fine_tune("support-bot")
    page.goto("/")
    sign_in(page, token_of(site, "user:slim", "developer:slow-router"))
    expect(page.get_by_role("region", name="In motion").last).to_contain_text(str(mine))
    page.goto("/lifecycle")
    expect(page.locator("#states-version")).to_contain_text(str(mine))


def test_a_policy_is_shown_to_readers_and_changed_by_those_who_administer_the_model(page: Page, site: Site) -> None:
    page.goto("/models/refund-router/policy")
    sign_in(page, token_of(site, "user:dora", "developer:refund-router"))
    expect(page.get_by_text("They cannot be changed here: it needs the role admin")).to_be_visible()
    expect(page.get_by_role("button", name="See what it would change")).to_have_count(0)
    page.goto("/models/refund-router")
    expect(page.get_by_role("link", name="Change it")).to_have_count(0)
    path, form = "/models/refund-router/policy", {"approvals": "3", "intent": "save"}
    refused = page.request.post(path, form=dict(form), headers={"Accept": "text/html"})
    assert refused.status == 403
    assert site.registry.reading.policy("refund-router")["approvals"] == 0
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, token_of(site, "user:olga", "admin:refund-router"))
    page.goto("/models/refund-router/policy")
    page.get_by_label("Approvals").fill("1")
    page.get_by_role("button", name="See what it would change").click()
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("status").first).to_contain_text("The policy is changed")
    elsewhere = page.request.post(
        path, form=dict(form), headers={"Accept": "text/html", "Origin": "https://example.org"}
    )
    assert elsewhere.status == 403
    assert site.registry.reading.policy("refund-router")["approvals"] == 1


def test_a_person_signs_in_at_a_provider_on_another_site_and_comes_back_to_what_they_wanted(
    page: Page, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's cookie is for this site alone, and the browser comes from another one."""
    monkeypatch.setenv("TENURE_TEST_OIDC", SECRET)
    provider = OidcProvider(
        now=lambda: site.clock().timestamp(),
        person={"email": "ana@example.org", "email_verified": True, "groups": ["ml"]},
    )
    provider.start()
    provider.url = provider.url.replace("127.0.0.1", "localhost")
    table = {
        "issuer": provider.url,
        "client_id": CLIENT,
        "client_secret_env": "TENURE_TEST_OIDC",
        "url": site.url,
        "groups": {"ml": ["viewer"]},
    }
    site.registry.declaring.apply({"oidc": table}, ANA, plan=False)
    try:
        page.goto("/models/support-bot?compare=1")
        assert faults(page) == []
        page.get_by_role("link", name="Sign in at localhost").click()
        page.get_by_role("link", name="Ana").click()
        expect(page).to_have_url(f"{site.url}/models/support-bot?compare=1")
        expect(page.get_by_text("ana@example.org")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        provider.signing = fresh_key("one")
        page.get_by_role("link", name="Sign in at localhost").click()
        page.get_by_role("link", name="Ana").click()
        expect(page.get_by_text("the provider's word does not hold: bad_signature", exact=True)).to_be_visible()
        page.get_by_role("link", name="Sign in").click()
        expect(page.get_by_label("Token")).to_be_visible()
    finally:
        site.registry.declaring.apply({"oidc": {}}, ANA, plan=False)
        provider.host.close()
