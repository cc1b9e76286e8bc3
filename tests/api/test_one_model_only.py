"""Rights on one model: no route and no page tells of another model, whatever it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from registry.server import create_app
from registry.transport.services import Services
from registry.web.app import PAGES
from tests.api.conftest import Mint, bearer
from tests.stage import Stage

HIDDEN = "hidden-bot"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Both models were declared by one command, so that their events have one correlation id."""
    document: dict[str, dict[str, object]] = {
        "connections": {"cloud": {"provider": "azure-openai", "sku": "Standard"}},
        "models": {HIDDEN: {}, "mine": {}},
    }
    stage = Stage(tmp_path, document=document)
    stage.active(HIDDEN)
    stage.active("mine")
    return stage


@pytest.fixture
def site(guarded: Services, mint: Mint) -> Iterator[TestClient]:
    app = create_app(guarded, shells=["registry.api", "registry.web"])
    headers = bearer(mint("admin:mine", actor="user:eve"))
    with TestClient(app, follow_redirects=False, headers=headers) as client:
        yield client


def asked(stage: Stage, client: TestClient) -> Iterator[tuple[str, str]]:
    """Every method and path, aimed at the model that is hidden, and every event."""
    (deployment,) = stage.deployments(HIDDEN)
    aimed = {"model": HIDDEN, "n": "1", "version": "1", "id": deployment.id, "name": "cloud", "key": "log"}

    def filled(path: str) -> str:
        return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: aimed.get(found[1], "1"), path)

    for path, methods in client.get("/openapi.json").json()["paths"].items():
        yield from ((method.upper(), filled(path)) for method in methods if not path.endswith("/stream"))
    for page in PAGES:
        yield "GET", filled(page)
        yield "GET", filled(page.replace("{model}", "mine"))
    yield from (("GET", f"/events/{position}") for position in range(1, stage.log.head() + 1))


def test_whoever_has_every_right_on_one_model_is_told_nothing_of_another(stage: Stage, site: TestClient) -> None:
    (deployment,) = stage.deployments(HIDDEN)
    told: list[str] = []
    answered = 0
    for method, path in asked(stage, site):
        sent = b"{}" if method in {"POST", "PUT"} else None
        headers = {"Accept": "text/html", "Content-Type": "application/json"}
        answer = site.request(method, path, headers=headers, content=sent)
        answered += answer.status_code < 300
        text = answer.text.replace(path, "").replace(f"model &#39;{HIDDEN}&#39;", "").replace(f"model '{HIDDEN}'", "")
        text = text.replace(f"there is no deployment '{deployment.id}'", "")
        if HIDDEN in text or deployment.id in text or answer.status_code >= 500:
            told.append(f"{answer.status_code} {method} {path}")
    assert told == []
    assert answered > 20, "their own model is shown"


def test_deployments_beside_what_providers_show_are_cut_to_what_one_may_see(stage: Stage, site: TestClient) -> None:
    """As their list is: `tenure deployments` asks for this."""
    stage.cloud().stranger("somebody-elses", "ft:theirs")
    seen = site.get("/api/v1/deployments/side-by-side")
    assert (seen.status_code, [one["model"] for one in seen.json()["items"]]) == (200, ["mine"])
    assert site.get(f"/api/v1/deployments/side-by-side?model={HIDDEN}").status_code == 403


def test_the_stream_of_events_is_cut_to_what_one_may_see(stage: Stage, site: TestClient) -> None:
    seen = site.get("/api/v1/deployments").json()["items"]
    assert {one["model"] for one in seen} == {"mine"}
    assert site.get("/api/v1/events").status_code == 403, "the whole log"
    hidden = next(event.position for event in stage.log.read() if event.stream == f"model:{HIDDEN}")
    assert site.get(f"/events/{hidden}").status_code == 403
    beside = next(event.position for event in stage.log.read() if event.stream == "model:mine")
    shown = site.get(f"/events/{beside}")
    assert (shown.status_code, HIDDEN in shown.text) == (200, False), "declared by the same command"
