from __future__ import annotations

import math

from registry.cli.chart import Span, draw

FALLING = [(float(step), 4.0 - step * 0.5) for step in range(7)]


def text(lines: list[list[Span]]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


def test_a_falling_loss_is_drawn_from_top_left_to_bottom_right_with_its_bounds_on_the_axes() -> None:
    lines = text(draw({"training": FALLING}, width=40, height=8, unicode=False))

    assert lines[0].split("|")[0].strip() == "4"
    assert lines[0].split("|")[1].startswith("*")
    assert lines[5].split("|")[0].strip() == "1"
    assert lines[5].endswith("*")
    assert lines[7].split() == ["0", "6"]


def test_no_line_is_wider_than_asked() -> None:
    for unicode in (True, False):
        assert max(len(line) for line in text(draw({"training": FALLING}, width=40, height=8, unicode=unicode))) <= 40


def test_braille_cells_hold_eight_dots_each() -> None:
    lines = text(draw({"training": [(0.0, 0.0), (1.0, 1.0)]}, width=20, height=6))
    drawn = [char for line in lines for char in line if 0x2800 < ord(char) <= 0x28FF]

    assert drawn
    assert any((ord(char) - 0x2800).bit_count() > 1 for char in drawn)


def test_each_series_has_a_mark_of_its_own() -> None:
    lines = draw({"training": FALLING, "validation": [(0.0, 1.0), (6.0, 4.0)]}, width=40, height=10, unicode=False)
    seen = {(mark, span.series) for line in lines for span in line if span.series is not None for mark in span.text}

    assert seen == {("*", 0), ("o", 1)}


def test_nothing_is_drawn_without_points() -> None:
    assert draw({}) == []
    assert draw({"training": []}) == []
    assert draw({"training": [(0.0, math.nan), (1.0, math.inf)]}) == []


def test_one_point_and_a_flat_line_have_axes_around_them() -> None:
    for points in ([(3.0, 2.0)], [(0.0, 2.0), (5.0, 2.0)], [(0.0, 0.0)]):
        lines = text(draw({"training": points}, width=30, height=7, unicode=False))
        assert sum("*" in line for line in lines) == 1


def test_a_point_that_is_not_a_number_is_left_out() -> None:
    with_it = draw({"training": [*FALLING, (3.5, math.nan)]}, width=40)
    assert with_it == draw({"training": FALLING}, width=40)
