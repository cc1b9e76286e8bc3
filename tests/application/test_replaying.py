"""Replaying a policy of a file over a model's history: which policy of the file it is, and a model without versions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from registry.application.replaying import policy_of
from registry.domain.errors import BadInputError
from tests.stage import BOT, Stage


@pytest.mark.parametrize(
    "document",
    [
        {"models": {BOT: {"policy": {"superseded": "keep"}}}, "policy": {"superseded": "delete"}},
        {"models": {"other": {}}, "policy": {"superseded": "keep"}},
        {"superseded": "keep"},
    ],
)
def test_a_models_own_policy_goes_before_the_registrys_and_both_before_bare_keys(
    document: Mapping[str, object],
) -> None:
    assert policy_of(document, BOT) == {"superseded": "keep"}


@pytest.mark.parametrize("document", [{"models": {BOT: {}}}, {"models": {}}, {"policy": "keep"}])
def test_a_file_without_a_policy_for_the_model_says_what_to_write(document: Mapping[str, object]) -> None:
    with pytest.raises(BadInputError, match=r"write \[models\.bot\.policy\]"):
        policy_of(document, BOT)


def test_a_model_without_versions_has_nothing_to_replay(stage: Stage) -> None:
    told = stage.registry.replaying.replay(BOT, {"superseded": "keep"})
    assert (told.acts, told.cost, told.unpriced) == ((), 0, 0)
