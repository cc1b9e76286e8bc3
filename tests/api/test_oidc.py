"""People sign in at an OpenID Connect provider: there and back, whom they become, and every way it goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from starlette.testclient import TestClient

from registry.application.signing_in import SignIn
from registry.domain.errors import BadInputError
from registry.server import create_app
from registry.transport.gate import SESSION_S
from registry.transport.services import Services
from tests.api.conftest import Mint, bearer
from tests.api.oidc_provider import CLIENT, SECRET, OidcProvider, fresh_key
from tests.stage import ANA, BOT, Stage

PAGES = {"Accept": "text/html"}
ANAS = {"email": "Ana@example.org", "email_verified": True, "groups": ["ml", "everyone"]}
Json = dict[str, Any]


@pytest.fixture
def provider(stage: Stage) -> Iterator[OidcProvider]:
    provider = OidcProvider(now=lambda: stage.clock().timestamp(), person=dict(ANAS))
    provider.start()
    yield provider
    provider.host.close()


def configured(stage: Stage, provider: OidcProvider, **more: object) -> Json:
    table: Json = {
        "issuer": provider.url,
        "client_id": CLIENT,
        "client_secret_env": "TENURE_TEST_OIDC",
        "url": "http://127.0.0.1:8321/",
        "groups": {"ml": ["developer"], "leads": [f"approver:{BOT}"]},
        "emails": {"boss@example.org": ["admin"]},
        **more,
    }
    stage.registry.declaring.apply({"oidc": table}, ANA, plan=False)
    return table


@pytest.fixture
def settings(stage: Stage, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> Json:
    monkeypatch.setenv("TENURE_TEST_OIDC", SECRET)
    return configured(stage, provider)


@pytest.fixture
def site(settings: Json, guarded: Services) -> Iterator[TestClient]:
    """Pages and API where people sign in at the provider."""
    app = create_app(guarded, shells=["registry.api", "registry.web"])
    with TestClient(app, follow_redirects=False, base_url="http://127.0.0.1:8321", headers=PAGES) as client:
        yield client


def sent_back(site: TestClient, next: str = "/") -> str:
    """Where the provider sends a browser that this site has sent there: a path of this site."""
    gone = site.get("/session/begin", params={"next": next})
    assert gone.status_code == 303, gone.text
    back = urlsplit(httpx2.get(gone.headers["location"]).headers["location"])
    assert f"{back.scheme}://{back.netloc}" == "http://127.0.0.1:8321"
    return f"{back.path}?{back.query}"


def sign_in(site: TestClient, next: str = "/") -> httpx2.Response:
    return site.get(sent_back(site, next))


def who(site: TestClient) -> int:
    return site.get("/api/v1/models").status_code


# Whom one becomes


def test_a_person_signs_in_at_the_provider_and_acts_under_their_name(site: TestClient, stage: Stage) -> None:
    assert "Sign in at 127.0.0.1" in site.get("/login?next=/models/bot").text
    came = sign_in(site, "/models/bot?x=1&y=2")
    assert came.status_code == 200
    assert 'content="0;url=/models/bot?x=1&amp;y=2"' in came.text, "a page, so that the strict cookie comes along"
    cookies = {one.partition("=")[0]: one.lower() for one in came.headers.get_list("set-cookie")}
    assert "httponly" in cookies["tenure_session"]
    assert "samesite=strict" in cookies["tenure_session"]
    assert "max-age=0" in cookies["tenure_sign_in"]
    made = site.post("/api/v1/models", json={"model": "new"})
    assert (made.status_code, made.json()["created_by"]) == (201, "user:ana@example.org")
    assert stage.history("new")[0].actor == "user:ana@example.org"
    assert site.put("/api/v1/models/new/policy", json={}).status_code == 403, "a developer"
    assert "Sign out" in site.get("/").text


def test_a_group_may_give_a_role_on_one_model(site: TestClient, provider: OidcProvider, stage: Stage) -> None:
    stage.trained()
    provider.person["groups"] = "leads"
    sign_in(site)
    assert site.post(f"/api/v1/models/{BOT}/versions/1/approve").status_code == 200
    assert site.get("/api/v1/events").status_code == 403, "the whole log needs a role on all models"


def test_an_address_gives_a_role_only_when_the_provider_has_verified_it(
    site: TestClient, provider: OidcProvider, stage: Stage
) -> None:
    provider.person = {"email": "Boss@Example.org", "email_verified": True}
    sign_in(site)
    assert site.put("/api/v1/models/new/policy", json={}).status_code == 404, "an admin, and there is no such model"
    site.post("/session/end")
    provider.person = {"email": "boss@example.org", "email_verified": False, "groups": ["ml"]}
    refused = sign_in(site)
    assert (refused.status_code, "has not a verified email" in refused.text) == (403, True)
    configured(stage, provider, name_claim="preferred_username")
    provider.person["preferred_username"] = "boss"
    assert sign_in(site).status_code == 200
    made = site.post("/api/v1/models", json={"model": "new"})
    assert (made.status_code, made.json()["created_by"]) == (201, "user:boss")
    assert site.put("/api/v1/models/new/policy", json={}).status_code == 403, (
        "the unverified address counts for nothing"
    )


def test_whoever_has_no_role_is_refused_by_name_and_that_is_logged(
    site: TestClient, provider: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.person["groups"] = ["everyone"]
    with caplog.at_level(logging.WARNING, "tenure.http"):
        refused = sign_in(site)
    assert (refused.status_code, "user:ana@example.org has no role here" in refused.text) == (403, True)
    (told,) = [record.__dict__["fields"] for record in caplog.records if record.message == "refused"]
    assert "user:ana@example.org has no role here" in told["why"]
    assert who(site) == 401


def test_a_name_that_events_could_not_bear_is_refused(site: TestClient, provider: OidcProvider, stage: Stage) -> None:
    configured(stage, provider, name_claim="name")
    provider.person["name"] = "Ana <admin>"
    assert sign_in(site).status_code == 403
    del provider.person["name"]
    assert sign_in(site).status_code == 403


def test_a_role_that_is_taken_away_ends_in_sessions_that_are_open(
    site: TestClient, provider: OidcProvider, stage: Stage
) -> None:
    sign_in(site)
    assert who(site) == 200
    configured(stage, provider, groups={"ml": ["user"]})
    assert who(site) == 403
    configured(stage, provider, groups={})
    assert who(site) == 401
    stage.registry.declaring.apply({"oidc": {}}, ANA, plan=False)
    assert who(site) == 401
    assert "Sign in at" not in site.get("/login").text
    assert site.get("/session/begin").status_code == 404


def test_a_session_ends_after_twelve_hours_and_when_one_signs_out(
    site: TestClient, guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(site)
    site.post("/session/end")
    assert who(site) == 401
    monkeypatch.setattr("registry.transport.gate.SESSION_S", -1.0)
    sign_in(site)
    assert who(site) == 401
    assert SESSION_S == 12 * 3600


# Ways it goes wrong


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(site: TestClient, provider: OidcProvider) -> None:
    """Somebody else's answer, smuggled in: they would act under that person's name."""
    back = sent_back(site)
    site.cookies.clear()
    assert site.get(back).status_code == 401, "no cookie"
    begun = sent_back(site)
    query = parse_qs(urlsplit(begun).query)
    assert site.get(f"/session/callback?code={query['code'][0]}&state=wrong").status_code == 401
    assert site.get(f"/session/callback?code={query['code'][0]}").status_code == 401
    assert site.get(f"{begun}&iss=https://evil.example").status_code == 401, "another provider's"
    assert "/token" not in provider.asked
    assert who(site) == 401


def test_an_answer_serves_once(site: TestClient) -> None:
    back = sent_back(site)
    kept = site.cookies["tenure_sign_in"]
    assert site.get(back).status_code == 200
    site.post("/session/end")
    site.cookies.set("tenure_sign_in", kept)
    again = site.get(back)
    assert (again.status_code, "invalid_grant" in again.text) == (401, True)


def test_a_person_who_says_no_at_the_provider_is_told_so(site: TestClient) -> None:
    state = parse_qs(urlsplit(sent_back(site)).query)["state"][0]
    denied = site.get(f"/session/callback?error=access_denied&state={state}")
    assert (denied.status_code, "access_denied" in denied.text) == (401, True)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another"}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"exp": 1}, "exp"),
        ({"exp": None}, "exp"),
        ({"iat": 9_999_999_999}, "in the future"),
        ({"sub": None}, "sub"),
        ({"aud": [CLIENT, "another"]}, "another client"),
        ({"azp": "another"}, "another client"),
    ],
)
def test_a_word_of_the_providers_that_is_not_for_us_or_not_for_now_is_refused(
    site: TestClient, provider: OidcProvider, spoil: Json, why: str
) -> None:
    provider.spoil = spoil
    refused = sign_in(site)
    assert (refused.status_code, why in refused.text) == (401, True), refused.text
    assert who(site) == 401


def test_several_audiences_do_where_it_was_given_to_us(site: TestClient, provider: OidcProvider) -> None:
    provider.spoil = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert sign_in(site).status_code == 200


def test_a_key_that_the_provider_does_not_show_is_refused_and_a_new_one_is_fetched(
    site: TestClient, provider: OidcProvider, guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sign_in(site).status_code == 200
    shown, provider.signing = provider.signing, fresh_key("two")
    refused = sign_in(site)
    assert (refused.status_code, "kid" in refused.text) == (401, True)
    provider.shown = [shown, provider.signing]
    assert sign_in(site).status_code == 401, "not asked for again within seconds"
    monkeypatch.setattr("registry.transport.oidc.AGAIN_S", 0.0)
    assert sign_in(site).status_code == 200
    stranger = fresh_key("one")
    provider.signing = stranger
    assert sign_in(site).status_code == 401, "a known name, another key"


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_word_that_anyone_could_have_written_is_refused(
    site: TestClient, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    def unsigned(header: Json, claims: Json, key: object) -> str:
        import base64
        import json

        parts = [{"alg": algorithm, "kid": "one"}, claims]
        head, body = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
        return f"{head}.{body}."

    monkeypatch.setattr(jwt, "encode", unsigned)
    assert sign_in(site).status_code == 401
    assert who(site) == 401


def test_a_provider_that_is_down_keeps_nobody_with_a_token_out(
    site: TestClient, provider: OidcProvider, mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.down = True
    away = site.get("/session/begin")
    assert (away.status_code, "cannot be used" in away.text) == (503, True)
    asked = len(provider.asked)
    assert site.get("/session/begin").status_code == 503
    assert len(provider.asked) == asked, "not asked again at once"
    assert site.get("/login").status_code == 200
    assert site.get("/api/v1/models", headers=bearer(mint("viewer"))).status_code == 200
    signed = site.post("/session", data={"token": mint("viewer")})
    assert (signed.status_code, signed.headers["location"]) == (303, "/")
    assert who(site) == 200
    provider.down = False
    monkeypatch.setattr("registry.transport.oidc.AGAIN_S", 0.0)
    assert sign_in(site).status_code == 200


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"issuer": "https://evil.example"}, "calls itself"),
        ({"token_endpoint": "http://10.0.0.1/token"}, "token_endpoint is not an https address"),
        ({"jwks_uri": "{url}/nowhere"}, "answered 404"),
        ({"jwks_uri": "{url}/.well-known/openid-configuration"}, "keys cannot be read"),
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_believed(
    site: TestClient, provider: OidcProvider, document: Json, why: str
) -> None:
    provider.document = {key: value.format(url=provider.url) for key, value in document.items()}
    away = site.get("/session/begin")
    assert (away.status_code, why in away.text) == (503, True), away.text


def test_a_secret_that_is_not_set_is_told_by_the_name_of_its_variable(
    site: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENURE_TEST_OIDC")
    away = sign_in(site)
    assert (away.status_code, "TENURE_TEST_OIDC is not set" in away.text) == (503, True)


def test_a_wrong_secret_is_refused_and_one_may_be_sent_in_the_form(
    site: TestClient, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENURE_TEST_OIDC", "wrong")
    refused = sign_in(site)
    assert (refused.status_code, "invalid_client" in refused.text) == (401, True)
    monkeypatch.setenv("TENURE_TEST_OIDC", SECRET)
    monkeypatch.setattr("registry.transport.oidc.FRESH_S", 0.0)
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert sign_in(site).status_code == 200


def test_whoever_tries_answers_is_slowed_down(site: TestClient) -> None:
    tried = [site.get(f"/session/callback?state={n}").status_code for n in range(12)]
    assert (tried[:10], tried[-1]) == ([401] * 10, 429)


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "evil"]
)
def test_coming_back_leads_nowhere_else(site: TestClient, target: str) -> None:
    assert 'content="0;url=/"' in sign_in(site, target).text


def test_a_cookie_that_was_tampered_with_leads_to_the_first_page(site: TestClient) -> None:
    back = sent_back(site)
    secret = site.cookies["tenure_sign_in"].partition(".")[0]
    site.cookies.clear()
    site.cookies.set("tenure_sign_in", f"{secret}.%%%")
    assert 'content="0;url=/"' in site.get(back).text


def test_behind_https_the_cookies_are_sent_over_https_alone(
    site: TestClient, stage: Stage, provider: OidcProvider
) -> None:
    configured(stage, provider, url="https://tenure.example.org")
    gone = site.get("/session/begin")
    assert "secure" in gone.headers["set-cookie"].lower()
    asked = parse_qs(urlsplit(gone.headers["location"]).query)
    assert asked["redirect_uri"] == ["https://tenure.example.org/session/callback"]


# Settings


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"client_secret": "x"}, "is a secret"),
        ({"colour": "red"}, "oidc.colour is not known"),
        ({"issuer": None}, "oidc.issuer is needed"),
        ({"issuer": "http://idp.example.org"}, "plain http"),
        ({"issuer": "ftp://idp.example.org"}, "not an address"),
        ({"issuer": "https://["}, "not an address"),
        ({"url": "https://x.example?y"}, "not an address"),
        ({"client_id": 3}, "not a text"),
        ({"client_secret_env": "not a name"}, "not the name of an environment variable"),
        ({"scopes": ["email"]}, '"openid" in it'),
        ({"groups": ["ml"]}, r"write \[oidc.groups\]"),
        ({"groups": {"ml": "admin"}}, "not a list of roles"),
        ({"emails": {"a@b.c": ["king"]}}, "not a role"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_their_key(more: Json, why: str) -> None:
    right = {"issuer": "https://idp.example.org", "client_id": "tenure", "url": "https://tenure.example.org"}
    SignIn.of(right)
    with pytest.raises(BadInputError, match=why):
        SignIn.of({**right, **more})


def test_applying_the_same_settings_again_writes_nothing(stage: Stage, settings: Json) -> None:
    head = stage.log.head()
    (change,) = stage.registry.declaring.apply({"oidc": settings}, ANA, plan=False)
    assert (change.kind, stage.log.head()) == ("same", head)
