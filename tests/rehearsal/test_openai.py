"""OpenAI as emulated, through the openai SDK."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from providers.rehearsal import Rehearsal
from tests.rehearsal.sdks import BASE, openai_client, tuned, upload

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello there"}]


def test_a_job_goes_through_its_statuses_on_the_clock(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client), suffix="bot")
    seen = [job.status]
    for _ in range(15):
        rehearsal.clock.advance(2)
        word = client.fine_tuning.jobs.retrieve(job.id).status
        seen += [word] if word != seen[-1] else []
    assert seen == ["validating_files", "queued", "running", "succeeded"]


def test_a_running_job_tells_when_it_will_end_and_a_finished_one_what_it_made(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    file = upload(client)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file, validation_file=file, suffix="bot", seed=7)
    rehearsal.clock.advance(10)
    running = client.fine_tuning.jobs.retrieve(job.id)
    assert running.estimated_finish == int(rehearsal.clock.now().timestamp()) + 14
    assert running.fine_tuned_model is None
    rehearsal.clock.advance(20)
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith(f"ft:{BASE}:rehearsal:bot:")
    assert done.seed == 7
    assert done.trained_tokens is not None
    table = base64.b64decode(client.files.content(done.result_files[0]).content).decode().splitlines()
    assert table[0].split(",")[:4] == ["step", "train_loss", "train_mean_token_accuracy", "valid_loss"]
    assert len(table) == 1 + 12 * 3


def test_losses_come_as_events_newest_first_and_page_to_the_first(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client))
    rehearsal.clock.advance(60)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=7))
    told: list[Any] = [event.data for event in events if event.type == "metrics"]
    steps = [data["step"] for data in told]
    assert steps == list(range(36, 0, -1))
    assert len({event.id for event in events}) == len(events)


def test_checkpoints_appear_as_epochs_end_and_the_last_is_the_model(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client))
    rehearsal.clock.advance(12)
    assert [c.step_number for c in client.fine_tuning.jobs.checkpoints.list(job.id)] == [12]
    rehearsal.clock.advance(60)
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [c.step_number for c in found] == [36, 24, 12]
    assert found[0].fine_tuned_model_checkpoint == client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert "was asked" in _ask(client, found[2].fine_tuned_model_checkpoint)


def test_jobs_are_found_by_their_metadata_and_page(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    file = upload(client)
    made = [
        client.fine_tuning.jobs.create(model=BASE, training_file=file, metadata={"token": f"t{n % 2}"}).id
        for n in range(5)
    ]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    filtered = client.fine_tuning.jobs.list(extra_query={"metadata[token]": "t1"})
    assert [job.id for job in filtered] == [made[3], made[1]]


@pytest.mark.parametrize(("rows", "code"), [(9, "invalid_n_examples"), (None, "invalid_training_file")])
def test_bad_data_fails_the_job_after_it_was_accepted(rehearsal: Rehearsal, rows: int | None, code: str) -> None:
    client = openai_client(rehearsal)
    line = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    content = "\n".join([line] * rows) if rows else "not json\n" * 12
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client, content.encode()))
    rehearsal.clock.advance(5)
    failed = client.fine_tuning.jobs.retrieve(job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == code


def test_a_cancelled_job_leaves_no_model_and_cannot_be_cancelled_again(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client))
    rehearsal.clock.advance(6)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    rehearsal.clock.advance(60)
    assert not rehearsal.truth.things("openai.model")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.cancel(job.id)


def test_a_paused_job_stands_still_and_goes_on_where_it_was(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client))
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.pause(job.id)
    rehearsal.clock.advance(14)
    assert str(client.fine_tuning.jobs.pause(job.id).status) == "paused"
    rehearsal.clock.advance(600)
    assert str(client.fine_tuning.jobs.retrieve(job.id).status) == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "running"
    rehearsal.clock.advance(9)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
    rehearsal.clock.advance(2)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.resume(job.id)


def test_methods_and_hyperparameters_come_back_with_auto_decided(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    rows = "\n".join([json.dumps({"input": {}, "preferred_output": [], "non_preferred_output": []})] * 10)
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, rows.encode()),
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 2, "batch_size": "auto"}}},
    )
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert (job.method.dpo.hyperparameters.beta, job.method.dpo.hyperparameters.n_epochs) == (0.1, 2)
    rehearsal.clock.advance(60)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "o3-2025-04-16"},
        {"training_file": "file-nowhere"},
        {"suffix": "s" * 65},
        {"metadata": {"k" * 65: "v"}},
    ],
)
def test_what_openai_refuses_at_once_is_refused_and_makes_nothing(rehearsal: Rehearsal, wrong: dict[str, str]) -> None:
    client = openai_client(rehearsal)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model=BASE, training_file=upload(client), extra_body=wrong)
    assert caught.value.request_id
    assert not rehearsal.truth.ever("openai.job")


def test_a_tuned_model_answers_the_same_words_and_says_that_it_rehearses(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    model = tuned(rehearsal, client)
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    said = raw.parse()
    assert raw.headers["x-rehearsal"] == "true"
    assert said.to_dict()["rehearsal"] is True
    assert said.choices[0].message.content == _ask(client, model)
    assert "[rehearsal" in _ask(client, model)
    assert rehearsal.truth.one(model).uses == 3


def test_a_stream_says_what_the_completion_says(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    model = tuned(rehearsal, client)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}, max_tokens=4
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == " ".join(_ask(client, model).split(" ")[:4])
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4


def test_stop_texts_and_parts_of_messages_are_understood(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    said = client.chat.completions.create(
        model=BASE,
        messages=[{"role": "user", "content": [{"type": "text", "text": "one two three"}]}],
        stop=["two"],
    )
    assert (said.choices[0].message.content or "").endswith("one ")


def test_errors_of_the_chat_are_openais(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model=BASE, messages=HELLO, temperature=3)
    for name in ("temperature", "top_p", "max_tokens", "n"):
        with pytest.raises(openai.BadRequestError, match=f"Invalid type for '{name}'") as wrong:
            client.chat.completions.create(model=BASE, messages=HELLO, extra_body={name: "x"})
        assert (wrong.value.code, wrong.value.param) == ("invalid_type", name)
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model=BASE, messages=[])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="ft:gone", messages=HELLO)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="other").models.list()
    with pytest.raises(openai.NotFoundError, match="not rehearsed"):
        client.batches.list()


def test_a_retired_base_model_takes_its_tuned_models_with_it(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    model = tuned(rehearsal, client)
    rehearsal.catalogue["openai"][BASE].retires_at = datetime(2026, 12, 1, tzinfo=UTC)
    assert client.models.retrieve(BASE).shutdown_date == "2026-12-01"
    assert _ask(client, model)
    rehearsal.clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    with pytest.raises(openai.NotFoundError):
        _ask(client, model)
    with pytest.raises(openai.BadRequestError, match="not available"):
        client.fine_tuning.jobs.create(model=BASE, training_file=upload(client))


def test_a_deleted_model_is_gone_and_a_second_delete_finds_nothing(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    model = tuned(rehearsal, client)
    assert client.models.retrieve(model).owned_by == "org-rehearsal"
    assert client.models.delete(model).deleted
    assert model not in {found.id for found in client.models.list()}
    for call in (client.models.retrieve, client.models.delete):
        with pytest.raises(openai.NotFoundError):
            call(model)


def test_files_become_processed_are_listed_and_go(rehearsal: Rehearsal) -> None:
    client = openai_client(rehearsal)
    first, second = upload(client), upload(client)
    assert client.files.retrieve(first).status == "uploaded"
    rehearsal.clock.advance(1)
    assert client.files.retrieve(first).status == "processed"
    assert [file.id for file in client.files.list(purpose="fine-tune", limit=1)] == [second, first]
    assert client.files.list(purpose="batch").data == []
    client.files.delete(first)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(first)
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-nowhere")


def _ask(client: openai.OpenAI, model: str) -> str:
    return client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content or ""
