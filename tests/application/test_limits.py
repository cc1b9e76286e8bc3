"""What stands against new work that costs money."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from registry.domain.errors import RefusedError
from registry.domain.states import VersionState
from tests.stage import ANA, DOCUMENT, Stage


def test_an_activation_that_takes_the_place_of_another_needs_no_room_beside_it(stage: Stage) -> None:
    stage.policy(max_hourly_cost="2.00")
    first, second = stage.trained(), stage.trained()
    stage.activate(first)
    with pytest.raises(RefusedError, match="max_hourly_cost"):
        stage.registry.commands.deploy(second, ANA)
    stage.activate(second)
    stage.settle()
    assert (stage.active_ref(), stage.cloud().count("create")) == ("bot@2", 1)


def test_every_training_of_the_month_counts_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    price: Mapping[str, object] = {"provider": "azure-openai", "unit": "1M-tokens", "price": "1000", "currency": "USD"}
    stage = Stage(tmp_path, document={**DOCUMENT, "prices": [{**price, "source": "test price list"}]})
    stage.policy(max_monthly_cost="5000.00")
    for _ in range(3):
        stage.trained()
    monkeypatch.setattr("registry.application.limits.PAGE", 1)
    _, spending = stage.registry.commands.limits.spending("bot")
    assert (len(spending.versions), spending.spent()) == (3, 3), "1000 tokens each"


def priced(tmp_path: Path, price: str) -> Stage:
    entry = {"provider": "azure-openai", "unit": "1M-tokens", "price": price, "currency": "EUR", "source": "test"}
    stage = Stage(tmp_path, document={**DOCUMENT, "prices": [entry]})
    stage.cloud().estimated = None
    return stage


def test_what_a_training_will_cost_is_told_at_the_price_of_the_price_book(tmp_path: Path) -> None:
    stage = priced(tmp_path, "1000")
    _, estimate = stage.registry.commands.estimate(stage.wanted())
    assert (estimate.tokens, estimate.cost, estimate.currency) == (200, Decimal("0.2"), "EUR")


def test_trainings_that_fit_one_by_one_are_not_both_begun_and_a_retry_is_a_training(tmp_path: Path) -> None:
    stage = priced(tmp_path, "1000")
    stage.policy(max_monthly_cost="0.39")
    first = stage.fine_tune()
    with pytest.raises(RefusedError, match=r"bot will have cost 0\.20 EUR when the month ends; this"):
        stage.fine_tune()
    stage.cloud().results.append(("failed", "no luck"))
    stage.settle()
    assert stage.state(first) == "failed"
    second = stage.fine_tune()
    with pytest.raises(RefusedError, match="max_monthly_cost"):
        stage.registry.commands.retry(first, ANA)
    stage.registry.commands.cancel(second, ANA)
    stage.settle()
    stage.registry.commands.retry(first, ANA)
    assert stage.state(first) == "queued"


def test_a_version_of_a_connection_that_nobody_declared_has_no_training_price(stage: Stage) -> None:
    stranger = VersionState(model="bot", version=1, connection="elsewhere")
    assert stage.registry.commands.training_price(stranger.connection, stranger.base_model) is None


def test_a_home_without_its_own_measure_asks_the_file_system(stage: Stage) -> None:
    limits = type(stage.registry.commands.limits)(log=stage.log, clock=stage.clock, home=stage.home)
    limits.check_space()
