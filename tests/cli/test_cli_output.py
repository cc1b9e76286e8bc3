from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from registry.application.views import CheckView, MetricView, StepView
from registry.cli import losses, output
from registry.cli.columns import CHECKS, METRICS, of_mappings
from registry.cli.output import Column
from registry.cli.progress import Lines, progress
from registry.cli.training import parse_setting
from registry.domain.errors import BadInputError

AT = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)


def point(step: int, name: str, value: float, *, attempt: int = 1) -> MetricView:
    return MetricView(step=step, name=name, value=value, epoch=None, attempt=attempt, recorded_at=AT)


def test_piped_rows_are_separated_by_tabs_under_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_list([point(1, "train_loss", 2.5)], METRICS, as_json=False, empty="nothing")

    assert capsys.readouterr().out == (
        "step\tname\tvalue\tepoch\tattempt\trecorded_at\n1\ttrain_loss\t2.5\t\t1\t2026-11-22T20:10:00.000000Z\n"
    )


def test_an_empty_list_is_a_header_when_piped_an_empty_array_in_json_and_a_sentence_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty: list[CheckView] = []
    output.show_list(empty, CHECKS, as_json=False, empty="No checks.")
    assert capsys.readouterr().out == "passed\tname\tdetail\tremedy\n"
    output.show_list(empty, CHECKS, as_json=True, empty="No checks.")
    assert capsys.readouterr().out == "[]\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    output.show_list(empty, CHECKS, as_json=False, empty="No checks.")
    assert capsys.readouterr().out == "No checks.\n"


def test_a_tab_or_a_line_break_in_a_value_does_not_break_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    row = CheckView(name="a\tb", passed=True, detail="one\ntwo", remedy="back\\slash\r")
    output.show_list([row], CHECKS, as_json=False, empty="")

    assert capsys.readouterr().out.splitlines()[1] == "true\ta\\tb\tone\\ntwo\tback\\\\slash\\r"


def test_values_with_parts_are_piped_as_json_and_lists_of_names_with_commas(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": {"x": Decimal("1.70")}, "b": ("p", "q"), "c": 1.5, "d": None}]
    output.show_list(rows, of_mappings(rows), as_json=False, empty="")

    assert capsys.readouterr().out == 'a\tb\tc\td\n{"x": "1.70"}\tp, q\t1.5\t\n'


def test_columns_of_what_a_provider_shaped_are_all_keys_in_their_order() -> None:
    assert [column.key for column in of_mappings([{"b": 1}, {"a": 2, "b": 3}])] == ["b", "a"]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_a_table_without_the_columns_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    columns: list[Column[StepView]] = [
        Column("outcome", lambda row: row.outcome),
        Column("why", lambda row: row.why, piped_only=True),
    ]
    output.show_list([StepView(action="a", subject="b", why="because")], columns, as_json=False, empty="")
    out = capsys.readouterr().out

    assert "planned" in out
    assert "because" not in out
    assert "\t" not in out


@pytest.mark.usefixtures("terminal")
def test_a_terminal_that_is_too_narrow_for_the_table_gets_every_row_whole(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{key: f"{key}-{number}-" + "x" * 40 for key in ("left", "middle", "right")} for number in (1, 2)]
    output.show_list(rows, of_mappings(rows), as_json=False, empty="")
    told = capsys.readouterr().out
    assert all(value in told for row in rows for value in row.values())
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.usefixtures("terminal")
def test_fields_that_are_not_there_are_left_out_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_fields({"ref": "m@1", "error": None, "approvals": (), "created_at": AT, "state": "active"})
    out = capsys.readouterr().out

    assert "created at" in out
    assert "error" not in out
    assert "approvals" not in out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        (False, "no"),
        (3, "3"),
        (0.123456, "0.1235"),
        (Decimal("0.0000001"), "0.0000001"),
        (("a", "b"), "a, b"),
        ((1, 2), "[1, 2]"),
        ({"r": 16, "lr": 0.5}, "r=16, lr=0.5"),
    ],
)
def test_values_as_people_read_them(value: object, text: str) -> None:
    assert output.human(value) == text


