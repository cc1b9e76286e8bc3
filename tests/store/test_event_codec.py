"""Every form in which an event was ever stored is still read, and what is written today stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from registry.domain.errors import BadInputError, CorruptLogError
from registry.domain.events import JobStatusChanged, UnknownEvent, VersionTrained
from registry.store.chain import event_of, line, parse_line, row_of
from registry.store.codec import TYPES, decode, encode, readers
from registry.store.memory_log import MemoryLog
from registry.store.values import canonical_text, decoder, parse_time, time_text
from tests.store.samples import EVERY_EVENT, Counting, Ticking, own_stream

GOLDEN = sorted((Path(__file__).parent / "golden").glob("events-v*.jsonl"))


def log_of_every_event() -> MemoryLog:
    log = MemoryLog(clock=Ticking(), ids=Counting())
    for payload in EVERY_EVENT:
        log.append([own_stream(payload)], expected={})
    return log


def test_there_is_a_sample_of_every_event_type() -> None:
    assert sorted(encode(payload)[0] for payload in EVERY_EVENT) == sorted(TYPES)


def test_what_is_spared_the_round_trip_through_json_is_what_would_come_back() -> None:
    spared = 0
    for payload in EVERY_EVENT:
        type_, schema, text, data = encode(payload)
        if data is not None:
            assert (json.loads(text), decode(type_, schema, json.loads(text))) == (data, payload)
            assert list(data) == list(json.loads(text))
            spared += 1
    assert 0 < spared < len(EVERY_EVENT)


def test_the_golden_files_hold_every_type_in_every_schema_version() -> None:
    stored = {
        (row["type"], row["schema_version"])
        for path in GOLDEN
        for row in map(json.loads, path.read_text().splitlines())
    }
    written = {(type_, version) for type_, (_, newest) in TYPES.items() for version in range(1, newest + 1)}
    assert stored == written


def test_what_is_written_today_is_what_the_newest_golden_file_holds(tmp_path: Path) -> None:
    log_of_every_event().export(tmp_path / "now.jsonl")
    assert (tmp_path / "now.jsonl").read_bytes() == GOLDEN[-1].read_bytes()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_log_is_replayed_and_exported_without_a_byte_changed(path: Path, tmp_path: Path) -> None:
    log = MemoryLog(clock=Ticking(), ids=Counting())
    log.import_(path)
    assert [found.payload for found in log.read()] == list(EVERY_EVENT)
    log.export(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


def test_an_event_becomes_a_line_and_a_row_and_itself_again() -> None:
    for found in log_of_every_event().read():
        row = row_of(found)
        assert event_of(row) == found
        assert parse_line(line(row)) == row


def test_a_type_or_schema_version_of_a_newer_release_is_kept_as_it_is() -> None:
    for type_, version in (("version-praised", 1), ("version-trained", 9)):
        assert decode(type_, version, {"stars": 5}) == UnknownEvent(
            type=type_, schema_version=version, data={"stars": 5}
        )


def test_fields_that_were_added_later_are_passed_over_and_those_that_lack_take_their_defaults() -> None:
    assert decode("job-status-changed", 1, {"status": "running", "colour": "red"}) == JobStatusChanged(status="running")


def test_data_that_are_not_what_the_type_says_are_an_error_with_the_position() -> None:
    (found,) = (event for event in log_of_every_event().read() if isinstance(event.payload, VersionTrained))
    for data in ('{"status":1}', '{"artifact":{"id":"x"},"cost":"much","job_status":"x"}'):
        row = (*row_of(found)[:11], data, found.hash)
        with pytest.raises(CorruptLogError, match=f"event {found.position} ") as error:
            event_of(row)
        assert error.value.position == found.position


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    seconds: float


def test_older_schema_versions_are_brought_forward_step_by_step() -> None:
    found = readers(
        {"renamed": (Renamed, 3)},
        {
            ("renamed", 1): lambda data: {"minutes": data["hours"] * 60},
            ("renamed", 2): lambda data: {"seconds": data["minutes"] * 60},
        },
    )
    assert found["renamed", 1]({"hours": 2}) == Renamed(seconds=7200)
    assert found["renamed", 2]({"minutes": 3}) == Renamed(seconds=180)
    assert found["renamed", 3]({"seconds": 1.5}) == Renamed(seconds=1.5)


def test_times_are_written_in_utc_with_microseconds() -> None:
    assert time_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    assert (
        time_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-02T01:04:05.000000Z"
    )
    assert parse_time("2026-01-02T03:04:05.000006Z") == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_canonical_text_is_sorted_and_compact_and_refuses_what_json_has_no_form_for() -> None:
    value = {"b": (1, Decimal("1.50")), "a": MappingProxyType({"ü": None})}
    assert canonical_text(value) == '{"a":{"ü":null},"b":[1,"1.50"]}'
    for wrong in (object(), float("inf"), {1, 2}, "\udfff", datetime):
        with pytest.raises(BadInputError):
            canonical_text(wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    times: tuple[datetime, ...] = ()


def test_values_inside_tuples_are_converted_too() -> None:
    time = datetime(2026, 1, 2, tzinfo=UTC)
    assert decoder(Nested)({"times": [time_text(time)]}) == Nested(times=(time,))


Change = Callable[[dict[str, Any]], object]


def without_hash(row: dict[str, Any]) -> None:
    del row["hash"]


def setting(**fields: Any) -> Change:
    return lambda row: row.update(fields)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without_hash, "lacks hash"),
        (setting(colour="red"), "unknown colour"),
        (setting(position="1"), "position is '1'"),
        (setting(position=True), "position is True"),
        (setting(data=[1]), "data is"),
        (setting(recorded_at="yesterday"), "isoformat"),
    ],
)
def test_a_line_that_is_not_an_event_says_why(change: Change, fault: str) -> None:
    row = json.loads(GOLDEN[0].read_text().splitlines()[0])
    change(row)
    with pytest.raises(ValueError, match=fault):
        parse_line(json.dumps(row))
    with pytest.raises(ValueError, match="not an object"):
        parse_line("[]")
