"""Everything that can go wrong, seen from the vendors' SDKs and held against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import openai
import pytest
from azure.core.exceptions import HttpResponseError
from botocore.exceptions import ClientError

from providers.rehearsal import Rehearsal, faults
from providers.rehearsal.faults import Fault, Faults
from tests.rehearsal.conftest import NOON
from tests.rehearsal.sdks import BASE, BUCKET, arm_client, aws_client, azure_client, openai_client, upload


def _create(rehearsal: Rehearsal, *, timeout_s: float = 5.0, retries: int = 0) -> Callable[[], str]:
    client = openai_client(rehearsal)
    file = upload(client)
    caller = openai_client(rehearsal, timeout_s=timeout_s, retries=retries)
    return lambda: caller.fine_tuning.jobs.create(model=BASE, training_file=file).id


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("after", [False, True])
def test_a_server_error_says_nothing_about_the_effect(rehearsal: Rehearsal, status: int, *, after: bool) -> None:
    create = _create(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.server_error(status, after_effect=after))
    with pytest.raises(openai.InternalServerError) as caught:
        create()
    assert caught.value.status_code == status
    assert len(rehearsal.truth.things("openai.job")) == int(after)


@pytest.mark.parametrize("after", [False, True])
def test_a_time_out_says_nothing_about_the_effect(rehearsal: Rehearsal, *, after: bool) -> None:
    create = _create(rehearsal, timeout_s=0.1)
    rehearsal.faults.inject("openai.create_job", faults.timeout(after_effect=after))
    with pytest.raises(openai.APITimeoutError):
        create()
    assert len(rehearsal.truth.things("openai.job")) == int(after)
    assert rehearsal.truth.log[-1].status == 0


@pytest.mark.parametrize("after", [False, True])
def test_a_reset_connection_says_nothing_about_the_effect(rehearsal: Rehearsal, *, after: bool) -> None:
    create = _create(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.reset(after_effect=after))
    with pytest.raises(openai.APIConnectionError):
        create()
    assert len(rehearsal.truth.things("openai.job")) == int(after)


def test_a_reset_in_mid_body_loses_an_answer_that_was_a_success(rehearsal: Rehearsal) -> None:
    create = _create(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.reset_in_body())
    with pytest.raises(openai.APIConnectionError):
        create()
    assert len(rehearsal.truth.things("openai.job")) == 1


def test_a_stream_can_break_in_its_middle(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    rehearsal.faults.inject("openai.chat", faults.reset_in_body())
    stream = client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "x"}], stream=True)
    with pytest.raises(Exception, match=r"(?i)reset|closed|incomplete|peer|connection error"):
        list(stream)


def test_the_sdks_own_retry_of_a_create_makes_a_second_job(rehearsal: Rehearsal) -> None:
    create = _create(rehearsal, retries=1)
    rehearsal.faults.inject("openai.create_job", faults.server_error(after_effect=True))
    create()
    assert len(rehearsal.truth.things("openai.job")) == 2


def test_a_request_that_is_delivered_twice_takes_effect_twice(rehearsal: Rehearsal) -> None:
    create = _create(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.duplicate())
    answered = create()
    assert [job.id for job in rehearsal.truth.things("openai.job")][-1] == answered
    assert len(rehearsal.truth.things("openai.job")) == 2


def test_a_throttled_call_tells_how_long_to_wait_in_every_form(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    told: list[str | None] = []
    for form in ("seconds", "date", "absent"):
        rehearsal.faults.inject("openai.list_models", faults.throttled(form, seconds=7))
        with pytest.raises(openai.RateLimitError) as caught:
            client.models.list()
        told.append(caught.value.response.headers.get("retry-after"))
    assert (told[0], told[2]) == ("7", None)
    assert told[1] is not None
    assert parsedate_to_datetime(told[1]) == NOON + timedelta(seconds=7)


def test_each_service_refuses_in_its_own_words(rehearsal: Rehearsal) -> None:
    bedrock, s3 = aws_client(rehearsal, "bedrock"), aws_client(rehearsal, "s3")
    said: dict[str, list[str]] = {"bedrock": [], "s3": [], "arm": [], "azure": []}
    for fault in (faults.throttled(), faults.unauthorized(), faults.forbidden(), faults.server_error(503)):
        rehearsal.faults.inject("*", fault, times=4)
        for name, call in (("bedrock", bedrock.list_custom_models), ("s3", lambda: s3.list_objects_v2(Bucket=BUCKET))):
            with pytest.raises(ClientError) as caught:
                call()
            refusal: Any = caught.value
            said[name].append(refusal.response["Error"]["Code"])
        with pytest.raises(HttpResponseError) as refused:
            list(arm_client(rehearsal).deployments.list("rehearsal", "rehearsal-aoai"))
        said["arm"].append(str(refused.value.error.code) if refused.value.error else "")
        with pytest.raises(openai.APIStatusError) as failed:
            azure_client(rehearsal).models.list()
        said["azure"].append(str(failed.value.status_code))
    assert said == {
        "bedrock": [
            "ThrottlingException",
            "ExpiredTokenException",
            "AccessDeniedException",
            "ServiceUnavailableException",
        ],
        "s3": ["SlowDown", "ExpiredToken", "AccessDenied", "InternalError"],
        "arm": ["TooManyRequests", "ExpiredAuthenticationToken", "AuthorizationFailed", "InternalServerError"],
        "azure": ["429", "401", "403", "503"],
    }


def test_a_quota_fault_strikes_creates_only(rehearsal: Rehearsal) -> None:
    create = _create(rehearsal)
    rehearsal.faults.inject("openai.*", faults.quota(), times=None)
    openai_client(rehearsal).models.list()
    with pytest.raises(openai.RateLimitError, match="quota"):
        create()
    rehearsal.faults.clear()
    create()


def test_a_stale_list_shows_the_world_before(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    rehearsal.clock.advance(100)
    job = create()
    rehearsal.faults.inject("openai.list_jobs", faults.stale(60))
    assert client.fine_tuning.jobs.list().data == []
    assert [found.id for found in client.fine_tuning.jobs.list()] == [job]


def test_lists_may_always_lag_while_reads_do_not(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    rehearsal.clock.advance(100)
    rehearsal.pace.list_lag_s = 10
    job = create()
    assert client.fine_tuning.jobs.list().data == []
    assert client.fine_tuning.jobs.retrieve(job).id == job
    rehearsal.clock.advance(11)
    assert client.fine_tuning.jobs.list().data[0].status == "validating_files"
    assert client.fine_tuning.jobs.retrieve(job).status == "running"


def test_a_list_cut_short_shows_no_sign_of_it(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    made = [create() for _ in range(4)]
    rehearsal.faults.inject("openai.list_jobs", faults.cut_short())
    page = client.fine_tuning.jobs.list(limit=4)
    assert [job.id for job in page.data] == made[:1:-1]
    assert page.has_more is False


def test_statuses_come_out_of_order_and_unknown(rehearsal: Rehearsal) -> None:
    job, client = _create(rehearsal)(), openai_client(rehearsal)
    rehearsal.clock.advance(60)
    seen = [client.fine_tuning.jobs.retrieve(job).status]
    rehearsal.faults.inject("openai.get_job", faults.backwards(50))
    rehearsal.faults.inject("openai.get_job", faults.unknown_status("reticulating"))
    seen += [client.fine_tuning.jobs.retrieve(job).status for _ in range(3)]
    assert [str(word) for word in seen] == ["succeeded", "running", "reticulating", "succeeded"]


def test_a_delete_that_is_ignored_answers_ok(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    file = upload(client)
    rehearsal.faults.inject("openai.delete_file", faults.delete_ignored())
    assert client.files.delete(file).deleted
    assert client.files.retrieve(file).id == file


def test_what_was_just_made_can_vanish(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.vanishes())
    job = create()
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve(job)


def test_a_clock_that_jumps_is_wrong_in_answers_and_not_in_the_truth(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.clock_jump(-3600))
    job = create()
    assert client.fine_tuning.jobs.retrieve(job).created_at == int((NOON - timedelta(hours=1)).timestamp())
    assert rehearsal.truth.one(job).created_at == NOON


def test_a_slow_answer_is_an_answer(rehearsal: Rehearsal) -> None:
    rehearsal.faults.inject("openai.list_models", faults.slow(0.05))
    began = time.monotonic()
    assert openai_client(rehearsal).models.list().data
    assert time.monotonic() - began >= 0.05


def test_orders_wait_for_their_turn_and_fail_a_job_that_was_accepted(rehearsal: Rehearsal) -> None:
    create, client = _create(rehearsal), openai_client(rehearsal)
    rehearsal.faults.inject("openai.create_job", faults.doomed("boom"), after=1)
    first, second = create(), create()
    rehearsal.truth.fail(create(), "behind your back")
    rehearsal.clock.advance(60)
    found = [
        client.fine_tuning.jobs.retrieve(job) for job in (first, second, rehearsal.truth.things("openai.job")[-1].id)
    ]
    assert [job.status for job in found] == ["succeeded", "failed", "failed"]
    assert [job.error.message for job in found if job.error] == ["boom", "behind your back"]


def test_a_drawn_schedule_is_the_same_for_the_same_seed_and_fits_the_operation() -> None:
    def drawn(seed: int) -> list[Fault | None]:
        plan = Faults()
        plan.schedule(seed=seed, rate=0.5, pattern="openai.*")
        assert plan.draw("s3.put_object", "create") is None
        return [plan.draw("openai.list_jobs", "list") for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    kinds = [fault.kind for fault in drawn(1) if fault]
    assert 60 < len(kinds) < 140
    assert {"stale", "cut-short"} < set(kinds)
    assert not {"quota", "doomed", "delete-ignored", "duplicate"} & set(kinds)


def test_a_schedule_with_nothing_that_fits_leaves_the_call_alone() -> None:
    plan = Faults()
    plan.schedule(seed=1, rate=1.0, among=[faults.delete_ignored()])
    assert plan.draw("openai.list_jobs", "list") is None
    assert plan.draw("openai.delete_file", "delete") == faults.delete_ignored()


def test_the_record_tells_what_was_called_how_often_and_what_struck(rehearsal: Rehearsal) -> None:
    client: Any = openai_client(rehearsal)
    rehearsal.faults.inject("openai.list_models", faults.slow(0.0))
    for _ in range(3):
        client.models.list()
    assert rehearsal.truth.calls["openai.list_models"] == 3
    assert [(call.operation, call.status, call.fault) for call in rehearsal.truth.log][:2] == [
        ("openai.list_models", 200, "slow"),
        ("openai.list_models", 200, None),
    ]
    assert rehearsal.faults.struck == [("openai.list_models", faults.slow(0.0))]
