"""`apply`: connections, models, policies, prices and the scheduler, repeatably, all of it or nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from registry.application.declaring import read_toml
from registry.domain.errors import BadInputError, NotFoundError, RefusedError
from tests.stage import ANA, BOT, DOCUMENT, Stage

Document = dict[str, object]


def changes(stage: Stage, document: Document, *, plan: bool = False) -> list[tuple[str, str, str]]:
    found = stage.registry.declaring.apply(document, ANA, plan=plan)
    return [(one.kind, one.subject, one.detail) for one in found]


@pytest.fixture
def empty(tmp_path: Path) -> Stage:
    return Stage(tmp_path, document={})


def test_the_first_command_gives_the_home_its_name_in_the_same_append(empty: Stage) -> None:
    assert empty.log.head() == 0
    assert changes(empty, {"models": {BOT: {}}}) == [("add", "model bot", "")]
    events = [*empty.log.read()]
    assert [event.type for event in events] == ["registry-created", "model-declared"]
    assert empty.log.registry().registry == "test12"
    assert empty.restart().log.registry().registry == "test12"


def test_applying_the_same_twice_changes_nothing_and_writes_nothing(stage: Stage) -> None:
    head = stage.log.head()
    assert {kind for kind, _, _ in changes(stage, dict(DOCUMENT))} == {"same"}
    assert stage.log.head() == head


def test_a_plan_says_what_would_change_and_writes_nothing(empty: Stage) -> None:
    planned = changes(empty, dict(DOCUMENT), plan=True)
    assert empty.log.head() == 0
    assert planned == changes(empty, dict(DOCUMENT))
    assert ("add", "connection cloud", "azure-openai") in planned
    assert ("add", "model bot", "superseded_grace") in planned
    assert ("change", "prices", "1 entry") in planned


def test_what_the_file_does_not_name_is_left_alone(stage: Stage) -> None:
    assert changes(stage, {"models": {BOT: {}}}) == [("same", "model bot", "")]
    assert changes(stage, {"connections": {"cloud": {"provider": "azure-openai", "sku": "GlobalStandard"}}}) == [
        ("change", "connection cloud", "sku")
    ]
    assert [one.name for one in stage.registry.reading.connections()] == ["alone", "cloud", "local"]
    assert stage.registry.reading.model(BOT).policy["superseded_grace"] == "10m"


def test_keys_that_a_policy_or_the_scheduler_does_not_name_stay(stage: Stage) -> None:
    grace = stage.registry.reading.model(BOT).policy["superseded_grace"]
    assert changes(stage, {"models": {BOT: {"policy": {"approvals": 2}}}}) == [("change", "model bot", "approvals")]
    policy = stage.registry.reading.model(BOT).policy
    assert (policy["approvals"], policy["superseded_grace"]) == (2, grace)
    changes(stage, {"scheduler": {"poll": "1s"}, "policy": {"orphans": "delete"}})
    changes(stage, {"scheduler": {"absence": 2}, "policy": {"keep_artifacts": 5}})
    assert stage.log.registry().scheduler == {"poll": "1s", "absence": 2}
    assert stage.log.registry().policy == {"orphans": "delete", "keep_artifacts": 5}


def test_a_key_is_taken_back_by_its_default(stage: Stage) -> None:
    changes(stage, {"models": {BOT: {"policy": {"max_hourly_cost": "5.00", "approvals": 2}}}})
    taken_back: Document = {"models": {BOT: {"policy": {"max_hourly_cost": "default"}}}}
    assert changes(stage, taken_back) == [("change", "model bot", "max_hourly_cost")]
    assert changes(stage, taken_back) == [("same", "model bot", "")]
    policy = stage.registry.reading.model(BOT).policy
    assert (policy["max_hourly_cost"], policy["approvals"]) == (None, 2)
    with pytest.raises(BadInputError, match="'max_cost' is not a policy key"):
        changes(stage, {"models": {BOT: {"policy": {"max_cost": "default"}}}})


def test_the_scheduler_and_the_prices_are_settings_of_the_registry(stage: Stage) -> None:
    document: Document = {
        "scheduler": {"poll": "1s", "absence": 2},
        "prices": [
            {
                "provider": "bedrock",
                "unit": "model-unit-hour",
                "price": "21.00",
                "currency": "USD",
                "source": "list",
                "effective": date(2026, 10, 1),
            }
        ],
    }
    assert changes(stage, document) == [("change", "scheduler", "absence, poll"), ("change", "prices", "1 entry")]
    assert changes(stage, document) == [("same", "scheduler", ""), ("same", "prices", "1 entry")]
    assert stage.log.registry().scheduler == {"poll": "1s", "absence": 2}


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({"conections": {}}, "'conections' is not a section"),
        ({"connections": []}, "connections = .* is not a table"),
        ({"connections": {"x": 1}}, "connections.x = 1 is not a table"),
        ({"connections": {"x/y": {"provider": "openai"}}}, "not a connection name"),
        ({"connections": {"x": {}}}, "connections.x needs provider"),
        ({"connections": {"x": {"provider": "closedai"}}}, "connections.x: 'closedai' is not a provider"),
        ({"connections": {"x": {"provider": "openai", "api_key": "sk-1"}}}, "connections.x: api_key is a secret"),
        ({"models": {"Bot": {}}}, "not a model name"),
        ({"models": {"bot": {"polcy": {}}}}, "models.bot.polcy is not known"),
        ({"models": {"bot": {"policy": 3}}}, "models.bot.policy = 3 is not a table"),
        ({"models": {"bot": {"policy": {"deplyo": "manual"}}}}, "models.bot: 'deplyo' is not a policy key"),
        ({"policy": {"deploy": "never"}}, "policy: deploy = 'never' is not one of"),
        ({"scheduler": 3}, "scheduler = 3 is not a table"),
        ({"scheduler": {"poll": "0s"}}, "scheduler: poll must be longer than 0"),
        ({"scheduler": {"sweep": "0ms"}}, "scheduler: sweep must be longer than 0"),
        ({"scheduler": {"pol": "1s"}}, "scheduler: 'pol' is not a scheduler key"),
        ({"prices": {"provider": "openai"}}, "prices is not a list of tables"),
        ({"prices": ["1.70"]}, "is not a table: write \\[\\[prices"),
        ({"prices": [{"provider": "openai"}]}, "prices, entry 1: a price needs 'unit'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_of_the_file_is_applied(
    stage: Stage, document: Document, match: str
) -> None:
    head = stage.log.head()
    fresh: Document = {"models": {"fresh": {}}}
    with pytest.raises(BadInputError, match=match):
        stage.registry.declaring.apply({**fresh, **document}, ANA, plan=False)
    assert stage.log.head() == head


def test_a_secret_that_was_refused_stands_nowhere_in_the_log(stage: Stage) -> None:
    with pytest.raises(BadInputError):
        stage.registry.declaring.declare_connection("x", {"provider": "openai", "api_key": "sk-secret"}, ANA)
    assert all("sk-secret" not in str(event) for event in stage.log.read())


def test_a_connection_does_not_change_its_provider(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="cannot change from azure-openai to openai"):
        stage.registry.declaring.declare_connection("cloud", {"provider": "openai"}, ANA)


# Files


def test_a_file_is_read_as_toml(tmp_path: Path) -> None:
    path = tmp_path / "tenure.toml"
    path.write_text('[connections.a]\nprovider = "openai"\n')
    assert read_toml(path) == {"connections": {"a": {"provider": "openai"}}}
    path.write_bytes(b'\xef\xbb\xbf[connections.a]\r\nprovider = "openai"\r\n')
    assert read_toml(path) == {"connections": {"a": {"provider": "openai"}}}, "as an editor on Windows writes it"


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tenure.toml"
    with pytest.raises(BadInputError, match=r"tenure.toml: No such file"):
        read_toml(path)
    path.write_text("[connections")
    with pytest.raises(BadInputError, match=r"tenure.toml is not TOML"):
        read_toml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"tenure.toml is not UTF-8"):
        read_toml(path)


# Removal


def test_a_connection_that_nothing_uses_is_removed_and_may_be_declared_again(stage: Stage) -> None:
    stage.trained()
    declaring = stage.registry.declaring
    declaring.remove_connection("cloud", ANA)
    declaring.remove_connection("cloud", ANA)
    assert "cloud" not in [one.name for one in stage.registry.reading.connections()]
    with pytest.raises(NotFoundError, match="there is no connection 'cloud'"):
        stage.fine_tune()
    assert changes(stage, {"connections": {"cloud": {"provider": "azure-openai"}}})[0][0] == "add"


@pytest.mark.parametrize("use", ["job", "deployment", "active without a deployment"])
def test_a_connection_in_use_is_not_removed(stage: Stage, use: str) -> None:
    connection = "cloud"
    match use:
        case "job":
            stage.fine_tune()
        case "deployment":
            stage.registry.commands.deploy(stage.trained(), ANA)
            stage.settle()
        case _:
            stage.active(connection="alone")
            connection = "alone"
    head = stage.log.head()
    with pytest.raises(RefusedError, match=f"connection '{connection}' is in use by (bot@1|dep_)"):
        stage.registry.declaring.remove_connection(connection, ANA)
    assert stage.log.head() == head


def test_a_connection_that_does_not_exist_cannot_be_removed(stage: Stage) -> None:
    with pytest.raises(NotFoundError):
        stage.registry.declaring.remove_connection("nowhere", ANA)