def test_nobodys_words_command_another_ones_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    words = "a\x1b]0;title\x07b\x9b31mc\rd\u202ee\nf"
    told = r"a\x1b]0;title\x07b\x9b31mc\x0dd\u202ee" + "\nf"
    assert (output.human(words), output.human((words,))) == (told, told)
    assert output.tsv_line([words, 1]) == r"a\x1b]0;title\x07b\x9b31mc\rd\u202ee\nf" + "\t1\n"
    output.print_json({"reason": words})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"reason": words}


def test_a_time_is_shown_in_the_local_zone_to_the_second() -> None:
    assert output.human(AT) == AT.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("learning_rate=1e-4", ("learning_rate", 0.0001)),
        ("max_steps=20", ("max_steps", 20)),
        ("packing=true", ("packing", True)),
        ("lr_scheduler_type=cosine", ("lr_scheduler_type", "cosine")),
        ('name="3"', ("name", "3")),
        ("target_modules=['q_proj', 'v_proj']", ("target_modules", ["q_proj", "v_proj"])),
        ("note=a=b", ("note", "a=b")),
        ("note=1\nother = 2", ("note", "1\nother = 2")),
        ("empty=", ("empty", "")),
    ],
)
def test_a_setting_is_read_as_toml_where_it_is_toml(text: str, setting: tuple[str, object]) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["max_steps", "=3", " = 3"])
def test_a_setting_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="KEY=VALUE"):
        parse_setting(text)


def test_losses_are_those_of_the_newest_attempt_in_the_order_of_steps() -> None:
    points = [
        point(1, "train_loss", 9.0),
        point(2, "train_loss", 2.0, attempt=2),
        point(1, "train_loss", 3.0, attempt=2),
        point(2, "valid_loss", 2.5, attempt=2),
        point(2, "learning_rate", 0.1, attempt=2),
    ]
    assert losses.curves(points) == {"training": [(1.0, 3.0), (2.0, 2.0)], "validation": [(2.0, 2.5)]}
    assert losses.curves([]) == {}


def test_the_legend_tells_the_first_and_the_last_loss() -> None:
    drawing = losses.chart({"training": [(1.0, 3.0), (9.0, 1.25)]}, width=40, height=8, unicode=False)
    assert "* training loss 3 -> 1.25" in drawing.plain


def test_progress_that_is_piped_is_a_line_for_every_state_and_every_loss(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.views import version

    with progress() as report:
        assert isinstance(report, Lines)
        report(version("queued"), [])
        report(version("training"), [])
        report(version("training"), [point(5, "train_loss", 2.5), point(5, "valid_loss", 2.75), point(5, "epoch", 1)])
        report(version("training"), [])
        report(version("trained"), [])
    out, err = capsys.readouterr()

    assert out == ""
    assert err == (
        "support-bot@1: queued\nsupport-bot@1: training\nsupport-bot@1: step 5  train_loss 2.5  valid_loss 2.75\n"
        "support-bot@1: trained\n"
    )


def test_progress_on_a_terminal_draws_the_curves_and_leaves_stdout_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.views import version

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as report:
        report(version("training"), [])
        report(version("training"), [point(1, "train_loss", 3.5)])
        report(version("training"), [point(2, "train_loss", 2.5), point(2, "valid_loss", 2.75)])
    out, err = capsys.readouterr()

    assert out == ""
    assert "support-bot@1" in err
    assert "training loss 2.5" in err
    assert "training loss 3.5" in err


def test_json_keeps_letters_that_are_not_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"reason": "für Björn"})
    out = capsys.readouterr().out
    assert "für Björn" in out
    assert json.loads(out) == {"reason": "für Björn"}
