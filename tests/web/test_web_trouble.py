"""What needs somebody: unknown spans, strays at a provider, retirements, budgets, connections that do not answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from providers.errors import OutcomeUnknownError, UnavailableError
from registry.domain import events as ev
from registry.domain.events import DomainEvent, NewEvent
from tests.cloud import Deployed
from tests.fakes import provider_error
from tests.stage import ANA
from tests.web.axe import faults
from tests.web.site import Site, served

MODEL = "worry-bot"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One model that is in every kind of trouble."""
    with served(tmp_path_factory.mktemp("trouble"), furnished=False) as site:
        site.registry.declaring.set_policy(MODEL, {"max_hourly_cost": "3.00", "approvals": 1}, ANA)
        ref = site.tuned(MODEL)
        site.cloud().fail("create", provider_error(OutcomeUnknownError), when="after")
        site.cloud().fail("get", provider_error(UnavailableError), times=40)
        site.cloud().fail("list", provider_error(UnavailableError), times=40)
        site.registry.commands.deploy(ref, ANA)
        for _ in range(12):
            site.run()
            site.clock.advance(minutes=20)
        site.cloud().faults.clear()
        site.settle()
        site.cloud().deployments["stray"] = Deployed(
            id="stray", name="somebody-elses", token="x", artifact_id="ft:other", outcome="serving",
            status="Succeeded", created_at=site.clock.time, ours=False,
        )  # fmt: skip
        happened(site, "connection:local", ev.ConnectionFailed(connection="local", error="the credential is refused"))
        stray = ev.JobRef(id="ftjob-9", name="tenure-test12-worry-bot-9-1", status="running")
        happened(site, "connection:local", ev.OrphanJobFound(connection="local", job=stray))
        active = site.tuned("old-bot", "alone")
        site.activate(active)
        site.settle()
        soon = (site.clock.time + timedelta(days=12)).date()
        happened(site, f"version:{active}", ev.RetirementAnnounced(base_model="base", retires_on=soon))
        exceeded = ev.BudgetExceeded(
            model="old-bot", month=f"{site.clock.time:%Y-%m}", limit=Decimal(5), spent=Decimal(7), currency="USD"
        )
        happened(site, "model:old-bot", exceeded)
        yield site


def happened(site: Site, stream: str, payload: DomainEvent) -> None:
    site.log.append([NewEvent(stream=stream, payload=payload, actor="scheduler")], expected={})


def test_the_overview_names_what_needs_somebody_and_leads_there(page: Page) -> None:
    page.goto("/")
    warnings = page.get_by_role("region", name="Warnings").last
    expect(page.locator(".alarm")).to_have_class("card figure alarm worst")
    expect(warnings).to_contain_text("Connection local does not answer")
    expect(warnings).to_contain_text("A training job at local is nobody's")
    expect(warnings).to_contain_text("old-bot@1 stops in 12 days")
    expect(warnings).to_contain_text("old-bot is over its budget")
    expect(warnings).to_contain_text(f"{MODEL}@1 is billed but not active")
    assert faults(page) == []
    warnings.get_by_role("link", name=f"{MODEL}@1 is billed but not active").click()
    expect(page.get_by_role("button", name="Attach")).to_be_visible()


def test_a_span_in_which_nobody_knows_is_hatched_and_counted(page: Page) -> None:
    page.goto(f"/models/{MODEL}/1/cost")
    expect(page.locator("rect.unsure").first).to_be_visible()
    expect(page.get_by_role("img", name="unknown, counted as billed")).to_be_visible()
    page.goto("/audit")
    expect(page.locator(".gantt rect.unsure").first).to_be_visible()
    assert faults(page) == []


def test_what_is_not_ours_is_shown_and_left_alone(page: Page) -> None:
    page.goto("/deployments?look=1")
    row = page.get_by_role("row").filter(has_text="somebody-elses")
    expect(row).to_contain_text("foreign")
    expect(row.get_by_role("button")).to_have_count(0)


