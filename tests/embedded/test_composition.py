"""The composition root and the system's sources: doors are opened once, ids increase, the clock is UTC."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from providers.errors import RejectedError
from providers.ports import Connection, Provider
from registry import composition, system
from registry.application.ports import DataSource
from registry.composition import OpenProviders, open_home
from registry.domain.errors import BadInputError, HomeInUseError
from registry.domain.states import ConnectionState
from registry.domain.versions import Who
from tests.fakes import Cloud, FakeClock, FakeProvider


def connection(name: str = "one", provider: str = "fake", **settings: object) -> ConnectionState:
    return ConnectionState(name=name, provider=provider, settings=settings)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Connection, FakeProvider]]:
    """A provider that is entered like a vendor's, and what was opened at it."""
    doors: list[tuple[Connection, FakeProvider]] = []

    def connect(declared: Connection, *, now: Callable[[], datetime]) -> Provider:
        if "api_key" in declared.settings:
            raise RejectedError("api_key is a secret", operation="connect")
        door = FakeProvider(Cloud(FakeClock()))
        doors.append((declared, door))
        return door

    module = ModuleType("fake_provider_of_tests")
    module.connect = connect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_provider_of_tests", module)
    factories = {
        "fake": "fake_provider_of_tests",
        "gone": "no_such_module_at_all",
        "huggingface": "fake_provider_of_tests",
    }
    monkeypatch.setattr(composition, "FACTORIES", factories)
    return doors


@pytest.fixture
def providers(tmp_path: Path) -> OpenProviders:
    return OpenProviders(tmp_path, registry_id=lambda: "test12", clock=FakeClock())


def test_a_connection_is_opened_once_and_again_when_its_settings_change(
    providers: OpenProviders, opened: list[tuple[Connection, FakeProvider]], tmp_path: Path
) -> None:
    first = providers.of(connection(region="a"))
    assert providers.of(connection(region="a")) is first
    assert providers.of(connection(region="b")) is not first
    declared, door = opened[0]
    assert (declared.registry, declared.folder) == ("test12", tmp_path / "connections" / "one")
    assert not door.closed, "another thread may be using it"
    providers.close()
    assert [one.closed for _, one in opened] == [True, True]


def test_this_machines_models_lie_in_the_home_unless_it_is_said_otherwise(
    providers: OpenProviders, opened: list[tuple[Connection, FakeProvider]], tmp_path: Path
) -> None:
    providers.of(connection(provider="huggingface"))
    providers.of(connection("two", "huggingface", models="/models"))
    assert [one.settings["models"] for one, _ in opened] == [str(tmp_path / "models"), "/models"]


@pytest.mark.usefixtures("opened")
def test_what_cannot_be_opened_says_why(providers: OpenProviders) -> None:
    with pytest.raises(BadInputError, match="'closedai' is not a provider; known: fake, gone, huggingface"):
        providers.of(connection(provider="closedai"))
    with pytest.raises(BadInputError, match="gone is not installed") as missing:
        providers.of(connection(provider="gone"))
    assert missing.value.hint == "pip install 'tenure[gone]'"
    with pytest.raises(BadInputError, match="api_key is a secret"):
        providers.of(connection(api_key="sk"))


def test_a_home_has_one_owner_and_reads_training_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    train = tmp_path / "train.jsonl"
    train.write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    with open_home(home) as registry:
        registry.declaring.set_policy("bot", {}, Who(actor="user:ana"))
        with pytest.raises(HomeInUseError):
            open_home(home)
        data = registry.commands._data
        assert data.prepare(DataSource(train=train), rows_min=1).train.rows == 2
        name = registry.log.registry().registry
    with open_home(home) as again:
        assert again.log.registry().registry == name


def test_ids_are_unique_and_increase(monkeypatch: pytest.MonkeyPatch) -> None:
    new = system.TimeOrderedIds()
    made = [new() for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000
    assert {len(one) for one in made} == {32}
    monkeypatch.setattr(system.time, "time_ns", lambda: 0)
    assert new() > made[-1], "a clock that was set back changes nothing"


def test_the_clock_is_aware_and_utc_and_names_of_registries_are_short() -> None:
    assert system.now().tzinfo is UTC
    assert 0 <= system.jitter() < 1
    assert len({system.short_id() for _ in range(20)}) > 1
    assert all(len(system.short_id()) == 6 for _ in range(20))
