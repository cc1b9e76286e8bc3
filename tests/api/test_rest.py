"""REST: the life of a version, in the shapes of the views, with somewhere to watch."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from registry.domain.ids import VersionRef
from tests.stage import BOT, Stage

CSV = b"prompt,completion\n" + b"".join(b"q%d,a%d\n" % (row, row) for row in range(20))
BOTS = f"/api/v1/models/{BOT}"


def upload(rest: TestClient, content: bytes = CSV, name: str = "train.csv") -> str:
    answer = rest.post(f"/api/v1/datasets?name={name}", content=content)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def fine_tune(rest: TestClient, **more: object) -> Any:
    body = {"connection": "cloud", "base_model": "base", "train": upload(rest), **more}
    answer = rest.post(f"{BOTS}/versions", json=body)
    assert answer.status_code == 202, answer.text
    return answer


def test_a_version_is_fine_tuned_activated_and_rolled_back_over_http(rest: TestClient, stage: Stage) -> None:
    begun = fine_tune(rest, validation=upload(rest), reason="refunds", hyperparameters={"n_epochs": 2})
    assert begun.headers["location"] == f"{BOTS}/versions/1"
    assert (begun.json()["ref"], begun.json()["state"], begun.json()["created_by"]) == ("bot@1", "queued", "user:ana")
    stage.settle()
    watched = rest.get(begun.headers["location"])
    assert watched.json() == stage.version(VersionRef(BOT, 1)).as_json()
    assert watched.json()["state"] == "trained"

    asked = rest.put(f"{BOTS}/active", json={"version": 1, "reason": "better"})
    assert (asked.status_code, asked.json()["state"]) == (202, "deploying")
    stage.settle()
    again = rest.put(f"{BOTS}/active", json={"version": 1})
    assert (again.status_code, again.json()["active"]) == (200, True)
    assert rest.get(f"{BOTS}/active").json() == {"model": BOT, "version": 1, "ref": "bot@1"}

    fine_tune(rest, activate=True)
    stage.settle()
    assert rest.get(BOTS).json()["active"] == "bot@2"
    assert rest.put(f"{BOTS}/active", json={"version": 1}).status_code == 202
    stage.settle()
    assert [one["state"] for one in rest.get(f"{BOTS}/versions").json()["items"]] == ["retired", "active"]
    retired = rest.post(f"{BOTS}/versions/1/retire", json={"reason": "end"})
    assert (retired.status_code, retired.json()["state"]) == (200, "retired")
    history = rest.get(f"{BOTS}/versions/1/events").json()["items"]
    assert history[-1]["type"] == "version-retired"
    assert (history[-1]["reason"], history[-1]["actor"]) == ("end", "user:ana")


def test_a_refused_move_is_a_problem_that_names_the_state_and_the_legal_moves(rest: TestClient, stage: Stage) -> None:
    fine_tune(rest)
    head = stage.log.head()
    answer = rest.put(f"{BOTS}/active", json={"version": 1})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["state"], problem["title"]) == (409, "queued", "Refused in this state")
    assert "cancel" in problem["legal"]
    assert stage.log.head() == head, "a refused command writes nothing"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models/nobody",
        f"{BOTS}/versions/7",
        "/api/v1/deployments/dep_0",
        "/api/v1/connections/none",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_404(rest: TestClient, path: str) -> None:
    answer = rest.get(path)
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_moves_are_made_and_told_by_their_own_routes(rest: TestClient, stage: Stage) -> None:
    fine_tune(rest)
    cancelled = rest.post(f"{BOTS}/versions/1/cancel", json={"reason": "wrong data"})
    assert cancelled.json()["state"] == "cancelled"
    stage.settle()
    retried = rest.post(f"{BOTS}/versions/1/retry")
    assert (retried.status_code, retried.json()["attempt"]) == (202, 2)
    stage.settle()
    approved = rest.post(f"{BOTS}/versions/1/approve")
    assert approved.json()["approvals"] == ["user:ana"]
    deployed = rest.post(f"{BOTS}/versions/1/deploy", json={"reason": "standby"})
    assert (deployed.status_code, deployed.json()["ref"]) == (202, "bot@1")
    stage.settle()
    where = deployed.headers["location"]
    assert rest.get(where).json()["state"] == "serving"
    assert [one["id"] for one in rest.get(f"{BOTS}/versions/1/deployments").json()["items"]] == [deployed.json()["id"]]
    assert rest.get("/api/v1/deployments?billed=true").json()["items"][0]["billed"] is True
    assert rest.get("/api/v1/deployments?billed=false").json()["items"] == []
    gone = rest.delete(f"{where}?reason=unused")
    assert (gone.status_code, gone.json()["state"]) == (202, "deleting")
    stage.settle()
    assert rest.delete(where).status_code == 200
    deleted = rest.delete(f"{BOTS}/versions/1")
    assert deleted.status_code == 202
    stage.settle()
    assert rest.get(f"{BOTS}/versions/1").json()["state"] == "deleted"
    assert rest.delete(f"{BOTS}/versions/1").status_code == 200


def test_what_exists_is_imported_and_its_deployment_attached(rest: TestClient, stage: Stage) -> None:
    first = stage.active()
    artifact = stage.version(first).artifact
    assert artifact is not None
    listed = rest.get("/api/v1/connections/cloud/artifacts").json()["items"]
    assert artifact.id in {one["id"] for one in listed}
    imported = rest.post("/api/v1/models/copy/versions", json={"connection": "cloud", "artifact": {"id": artifact.id}})
    assert (imported.status_code, imported.json()["state"]) == (201, "trained")
    (deployment,) = stage.deployments()
    attached = rest.post("/api/v1/models/copy/versions/1/attach", json={"deployment": deployment.name})
    assert attached.status_code == 409, "it is another version's already"
    again = rest.post(f"{BOTS}/versions/1/attach", json={"deployment": deployment.name})
    assert (again.status_code, again.json()["id"]) == (200, deployment.id)


def test_loss_points_and_costs_are_listed(rest: TestClient, stage: Stage) -> None:
    stage.active()
    points = rest.get(f"{BOTS}/versions/1/metrics").json()["items"]
    assert {one["name"] for one in points} >= {"train_loss", "valid_loss"}
    stage.clock.advance(hours=1)
    audit = rest.get("/api/v1/audit/deployments").json()
    assert audit["deployments"][0]["intervals"][0]["hourly_rate"] == "1.80"
    costs = rest.get("/api/v1/audit/costs?by=model").json()
    assert costs["groups"][0]["model"] == BOT
    table = rest.get("/api/v1/audit/deployments?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[0].startswith("kind,id,ref")
    assert "bot@1" in table.text
    assert rest.get("/api/v1/audit/costs?from=yesterday").status_code == 422
    assert rest.get("/api/v1/audit/costs?by=planet").status_code == 422


def test_connections_are_declared_tried_changed_and_forgotten(rest: TestClient) -> None:
    body = {"name": "second", "provider": "openai", "api_key_env": "KEY"}
    made = rest.post("/api/v1/connections", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/connections/second")
    assert rest.post("/api/v1/connections", json=body).status_code == 200
    assert rest.get("/api/v1/connections/second").json()["settings"] == {"api_key_env": "KEY"}
    assert "second" in [one["name"] for one in rest.get("/api/v1/connections").json()["items"]]
    assert rest.post("/api/v1/connections/second/test").json()["items"]
    stale = rest.delete("/api/v1/connections/second", headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    assert rest.delete("/api/v1/connections/second").status_code == 204
    assert rest.get("/api/v1/connections/second").status_code == 404


def test_a_document_is_applied_and_a_policy_is_put_in_the_shape_it_is_got_in(rest: TestClient) -> None:
    document = {"models": {BOT: {"policy": {"approvals": 1}}}}
    planned = rest.post("/api/v1/apply?plan=true", json=document).json()["items"]
    assert [one["kind"] for one in planned] == ["change"]
    assert rest.get(f"{BOTS}/policy").json()["approvals"] == 0
    assert rest.post("/api/v1/apply", json=document).json()["items"] == planned
    policy = rest.get(f"{BOTS}/policy").json()
    assert policy["approvals"] == 1
    changed = rest.put(f"{BOTS}/policy", json={**policy, "approvals": 2})
    assert changed.json() == {**policy, "approvals": 2}
    assert rest.put(f"{BOTS}/policy", json=changed.json()).headers["etag"] == changed.headers["etag"], "nothing changed"
    wrong = rest.put(f"{BOTS}/policy", json={"colour": "red"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "colour")
    assert rest.get(f"{BOTS}/policy/plan").json() == {"items": [], "next": None}


def test_a_policys_plan_is_the_one_that_the_command_line_tells(rest: TestClient, stage: Stage) -> None:
    """What the policy does by itself, and nothing of what the reconciler does all the time."""
    stage.active()
    stage.active()
    (told,) = rest.get(f"{BOTS}/policy/plan").json()["items"]
    assert (told["actor"], told["subject"]) == ("policy:delete-superseded", stage.deployments()[0].id)


def test_a_model_is_declared_and_has_no_version_yet(rest: TestClient) -> None:
    made = rest.post("/api/v1/models", json={"model": "empty", "policy": {"approvals": 2}})
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/models/empty")
    assert made.json()["policy"]["approvals"] == 2
    assert rest.get("/api/v1/models/empty/versions").json() == {"items": [], "next": None}
    assert rest.get("/api/v1/models/empty/active").json() == {"model": "empty", "version": None, "ref": None}
    assert rest.post("/api/v1/models", json={"model": "Not A Name"}).status_code == 422


def test_a_pass_is_made_or_only_planned(rest: TestClient, stage: Stage) -> None:
    fine_tune(rest)
    head = stage.log.head()
    planned = rest.post("/api/v1/reconcile?plan=true").json()["items"]
    assert {one["outcome"] for one in planned} == {"planned"}
    assert stage.log.head() == head
    assert rest.post("/api/v1/reconcile").json()["items"]
    assert stage.log.head() > head


def test_an_estimate_says_what_it_would_take_and_begins_nothing(rest: TestClient) -> None:
    body = {"connection": "cloud", "base_model": "base", "train": upload(rest)}
    answer = rest.post(f"{BOTS}/versions?estimate=true", json=body)
    assert (answer.status_code, answer.json()["train"]["rows"]) == (200, 21)
    assert rest.get(f"{BOTS}/versions").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"connection": "cloud"},
        {"connection": "cloud", "base_model": "base"},
        {"connection": "cloud", "base_model": "base", "train": "ds_nonsense"},
        {"connection": "cloud", "base_model": "base", "train": "ds_" + "0" * 24, "artifact": {"id": "a"}},
        {"connection": "cloud", "artifact": {"id": "a"}, "surprise": 1},
    ],
)
def test_a_new_version_is_a_fine_tune_or_an_import_and_nothing_else(rest: TestClient, body: object) -> None:
    answer = rest.post(f"{BOTS}/versions", json=body)
    assert answer.status_code == 422
    assert answer.json()["faults"]


def test_data_that_were_never_sent_are_not_found(rest: TestClient) -> None:
    body = {"connection": "cloud", "base_model": "base", "train": "ds_" + "0" * 24}
    answer = rest.post(f"{BOTS}/versions", json=body)
    assert (answer.status_code, answer.json()["hint"]) == (404, "send it to POST /api/v1/datasets")
