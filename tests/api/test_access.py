"""Who may do what: tokens, roles, sessions, other sites, and what is logged of refusals."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from registry.application.access import Grant, Principal, check_actor, split
from registry.domain.errors import BadInputError, NotFoundError
from registry.server import create_app
from registry.store.tokens import TokenFile
from registry.transport.services import Services
from tests.api.conftest import Mint, bearer
from tests.api.test_rest import BOTS
from tests.stage import BOT, Stage

MODEL = {"model": "new"}


def statuses(locked: TestClient, token: str) -> dict[str, int]:
    headers = bearer(token)
    return {
        "read": locked.get(BOTS, headers=headers).status_code,
        "develop": locked.post(f"{BOTS}/versions/1/deploy", headers=headers).status_code,
        "approve": locked.post(f"{BOTS}/versions/1/approve", headers=headers).status_code,
        "administer": locked.put(f"{BOTS}/policy", json={"approvals": 0}, headers=headers).status_code,
        "log": locked.get("/api/v1/events", headers=headers).status_code,
    }


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("viewer", {"read", "log"}),
        ("user", set[str]()),
        ("developer", {"read", "develop", "log"}),
        ("approver", {"read", "approve", "log"}),
        ("admin", {"read", "develop", "approve", "administer", "log"}),
        (f"admin:{BOT}", {"read", "develop", "approve", "administer"}),
        ("admin:other", set[str]()),
    ],
)
def test_a_role_permits_what_it_says_and_nothing_else(
    locked: TestClient, stage: Stage, mint: Mint, role: str, allowed: set[str]
) -> None:
    stage.trained()
    found = statuses(locked, mint(role))
    assert {action for action, status in found.items() if status < 300} == allowed
    assert {status for action, status in found.items() if action not in allowed} <= {403}


def test_lists_show_what_one_may_see(locked: TestClient, stage: Stage, mint: Mint) -> None:
    stage.active()
    stage.active("other")
    token = mint("viewer:other")
    assert [one["model"] for one in locked.get("/api/v1/models", headers=bearer(token)).json()["items"]] == ["other"]
    found = locked.get("/api/v1/deployments", headers=bearer(token)).json()["items"]
    assert {one["model"] for one in found} == {"other"}
    assert locked.get(f"/api/v1/deployments/{stage.deployments()[0].id}", headers=bearer(token)).status_code == 404
    assert locked.get("/api/v1/models", headers=bearer(mint("user"))).status_code == 403


def test_what_is_done_bears_the_name_of_whoever_did_it(locked: TestClient, stage: Stage, mint: Mint) -> None:
    made = locked.post("/api/v1/models", json=MODEL, headers=bearer(mint("developer", actor="user:carla")))
    assert made.json()["created_by"] == "user:carla"
    named = {**bearer(mint("developer", actor="user:dan")), "Tenure-Actor": "user:boss"}
    assert locked.post("/api/v1/models", json={"model": "b"}, headers=named).json()["created_by"] == "user:dan"
    assert stage.history("new")[0].actor == "user:carla"


def test_without_a_token_only_the_servers_health_is_told(locked: TestClient) -> None:
    refused = locked.get("/api/v1/models")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert locked.get("/metrics").status_code == 401
    assert locked.get("/openapi.json").status_code == 401
    assert locked.get("/healthz").json() == {"status": "alive"}
    assert locked.get("/readyz").json() == {"status": "ready"}
    asked = locked.post("/v1/chat/completions", json={})
    assert "message" in asked.json()["error"], "in the shape that OpenAI's clients read"


def test_people_are_sent_to_the_sign_in_page_and_back(locked: TestClient) -> None:
    sent = locked.get("/models/bot?as_of=3", headers={"Accept": "text/html"})
    assert sent.status_code == 303
    assert sent.headers["location"] == "/login?next=" + quote("/models/bot?as_of=3", safe="")
    assert locked.get("/api/v1/models", headers={"Accept": "text/html"}).status_code == 401


@pytest.mark.parametrize("shown", ["nonsense", "tenure_0000000001_wrong", "tenure_nobody_x", "tenure__x"])
def test_a_wrong_token_is_refused(locked: TestClient, mint: Mint, shown: str) -> None:
    mint("admin")
    assert locked.get("/api/v1/models", headers=bearer(shown)).status_code == 401


def test_a_token_ends_when_it_expires_or_is_revoked(
    locked: TestClient, stage: Stage, mint: Mint, tokens: TokenFile
) -> None:
    short = mint("viewer", expires_at=stage.clock() + timedelta(hours=1))
    long = mint("viewer")
    assert locked.get("/api/v1/models", headers=bearer(short)).status_code == 200
    stage.clock.advance(hours=2)
    expired = locked.get("/api/v1/models", headers=bearer(short))
    assert (expired.status_code, "expired" in expired.json()["detail"]) == (401, True)
    assert locked.get("/api/v1/models", headers=bearer(long)).status_code == 200
    parts = split(long)
    assert parts is not None
    TokenFile(stage.home).revoke(parts[0], stage.clock())
    assert locked.get("/api/v1/models", headers=bearer(long)).status_code == 401
    assert [one.revoked_at is not None for one in tokens.all()] == [False, True]


def test_a_token_may_have_a_rate(locked: TestClient, mint: Mint) -> None:
    token = mint("viewer", rate_max=2.0)
    answers = [locked.get("/api/v1/models", headers=bearer(token)) for _ in range(4)]
    assert [one.status_code for one in answers[:2]] == [200, 200]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_whoever_tries_tokens_is_slowed_down(locked: TestClient, mint: Mint) -> None:
    answers = [locked.get("/api/v1/models", headers=bearer(f"tenure_x_{n}")).status_code for n in range(12)]
    assert answers[:10] == [401] * 10
    assert answers[-1] == 429
    assert locked.get("/api/v1/models", headers=bearer(mint("viewer"))).status_code == 200, "a good token goes on"


def test_refusals_are_logged_with_who_and_why_and_no_secret(
    locked: TestClient, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    token = mint("viewer", actor="user:eve")
    with caplog.at_level(logging.INFO, "tenure.http"):
        locked.post("/api/v1/models", json=MODEL, headers=bearer(token))
        locked.get("/api/v1/models?secret=1", headers=bearer("tenure_0_wrong"))
    told = [record.__dict__["fields"] for record in caplog.records if record.message == "refused"]
    assert told[0]["actor"] == "user:eve"
    assert "may not develop" in told[0]["why"]
    assert told[1]["path"] == "/api/v1/models"
    text = json.dumps([record.__dict__.get("fields") for record in caplog.records])
    assert token not in text
    assert "secret" not in text
    assert "wrong" not in text


def test_refusals_to_chat_and_to_sign_in_are_logged_too(
    guarded: Services, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(guarded, shells=["registry.api", "registry.gateway"])
    with TestClient(app, follow_redirects=False) as client, caplog.at_level(logging.WARNING, "tenure.http"):
        body: dict[str, object] = {"model": "a" * 10_000, "messages": []}
        headers = bearer(mint("viewer", actor="user:eve"))
        assert client.post("/v1/chat/completions", json=body, headers=headers).status_code == 403
        assert client.post("/session", data={"token": "tenure_0_wrong"}).status_code == 303
    told = [record.__dict__["fields"] for record in caplog.records if record.message == "refused"]
    assert [(one["actor"], one["path"]) for one in told] == [("user:eve", "/v1"), ("anonymous", "/session")]
    assert "may not chat" in told[0]["why"]
    assert len(told[0]["why"]) < 300
    assert "not known here" in told[1]["why"]


# Browsers


def test_a_browser_signs_in_with_a_token_and_out_again(locked: TestClient, mint: Mint) -> None:
    assert locked.post("/session", data={"token": "nonsense"}).headers["location"] == "/login?error=1&next=%2F"
    wrong = locked.post("/session", data={"token": "tenure_0_x", "next": "/models"})
    assert (wrong.status_code, wrong.headers["location"]) == (303, "/login?error=1&next=%2Fmodels")
    signed = locked.post("/session", data={"token": mint("viewer"), "next": "/models"})
    assert (signed.status_code, signed.headers["location"]) == (303, "/models")
    cookie = signed.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert locked.get("/api/v1/models").status_code == 200
    assert locked.post("/api/v1/models", json=MODEL).status_code == 403, "a viewer"
    locked.post("/session/end")
    assert locked.get("/api/v1/models").status_code == 401


def test_a_session_ends_with_its_token(locked: TestClient, mint: Mint, tokens: TokenFile, stage: Stage) -> None:
    locked.post("/session", data={"token": mint("viewer")})
    assert locked.get("/api/v1/models").status_code == 200
    tokens.revoke(tokens.all()[0].id, stage.clock())
    assert locked.get("/api/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("https://tenure.example.org/fine-tune?connection=cloud", "%2Ffine-tune%3Fconnection%3Dcloud"),
        ("https://[::1", "%2F"),
        ("", "%2F"),
    ],
)
def test_a_form_that_is_sent_after_the_session_has_ended_leads_to_sign_in_and_back_to_it(
    locked: TestClient, referer: str, back: str
) -> None:
    headers = {"Accept": "text/html", "Referer": referer}
    answer = locked.post("/models/bot/1/do/retire", data={"reason": "x"}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={back}&ended=")


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\n/evil.example", "evil"]
)
def test_signing_in_leads_nowhere_else(locked: TestClient, mint: Mint, target: str) -> None:
    signed = locked.post("/session", data={"token": mint("viewer"), "next": target})
    assert signed.headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
)
def test_another_site_cannot_act_with_what_a_browser_holds(rest: TestClient, headers: dict[str, str]) -> None:
    refused = rest.post("/api/v1/models", json=MODEL, headers=headers)
    assert (refused.status_code, "another site" in refused.json()["detail"]) == (403, True)
    assert rest.get("/api/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://testserver"}, {"Sec-Fetch-Site": "none"}, {}]
)
def test_a_page_of_the_registry_itself_can(rest: TestClient, headers: dict[str, str]) -> None:
    assert rest.post("/api/v1/models", json=MODEL, headers=headers).status_code == 201


def test_every_answer_bears_the_headers_that_protect_pages(rest: TestClient, locked: TestClient) -> None:
    for answer in (rest.get("/healthz"), rest.get("/nowhere"), locked.get("/api/v1/models")):
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


# Loopback


@pytest.fixture
def loopback(services: Services) -> TestClient:
    return TestClient(create_app(services, shells=["registry.api"], loopback=True), base_url="http://127.0.0.1:8321")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8321"}, 200),
        ({"Host": "[::1]:8321"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "tenure.localhost"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8321"}, 403),
        ({"X-Forwarded-For": "10.0.0.1"}, 403),
        ({"Forwarded": "for=10.0.0.1"}, 403),
    ],
)
def test_without_tokens_only_this_machine_may_ask_by_its_own_name(
    loopback: TestClient, headers: dict[str, str], status: int
) -> None:
    assert loopback.get("/api/v1/models", headers=headers).status_code == status


def test_on_loopback_one_may_say_for_whom_one_acts(rest: TestClient, services: Services) -> None:
    named = rest.post("/api/v1/models", json=MODEL, headers={"Tenure-Actor": "user:ben"})
    assert named.json()["created_by"] == "user:ben"
    odd = rest.post("/api/v1/models", json={"model": "b"}, headers={"Tenure-Actor": "<script>"})
    assert odd.json()["created_by"] == "user:ana"
    by_secret = rest.post("/api/v1/models", json={"model": "c"}, headers=bearer(services.gate.local_secret))
    assert by_secret.json()["created_by"] == "user:ana"
    client = rest.get("/api/v1/models", headers=bearer("sk-anything"))
    assert client.status_code == 200, "OpenAI's clients always send a key"


# Tokens


def test_tokens_are_kept_as_digests_for_their_owner_alone(stage: Stage, mint: Mint, tokens: TokenFile) -> None:
    shown = mint("viewer", f"approver:{BOT}")
    (token,) = tokens.all()
    text = (stage.home / "tokens.json").read_text()
    assert shown.rpartition("_")[2] not in text
    assert (stage.home / "tokens.json").stat().st_mode & 0o077 == 0
    assert token.as_json()["roles"] == [f"approver:{BOT}", "viewer"]
    assert "digest" not in token.as_json()
    assert TokenFile(stage.home).find(token.id) == token


def test_it_is_kept_when_a_token_was_last_used(stage: Stage, mint: Mint, tokens: TokenFile) -> None:
    mint("viewer")
    (token,) = tokens.all()
    tokens.flush()
    assert not (stage.home / "tokens-used.json").exists()
    now = stage.clock()
    tokens.used(token.id, now)
    tokens.flush()
    assert TokenFile(stage.home).all()[0].last_used_at == now


def test_a_damaged_token_file_is_told_and_lets_nobody_in(locked: TestClient, stage: Stage, mint: Mint) -> None:
    token = mint("admin")
    (stage.home / "tokens.json").write_text("{")
    assert locked.get("/api/v1/models", headers=bearer(token)).status_code == 503
    (stage.home / "tokens.json").unlink()
    assert locked.get("/api/v1/models", headers=bearer(token)).status_code == 401


def test_what_is_no_role_no_actor_and_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not a role"):
        Grant.parse("king")
    with pytest.raises(BadInputError, match="not a model name"):
        Grant.parse("viewer:No Model")
    for actor in ("ana", "policy:delete-idle", "provider:azure-prod"):
        with pytest.raises(BadInputError, match="not an actor"):
            check_actor(actor)
    with pytest.raises(NotFoundError, match="no token"):
        TokenFile(tmp_path).revoke("x", Stage(tmp_path).clock())
    assert not Principal(actor="user:x", grants=frozenset()).may_somewhere("read")
