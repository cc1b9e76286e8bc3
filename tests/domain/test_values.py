"""Names, references, durations, prices and policies: what may be written, and what is refused by name."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.application.prices import check_price, hourly_price
from registry.domain import ids
from registry.domain.apply import new_state
from registry.domain.durations import duration
from registry.domain.errors import BadInputError, ConflictError, CorruptLogError, HomeInUseError, UnavailableError
from registry.domain.ids import VersionRef, parse_ref, resource_name
from registry.domain.policy import POLICY_DEFAULTS, Policy, SchedulerSettings, policy_json

NOW = datetime(2026, 11, 1, tzinfo=UTC)
names = st.from_regex(ids.NAME_PATTERN, fullmatch=True).filter(str.isascii)
registries = st.from_regex(re.compile(r"[a-z2-9]{6}"), fullmatch=True)
subjects = st.tuples(registries, names, st.integers(1, 10**6), st.integers(1, 99))


# Names


@pytest.mark.parametrize("name", ["a", "support-bot", "v1.2", "0", "a" * 63])
def test_a_name_is_what_the_rule_says(name: str) -> None:
    assert ids.check_name(name, "model") == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a b", "a@1", "a" * 64, "ä", "a\n", "."])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(BadInputError, match="is not a model name: lower-case letters, digits") as refusal:
        ids.check_name(name, "model")
    assert refusal.value.field == "model"


@given(model=names, number=st.integers(1, 999_999_999))
def test_a_reference_reads_as_it_is_written(model: str, number: int) -> None:
    ref = VersionRef(model, number)
    assert VersionRef.parse(str(ref)) == ref
    assert parse_ref(str(ref)) == (model, number)
    assert parse_ref(model) == (model, None)


@pytest.mark.parametrize("text", ["bot", "bot@", "bot@0", "bot@-1", "bot@x", "bot@1.0", "@1", "bot@01", "bot@²"])
def test_what_is_not_a_reference_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        VersionRef.parse(text)


def test_a_version_number_of_five_thousand_digits_is_refused_like_any_other() -> None:
    with pytest.raises(BadInputError, match="is not a version"):
        VersionRef.parse("bot@" + "9" * 5000)


def test_streams_say_what_they_are_of() -> None:
    assert ids.model_stream("bot") == "model:bot"
    assert ids.version_stream(VersionRef("bot", 3)) == "version:bot@3"
    assert ids.deployment_stream("dep_1") == "deployment:dep_1"
    assert ids.connection_stream("cloud") == "connection:cloud"
    for stream in ("model:bot", "version:bot@3", "deployment:dep_1", "connection:cloud", ids.registry_stream()):
        assert new_state(stream).stream_version == 0
    with pytest.raises(ValueError, match="not a stream of a kind"):
        new_state("dataset:x")


# Names of what is made at a provider


@given(subject=subjects, length_max=st.integers(40, 63))
def test_a_resource_name_fits_and_holds_only_what_every_provider_allows(
    subject: tuple[str, str, int, int], length_max: int
) -> None:
    registry, model, number, attempt = subject
    name = resource_name(registry, VersionRef(model, number), attempt, NOW, length_max=length_max)
    assert len(name) <= length_max
    assert re.fullmatch(r"tenure-[a-z0-9][a-z0-9-]*[a-z0-9]", name)


@given(one=subjects, other=subjects)
def test_two_attempts_never_share_a_resource_name(
    one: tuple[str, str, int, int], other: tuple[str, str, int, int]
) -> None:
    first = resource_name(one[0], VersionRef(one[1], one[2]), one[3], NOW)
    second = resource_name(other[0], VersionRef(other[1], other[2]), other[3], NOW)
    assert (first == second) == (one == other)


def test_a_short_name_stays_readable_and_a_dotted_or_long_one_gets_a_digest() -> None:
    def named(model: str) -> str:
        return resource_name("abc234", VersionRef(model, 3), 1, NOW)

    assert re.fullmatch(r"tenure-abc234-bot-3-1-[a-z]{4}", named("bot"))
    assert re.fullmatch(r"tenure-abc234-v1-2-3-1-[0-9a-f]{8}", named("v1.2"))
    assert named("v1-2") != named("v1.2")
    assert named("a" * 63).startswith("tenure-abc234-aaa")


@pytest.mark.parametrize("model", ["bot", "bot-7-1", "v1.2", "a" * 63])
def test_a_number_that_is_given_out_again_after_a_restore_has_another_name(model: str) -> None:
    names = {
        resource_name("abc234", VersionRef(model, 3), 2, NOW + timedelta(microseconds=later)) for later in range(9)
    }
    assert len(names) == 9
    assert {ids.numbers_in(name) for name in names} == {(3, 2)}


def test_numbers_are_read_from_no_other_name() -> None:
    assert [ids.numbers_in(name) for name in ("prod", "bot-0-1", "bot-1", "bot-1-1-ab")] == [None] * 4


# Durations


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("200ms", timedelta(milliseconds=200)),
        ("15s", timedelta(seconds=15)),
        ("10m", timedelta(minutes=10)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_are_written_as_people_write_them(text: str, span: timedelta) -> None:
    assert duration(text, "poll") == span


@pytest.mark.parametrize("text", ["", "10", "m", "-5s", "10 m", "1w", 10, None, "1e3s"])
def test_what_is_not_a_duration_is_refused_with_its_key(text: object) -> None:
    with pytest.raises(BadInputError, match="is not a duration") as refusal:
        duration(text, "poll")
    assert refusal.value.field == "poll"


def test_a_duration_past_the_end_of_the_calendar_is_refused() -> None:
    with pytest.raises(BadInputError, match="longer than 36500d"):
        duration("9" * 30 + "d", "superseded_grace")


# Policies


def test_a_policy_with_nothing_written_has_the_defaults() -> None:
    policy = Policy.of({})
    assert (policy.deploy, policy.activate, policy.superseded) == ("on-activate", "manual", "delete")
    assert policy.superseded_grace == timedelta(minutes=10)
    assert (policy.idle_delete, policy.keep_artifacts, policy.orphans, policy.approvals) == (None, None, "report", 0)
    assert (policy.max_hourly_cost, policy.max_monthly_cost) == (None, None)
    assert policy_json({"approvals": 2}) == {**POLICY_DEFAULTS, "approvals": 2}


def test_every_key_of_a_policy_is_read() -> None:
    policy = Policy.of(
        {
            "deploy": "on-trained",
            "activate": "if-better",
            "superseded": "keep",
            "superseded_grace": "0s",
            "idle_delete": "7d",
            "keep_artifacts": 5,
            "orphans": "adopt",
            "approvals": 2,
            "max_hourly_cost": "20.00",
            "max_monthly_cost": 2000,
        }
    )
    assert (policy.deploy, policy.activate, policy.superseded) == ("on-trained", "if-better", "keep")
    assert (policy.superseded_grace, policy.idle_delete) == (timedelta(0), timedelta(days=7))
    assert (policy.keep_artifacts, policy.orphans, policy.approvals) == (5, "adopt", 2)
    assert (policy.max_hourly_cost, policy.max_monthly_cost) == (Decimal("20.00"), Decimal(2000))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deploy", "always"),
        ("activate", True),
        ("superseded", None),
        ("superseded_grace", "ten minutes"),
        ("superseded_grace", None),
        ("idle_delete", 7),
        ("keep_artifacts", -1),
        ("keep_artifacts", "5"),
        ("keep_artifacts", 2**63),
        ("orphans", ["delete"]),
        ("approvals", True),
        ("approvals", 1.5),
        ("approvals", None),
        ("max_hourly_cost", "cheap"),
        ("max_hourly_cost", 20.5),
        ("max_hourly_cost", "-1"),
        ("max_hourly_cost", "1e999999999"),
        ("max_hourly_cost", "1e-999999999"),
        ("max_hourly_cost", "9" * 5000),
        ("max_hourly_cost", "NaN"),
        ("max_monthly_cost", "Infinity"),
        ("max_monthly_cost", True),
        ("max_monthly", "20"),
    ],
)
def test_a_policy_key_that_is_wrong_or_unknown_is_named(key: str, value: object) -> None:
    with pytest.raises(BadInputError, match=key) as refusal:
        Policy.of({key: value})
    assert refusal.value.field == key
    assert len(refusal.value.message) < 300, "a long value is cut"


def test_the_schedulers_settings_have_defaults_and_are_read() -> None:
    assert SchedulerSettings.of({}).absence == 3
    settings = SchedulerSettings.of({"poll": "1s", "sweep": "2m", "orphan_grace": "3h", "absence": 5})
    assert (settings.poll, settings.sweep) == (timedelta(seconds=1), timedelta(minutes=2))
    assert (settings.orphan_grace, settings.absence) == (timedelta(hours=3), 5)


@pytest.mark.parametrize(("key", "value"), [("absence", 0), ("absence", "3"), ("poll", 15), ("pol", "15s")])
def test_a_scheduler_key_that_is_wrong_or_unknown_is_named(key: str, value: object) -> None:
    with pytest.raises(BadInputError, match=key) as refusal:
        SchedulerSettings.of({key: value})
    assert refusal.value.field == key


# Prices


def entry(**changes: object) -> dict[str, object]:
    known: dict[str, object] = {
        "provider": "azure-openai",
        "sku": "Standard",
        "unit": "hour",
        "price": "1.70",
        "currency": "USD",
        "source": "contract",
    }
    return {**known, **changes}


def test_a_price_is_kept_as_written_with_its_date_as_text() -> None:
    assert check_price(entry(effective=date(2026, 10, 1)))["effective"] == "2026-10-01"
    assert check_price(entry(effective="2026-10-01"))["effective"] == "2026-10-01"
    assert check_price(entry(effective="20261001"))["effective"] == "2026-10-01", "texts are compared to order the days"
    assert check_price(entry()) == entry()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"unit": "year"}, "unit"),
        ({"price": 1.7}, "price"),
        ({"price": "-1"}, "price"),
        ({"effective": "soon"}, "effective"),
        ({"effective": datetime(2026, 10, 1, tzinfo=UTC)}, "effective"),
        ({"provider": "azure"}, "provider"),
        ({"currency": "dollars"}, "currency"),
        ({"currency": 1}, "currency"),
        ({"sku": 3}, "sku"),
    ],
)
def test_a_price_that_is_wrong_is_refused_by_its_key(changes: dict[str, object], field: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        check_price(entry(**changes))
    assert refusal.value.field == field


@pytest.mark.parametrize("key", ["provider", "unit", "price", "currency", "source"])
def test_a_price_without_one_of_its_keys_is_refused(key: str) -> None:
    written = entry()
    del written[key]
    with pytest.raises(BadInputError, match=f"a price needs '{key}'"):
        check_price(written)


def test_the_newest_price_in_force_for_the_very_sku_comes_first() -> None:
    book = [
        entry(price="1.00", effective="2026-01-01"),
        entry(price="2.00", effective="2026-10-01"),
        entry(price="3.00", effective="2027-01-01"),
        {key: value for key, value in entry(price="9.00", effective="2026-10-15").items() if key != "sku"},
        entry(price="8.00", unit="1M-tokens"),
        entry(price="7.00", provider="bedrock"),
    ]

    def hourly(sku: str | None, units: str = "1") -> Decimal | None:
        return hourly_price(book, provider="azure-openai", sku=sku, units=Decimal(units), now=NOW).hourly

    assert hourly("Standard") == Decimal("2.00")
    assert hourly("Standard", units="3") == Decimal("6.00")
    assert hourly("DeveloperTier") == Decimal("9.00")


def test_a_price_of_a_model_unit_is_not_one_of_what_is_billed_by_the_token() -> None:
    book = [{key: value for key, value in entry(provider="bedrock", unit="model-unit-hour").items() if key != "sku"}]

    def hourly(sku: str) -> Decimal | None:
        return hourly_price(book, provider="bedrock", sku=sku, units=Decimal(2), now=NOW).hourly

    assert hourly("provisioned-throughput") == Decimal(str(entry()["price"])) * 2
    assert hourly("on-demand") == 0


def test_no_price_is_unknown_and_never_zero_but_this_machine_costs_nothing() -> None:
    unknown = hourly_price([], provider="bedrock", sku="provisioned-throughput", units=Decimal(1), now=NOW)
    assert (unknown.hourly, unknown.source) == (None, "unknown")
    here = hourly_price([], provider="huggingface", sku=None, units=Decimal(1), now=NOW)
    assert (here.hourly, here.source) == (Decimal("0.00"), "runs on this machine")


# Errors


def test_errors_carry_what_their_catcher_needs() -> None:
    conflict = ConflictError("changed", stream="model:bot", expected=1, actual=2)
    assert (conflict.exit_code, conflict.status, conflict.stream) == (3, 412, "model:bot")
    assert UnavailableError("later", retry_after_s=2.0).retry_after_s == 2.0
    assert (HomeInUseError("taken").exit_code, HomeInUseError.title) == (5, "The home is in use")
    assert CorruptLogError("damaged", position=7, hint="restore").position == 7