def test_a_training_job_that_nobody_knows_stands_beside_the_deployments(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="A training job at local is nobody's").click()
    jobs = page.get_by_role("region", name="Training jobs that nobody knows").first
    expect(jobs.get_by_role("row").last).to_contain_text("tenure-test12-worry-bot-9-1")
    expect(jobs).to_contain_text('orphans = "delete"')
    assert faults(page) == []


def test_an_approval_is_asked_for_and_recorded(page: Page, site: Site) -> None:
    page.goto(f"/models/{MODEL}/1")
    page.locator("summary", has_text="Approve").click()
    page.get_by_role("group", name="What can be done").get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status").first).to_contain_text("Your approval is recorded")
    page.get_by_text("Why not").click()
    expect(page.get_by_text("user:ana has approved it already")).to_be_visible()
    page.locator("summary", has_text="Activate").click()
    page.get_by_role("group", name="What can be done").get_by_role("button", name="Activate").click()
    expect(page.get_by_role("alert")).to_contain_text("needs 1 approval and has 0")


def test_the_deployment_is_deleted_from_its_version_too(page: Page, site: Site) -> None:
    ref = site.tuned("brief-bot")
    site.registry.commands.deploy(ref, ANA)
    site.settle()
    page.goto("/models/brief-bot/1/deployment")
    page.locator("#deployments summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete dep_").click()
    expect(page.get_by_role("status").first).to_contain_text("Deletion asked for")
    expect(page).to_have_url(f"{site.url}/models/brief-bot/1/deployment")
    site.settle()
    expect(page.locator("#deployments")).to_contain_text("deleted")


def test_a_job_is_paused_and_resumed_where_its_provider_can(page: Page, site: Site) -> None:
    cloud = site.cloud()
    cloud.capabilities = dataclasses.replace(cloud.capabilities, pause=True, checkpoints=True)
    site.training("calm-bot")
    page.goto("/models/calm-bot/1/training")
    page.locator("summary", has_text="Pause").click()
    page.get_by_role("group", name="What can be done").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status").first).to_contain_text("The job is asked to pause")
    assert "pause" in cloud.calls
    page.goto("/models/calm-bot/1/training")
    page.get_by_role("link", name="Ask the provider").click()
    expect(page.get_by_text("The provider kept none.")).to_be_visible()
    site.end()


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        (f"/models/{MODEL}/1/do/polish", {}, "there is no command 'polish'"),
        (f"/models/{MODEL}/rollback", {"version": "last"}, "'last' is not a version's number"),
        (f"/models/{MODEL}/1/attach", {"deployment": " "}, "name the deployment to attach"),
        ("/fine-tune", {"connection": "cloud"}, "choose a model's name"),
        ("/fine-tune", {"connection": "cloud", "model": "x", "base_model": "base"}, "drop a file with training data"),
        (
            "/fine-tune",
            {"connection": "cloud", "model": "x", "base_model": "base", "train": "ds_../../etc"},
            "there is no data set",
        ),
    ],
)
def test_a_form_that_lacks_something_says_what(page: Page, path: str, form: dict[str, str], said: str) -> None:
    answer = page.request.post(path, form=dict(form), headers={"Accept": "text/html"})
    assert answer.status in {404, 422}
    assert said in answer.text().replace("&#39;", "'")


def test_events_of_connections_and_models_have_pages_of_their_own(page: Page, site: Site) -> None:
    for event in site.registry.log.read(until=6):
        answer = page.goto(f"/events/{event.position}")
        assert answer is not None
        assert answer.ok
    answer = page.goto("/events/99999")
    assert answer is not None
    assert answer.status == 404


def test_a_time_span_that_ends_before_it_begins_is_refused(page: Page) -> None:
    answer = page.goto("/audit?from=2026-11-20T00:00&to=2026-11-01T00:00")
    assert answer is not None
    assert answer.status == 422
    expect(page.get_by_text("is after to")).to_be_visible()
