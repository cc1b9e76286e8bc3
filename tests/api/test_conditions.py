"""What scripts rely on: keys, entity tags, pages, times, and answers when a request is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry.domain import events as ev
from tests.api.test_rest import BOTS, upload
from tests.stage import ANA, BOT, Stage


def begin(rest: TestClient, key: str, **more: object) -> tuple[int, str, str]:
    body = {"connection": "cloud", "base_model": "base", "train": upload(rest), **more}
    answer = rest.post(f"{BOTS}/versions", json=body, headers={"Idempotency-Key": key})
    return answer.status_code, answer.text, answer.headers.get("etag", "")


def test_the_same_key_gives_the_same_answer_and_one_effect(rest: TestClient, stage: Stage) -> None:
    first = begin(rest, "k1")
    stage.settle()
    assert rest.get(f"{BOTS}/versions/1").json()["state"] == "trained"
    assert begin(rest, "k1") == first, "the answer is the first one, though things have moved on"
    assert begin(rest, "k2")[0] == 202
    assert len(rest.get(f"{BOTS}/versions").json()["items"]) == 2


def test_the_same_key_with_another_request_is_a_conflict(rest: TestClient) -> None:
    begin(rest, "k1")
    assert begin(rest, "k1", method="dpo")[0] == 409
    other = rest.post("/api/v1/models", json={"model": "other"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["title"]) == (409, "Idempotency key used for something else")
    assert rest.get("/api/v1/models/other").status_code == 404


def test_a_refused_request_may_be_sent_again_with_its_key(rest: TestClient, stage: Stage) -> None:
    begin(rest, "k1")
    headers = {"Idempotency-Key": "k2"}
    assert rest.post(f"{BOTS}/versions/1/deploy", headers=headers).status_code == 409
    stage.settle()
    assert rest.post(f"{BOTS}/versions/1/deploy", headers=headers).status_code == 202


def test_keys_sent_at_once_have_one_effect(rest: TestClient) -> None:
    train = upload(rest)
    body = {"connection": "cloud", "base_model": "base", "train": train}

    def send(_: int) -> str:
        return rest.post(f"{BOTS}/versions", json=body, headers={"Idempotency-Key": "same"}).text

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(send, range(8)))
    assert len(answers) == 1
    assert len(rest.get(f"{BOTS}/versions").json()["items"]) == 1


def test_an_etag_is_the_version_of_the_stream_and_a_stale_one_is_refused(rest: TestClient, stage: Stage) -> None:
    stage.trained()
    shown = rest.get(f"{BOTS}/versions/1")
    assert shown.headers["etag"] == f'"{shown.json()["stream_version"]}"'
    stale = rest.post(f"{BOTS}/versions/1/deploy", headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["expected"]) == (412, 1)
    assert str(stale.json()["actual"]) == shown.headers["etag"].strip('"')
    assert rest.put(f"{BOTS}/active", json={"version": 1}, headers={"If-Match": '"1"'}).status_code == 412
    assert rest.put(f"{BOTS}/policy", json={"approvals": 0}, headers={"If-Match": '"1"'}).status_code == 412
    model = rest.get(f"{BOTS}/active").headers["etag"]
    assert rest.put(f"{BOTS}/active", json={"version": 1}, headers={"If-Match": model}).status_code == 202
    assert rest.delete(f"{BOTS}/versions/1", headers={"If-Match": shown.headers["etag"]}).status_code in {409, 412}
    illegal = rest.post(f"{BOTS}/versions/1/retry", headers={"If-Match": '"1"'})
    assert illegal.status_code == 412, "who has not seen the state is not told what is illegal in it"
    assert rest.post(f"{BOTS}/versions/9/retry", headers={"If-Match": '"1"'}).status_code == 404
    assert rest.get(f"{BOTS}/versions/1", headers={"If-Match": "*"}).status_code == 200
    assert rest.post(f"{BOTS}/versions/1/retire", headers={"If-Match": "eleven"}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "stream", "change"),
    [
        ("PUT", f"{BOTS}/policy", "model:bot", ev.PolicyChanged(model=BOT, policy={"approvals": 1})),
        (
            "DELETE",
            "/api/v1/connections/spare",
            "connection:spare",
            ev.ConnectionFailed(connection="spare", error="x"),
        ),
    ],
)
def test_an_etag_that_goes_stale_between_the_look_and_the_append_is_refused(
    rest: TestClient,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    stream: str,
    change: ev.DomainEvent,
) -> None:
    stage.registry.declaring.declare_connection("spare", {"provider": "openai", "api_key_env": "KEY"}, ANA)
    stage.trained()
    log, append = stage.registry.log, stage.registry.log.append
    state = log.load(stream)
    assert state is not None

    def somebody_is_faster(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(log, "append", append)
        append([ANA.says(stream, change)], expected={})
        return append(*arguments, **options)

    monkeypatch.setattr(log, "append", somebody_is_faster)
    body = {"approvals": 2} if method == "PUT" else None
    etag = {"If-Match": f'"{state.stream_version}"'}
    answer = rest.request(method, path, json=body, headers=etag)
    assert (answer.status_code, answer.json()["actual"]) == (412, state.stream_version + 1)
    assert log.load(stream) is not None
    assert rest.request(method, path, json=body).status_code in {200, 204}


def test_a_policy_is_put_rule_by_rule_or_in_the_shape_that_it_is_shown_in(rest: TestClient) -> None:
    rest.post("/api/v1/models", json={"model": BOT})
    rest.put(f"{BOTS}/policy", json={"superseded": "keep"})
    shown = rest.put(f"{BOTS}/policy", json={"approvals": 2}).json()
    assert (shown["superseded"], shown["approvals"]) == ("keep", 2)
    again = rest.put(f"{BOTS}/policy", json={**shown, "keep_artifacts": 7})
    assert again.json() == {**shown, "keep_artifacts": 7}
    assert rest.put(f"{BOTS}/policy", json=again.json()).headers["etag"] == again.headers["etag"]
    assert rest.put(f"{BOTS}/policy", json={"superseded": "delete"}).json()["superseded"] == "delete"
    assert rest.put(f"{BOTS}/policy", json={"colour": 1}).status_code == 422


def test_lists_are_pages_that_a_cursor_goes_on_with(rest: TestClient, stage: Stage) -> None:
    for _ in range(5):
        stage.trained()
    for path, name in (
        (f"{BOTS}/versions?", "ref"),
        (f"{BOTS}/events?", "position"),
        (f"{BOTS}/versions/1/metrics?", "step"),
        ("/api/v1/events?", "position"),
        ("/api/v1/connections?", "name"),
    ):
        whole = [one[name] for one in rest.get(f"{path}limit=1000").json()["items"]]
        pages: list[object] = []
        cursor = None
        for _ in range(len(whole)):
            page = rest.get(f"{path}limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
            assert len(page["items"]) <= 2
            pages += [one[name] for one in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert pages == whole, path
        assert rest.get(f"{path}cursor=nonsense").status_code == 422, path
        assert rest.get(f"{path}limit=0").status_code == 422, path


def test_as_of_answers_from_the_log(rest: TestClient, stage: Stage) -> None:
    stage.active()
    before = stage.log.head()
    then = stage.clock().isoformat().replace("+00:00", "Z")
    stage.clock.advance(hours=1)
    stage.active()
    assert rest.get(BOTS).json()["active"] == "bot@2"
    for time in (str(before), then):
        assert rest.get(f"{BOTS}?as_of={time}").json()["active"] == "bot@1"
        assert rest.get(f"{BOTS}/versions/1?as_of={time}").json()["state"] == "active"
        assert rest.get(f"{BOTS}/active?as_of={time}").json()["version"] == 1
        assert len(rest.get(f"{BOTS}/versions?as_of={time}").json()["items"]) == 1
        assert len(rest.get(f"/api/v1/deployments?as_of={time}").json()["items"]) == 1
    assert rest.get(f"{BOTS}/versions/2?as_of={before}").status_code == 404
    wrong = rest.get(f"{BOTS}?as_of=soon")
    assert (wrong.status_code, wrong.json()["field"]) == (422, "as_of")


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/v1/models", b"{", 422),
        ("POST", "/api/v1/models", b"[]", 422),
        ("POST", "/api/v1/models", b'{"model": "a", "colour": 1}', 422),
        ("POST", "/api/v1/models", b'{"model": "' + b"x" * (1 << 20) + b'"}', 413),
        ("PATCH", "/api/v1/models", b"", 405),
        ("GET", f"{BOTS}/versions/0", b"", 422),
        ("GET", f"{BOTS}/versions/many", b"", 422),
    ],
)
def test_a_wrong_request_is_told_as_a_problem(
    rest: TestClient, method: str, path: str, content: bytes, status: int
) -> None:
    answer = rest.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


def test_a_bug_is_told_without_its_trace(stage: Stage, rest: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(type(stage.registry.reading), "models", broken)
    answer = rest.get("/api/v1/models")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["hint"]


def test_every_answer_names_its_request(rest: TestClient) -> None:
    assert rest.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert rest.get("/healthz", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"] != "a b\tc"
    assert BOT
