"""What is kept of a provider's words, and what is not."""

from __future__ import annotations

import json

import pytest

from providers.redaction import LENGTH_MAX, hide, redacted, without_secrets

ROW = "canary-row-4d1f my card is 4111"
KEY = "canary-key-77aa/+="


@pytest.mark.parametrize(
    "words",
    [
        f"line 3 of the file: {json.dumps({'messages': [{'role': 'user', 'content': ROW}]})} has no completion",
        f'Row 3 contains "{ROW}", which is not allowed',
        f"Row 3 contains '{ROW}'",
        f"Row 3 contains `{ROW}` or “{ROW}” or «{ROW}»",
        f"Row 3 contains '{ROW}",
        "moderation of canary-row-4d1f stopped it",
        "the line\nof 'canary-row-4d1f\nmy card'\nis too long",
        f"{'fine words, and ' * LENGTH_MAX}canary-row-4d1f",
        "nobody@canary-row-4d1f.example may not",
    ],
)
def test_a_row_that_a_provider_quotes_is_cut_out(words: str) -> None:
    kept = redacted(words)
    assert "canary" not in kept
    assert "4111" not in kept
    assert len(kept) <= LENGTH_MAX + 2


@pytest.mark.parametrize(
    "words",
    [
        "Incorrect API key provided: sk-canary-1234567. See https://platform.openai.com/account/api-keys.",
        "Authorization: Bearer canary.abc.def was refused",
        "{'api-key': 'canary1234567'} was refused",
        "GET https://a.blob.core.windows.net/c/train.jsonl?sv=2024-01-01&sig=canary%2Bdef failed",
        "cannot reach https://ana:canary@proxy.example/v1",
        "AWSAccessKeyId=AKIACANARY0000000000 is unknown",
        "x-amz-security-token: canary//////////wEaCXVz is expired",
        "token eyJhbGciOi.canary.none is expired",
        "password=canary-hunter2",
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    ],
)
def test_credentials_are_known_by_their_shapes(words: str) -> None:
    assert "canary" not in redacted(words).lower()
    assert "canary" not in without_secrets(words).lower()


def test_a_credential_that_was_resolved_is_known_by_its_value_also_in_a_url() -> None:
    assert hide(KEY) == KEY
    assert redacted(f"the key {KEY} is wrong") == "the key [secret] is wrong"
    assert "canary" not in without_secrets("https://example.org/canary-key-77aa%2F%2B%3D/x")
    assert hide("short") == "short"
    assert redacted("a short word") == "a short word"


@pytest.mark.parametrize(
    "words",
    [
        "Invalid type for 'messages[0].content': expected a string, but got an integer.",
        "The model `gpt-4.1-mini-2025-04-14` does not exist or you do not have access to it.",
        "User: arn:aws:sts::123456789012:assumed-role/ci is not authorized to perform: bedrock:CreateCustomModel",
        "Rate limit reached: 60 requests per 1m0s. Try again at 2026-11-22T20:10:00Z (us-east-1).",
        'Could not connect to the endpoint URL: "http://127.0.0.1:38321/model"',
        "[Errno 28] No space left on device: '/home/ana/.tenure/model-2.safetensors'",
        "ResourceInUseException: tenure-a1b2c3-support-bot-3-1 is in use by ftjob-AbC123 of support-bot@3",
        "can't read the user's file-AbC123456",
    ],
)
def test_what_explains_is_kept(words: str) -> None:
    assert redacted(words) == words


def test_the_code_and_the_request_s_id_are_told_with_it() -> None:
    assert redacted("No.", code="invalid_file", request_id="req_1a2b") == "No. (invalid_file, request req_1a2b)"
    assert redacted("invalid_file: no", code="invalid_file") == "invalid_file: no"
    assert redacted("No.", code="not a code", request_id="{}") == "No."
    assert redacted("") == "no reason is given"
