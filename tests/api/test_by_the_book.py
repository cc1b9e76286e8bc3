"""What HTTP's own rules promise beside our own, as a client that knows only them would ask (RFC 9110)."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from registry.server import create_app
from registry.transport.services import Services
from tests.api.conftest import Mint, bearer
from tests.api.test_rest import BOTS
from tests.stage import ANA, BOT, Stage


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/api/v1/models", BOTS, f"{BOTS}/versions/1", "/api/v1/events/stream"]
)
def test_head_is_get_without_a_body(rest: TestClient, stage: Stage, path: str) -> None:
    stage.trained()
    head = rest.head(path)
    assert (head.status_code, head.content) == (200, b"")
    if not path.endswith("/stream"):
        shown = rest.get(path)
        assert head.headers["content-type"] == shown.headers["content-type"]
        assert head.headers.get("etag") == shown.headers.get("etag")
    assert rest.head(f"{BOTS}/versions/99").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/v1/models", "GET, HEAD, POST"),
        ("POST", f"{BOTS}/policy", "GET, HEAD, PUT"),
        ("PUT", f"{BOTS}/versions/1", "DELETE, GET, HEAD"),
        ("GET", f"{BOTS}/versions/1/retire", "POST"),
    ],
)
def test_a_method_that_is_not_allowed_is_answered_with_all_that_are(
    rest: TestClient, method: str, path: str, allowed: str
) -> None:
    refused = rest.request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


def test_the_gateway_says_what_is_allowed(services: Services) -> None:
    with TestClient(create_app(services)) as client:
        assert client.get("/v1/chat/completions").headers["allow"] == "POST"
        assert client.post("/v1/models").headers["allow"] == "GET, HEAD"
        assert client.head("/v1/models").status_code == 200
        assert "allow" not in client.post("/v1/embeddings").headers


@pytest.mark.parametrize("tag", ['"none-of-ours"', '""', 'W/"1"', 'W/"{now}"'])
def test_tags_that_do_not_match_refuse_the_change(rest: TestClient, tag: str) -> None:
    rest.post("/api/v1/models", json={"model": BOT})
    rest.put(f"{BOTS}/policy", json={"keep_artifacts": 1})
    now = rest.get(BOTS).headers["etag"].strip('"')
    stale = rest.put(f"{BOTS}/policy", json={"keep_artifacts": 2}, headers={"If-Match": tag.format(now=now)})
    assert stale.status_code == 412
    assert rest.get(f"{BOTS}/policy").json()["keep_artifacts"] == 1


def test_the_tag_of_an_activation_is_that_of_what_was_put(rest: TestClient, stage: Stage) -> None:
    stage.trained()
    asked = rest.put(f"{BOTS}/active", json={"version": 1})
    assert asked.headers["etag"] == rest.get(f"{BOTS}/active").headers["etag"]
    again = rest.put(f"{BOTS}/active", json={"version": 1}, headers={"If-Match": asked.headers["etag"]})
    assert again.status_code == 202


def test_a_list_goes_on_behind_what_is_no_longer_in_it(rest: TestClient, stage: Stage) -> None:
    for _ in range(3):
        rest.post(f"{BOTS}/versions/{stage.trained().number}/deploy")
    stage.settle()
    first, second, third = (one["id"] for one in rest.get("/api/v1/deployments?billed=true").json()["items"])
    page = rest.get("/api/v1/deployments?billed=true&limit=1").json()
    assert [one["id"] for one in page["items"]] == [first]
    assert rest.delete(f"/api/v1/deployments/{first}").status_code == 202
    for _ in range(5):
        stage.let_pass(minutes=5)
        stage.settle()
    assert rest.get(f"/api/v1/deployments/{first}").json()["billed"] is False
    rest_of_it = rest.get(f"/api/v1/deployments?billed=true&limit=1&cursor={page['next']}").json()
    assert [one["id"] for one in rest_of_it["items"]] == [second]
    last = rest.get(f"/api/v1/deployments?billed=true&limit=1&cursor={rest_of_it['next']}").json()
    assert ([one["id"] for one in last["items"]], last["next"]) == ([third], None)


def test_the_log_and_the_losses_are_told_as_of_a_time_too(rest: TestClient, stage: Stage) -> None:
    stage.trained()
    head = stage.log.head()
    whole = rest.get("/api/v1/events?limit=1000").json()["items"]
    then = rest.get(f"/api/v1/events?limit=1000&as_of={head - 2}").json()
    assert (then["items"], then["next"]) == (whole[: head - 2], None)
    metrics = f"{BOTS}/versions/1/metrics"
    submitted = next(one["position"] for one in whole if one["type"] == "training-submitted")
    assert rest.get(f"{metrics}?as_of={head}").json() == rest.get(metrics).json()
    assert rest.get(metrics).json()["items"]
    assert rest.get(f"{metrics}?as_of=1").status_code == 404
    assert rest.get(f"{metrics}?as_of={submitted}").json()["items"] == []
    for path in (metrics, "/api/v1/events"):
        assert rest.get(f"{path}?as_of=soon").status_code == 422


def test_what_is_not_json_is_told_in_words(rest: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    broken = rest.post("/api/v1/models", content=b'{"model": }', headers=headers).json()
    assert (broken["status"], broken["field"]) == (422, "body")
    assert broken["detail"] == "the body is not JSON: Expecting value, at character 10"
    form = rest.post("/api/v1/models", content=b'{"model": "x"}', headers={"Content-Type": "text/plain"}).json()
    assert form["hint"] == "send JSON, and say so: Content-Type: application/json (it said text/plain)"


@pytest.mark.parametrize(
    ("headers", "length", "status", "kind", "code"),
    [
        ({}, 2, 401, "authentication_error", "not_signed_in"),
        ({"Authorization": "Bearer tenure_x_y"}, 2, 401, "authentication_error", "not_signed_in"),
        ({"Content-Length": "99999999"}, 2, 413, "invalid_request_error", "too_large"),
    ],
)
def test_what_is_refused_before_the_gateway_has_openais_shape(
    guarded: Services, headers: dict[str, str], length: int, status: int, kind: str, code: str
) -> None:
    with TestClient(create_app(guarded)) as client:
        refused = client.post("/v1/chat/completions", content=b"{}"[:length], headers=headers)
    error = json.loads(refused.content)["error"]
    assert (refused.status_code, error["type"], error["code"], error["param"]) == (status, kind, code, None)


def test_what_is_not_there_is_not_told_with_the_names_of_others(locked: TestClient, stage: Stage, mint: Mint) -> None:
    stage.active()
    (deployment,) = stage.deployments()
    mine = bearer(mint("developer:mine"))
    assert "bot" in locked.get("/api/v1/models/mine", headers=bearer(mint("viewer"))).text
    hidden = locked.get("/api/v1/models/mine", headers=mine)
    assert hidden.status_code == 404
    assert BOT not in hidden.text
    for name in (deployment.id, deployment.name):
        for method in ("GET", "DELETE"):
            there = locked.request(method, f"/api/v1/deployments/{name}", headers=mine)
            nowhere = locked.request(method, "/api/v1/deployments/dep_nowhere", headers=mine)
            assert (there.status_code, nowhere.status_code) == (404, 404)
            assert there.text.replace(str(name), "dep_nowhere") == nowhere.text
    looker = bearer(mint("viewer", "developer:mine"))
    assert locked.delete(f"/api/v1/deployments/{deployment.id}", headers=looker).status_code == 403


@pytest.mark.parametrize(
    ("path", "body"), [("deploy", None), ("attach", {"deployment": "somewhere"}), ("pause", None), ("retire", None)]
)
def test_every_refusal_of_a_move_names_the_state_and_what_is_legal_from_there(
    rest: TestClient, stage: Stage, path: str, body: object
) -> None:
    stage.registry.commands.fine_tune(stage.wanted(), ANA)
    stage.run()
    refused = rest.post(f"{BOTS}/versions/1/{path}", json=body).json()
    assert refused["status"] in {404, 409}
    if refused["status"] == 409:
        assert refused["state"] == rest.get(f"{BOTS}/versions/1").json()["state"]
        assert "cancel" in refused["legal"]


def test_a_version_that_lacks_approvals_may_still_be_deleted(rest: TestClient, stage: Stage) -> None:
    stage.policy(approvals=1)
    stage.trained()
    refused = rest.put(f"{BOTS}/active", json={"version": 1}).json()
    assert (refused["status"], refused["state"], refused["legal"]) == (409, "trained", ["activate", "delete"])


def test_a_watcher_who_has_seen_nothing_yet_may_say_so(rest: TestClient) -> None:
    assert rest.head("/api/v1/events/stream", headers={"Last-Event-ID": ""}).status_code == 200
