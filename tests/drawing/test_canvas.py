"""Text that fits, ticks that are round, lines that are smooth."""

from __future__ import annotations

import pytest

from ecad_search.drawing.canvas import (
    BLUE,
    PAPER,
    Canvas,
    printable,
    shortened,
    text_width,
    ticks,
    wrapped,
)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 100, 5, [0, 20, 40, 60, 80, 100]),
        (-0.31, 0.02, 4, [-0.3, -0.2, -0.1, 0.0]),
        (0.2, 0.9, 3, [0.25, 0.5, 0.75]),
        (1e-5, 4e-5, 3, [1e-5, 2e-5, 3e-5, 4e-5]),
        (2, 2, 5, [2]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, count, expected):
    assert expected == pytest.approx(ticks(low, high, count))


def test_text_is_shortened_to_its_room():
    shown = shortened("a very long prompt about a cactus in the evening light", 120)
    assert shown.endswith("...")
    assert text_width(shown) <= 120
    assert "short" == shortened("short", 120)


def test_text_is_wrapped_between_words_and_ends_with_dots():
    lines = wrapped("one two three four five six seven eight nine ten", 80, lines=3)
    assert 3 == len(lines)
    assert all(text_width(line) <= 80 for line in lines)
    assert lines[0].startswith("one two")
    assert lines[-1].endswith("...")
    assert [] == wrapped("", 80)
    assert ["one"] == wrapped("one", 80, lines=3)


def test_a_word_longer_than_the_line_is_shortened():
    lines = wrapped("incomprehensibilities again", 60, lines=2)
    assert "again" == lines[1]
    assert text_width(lines[0]) <= 60


def test_letters_that_the_typeface_lacks_are_spelled_or_replaced():
    assert "1024 x 1024 -> Muller ±1" == printable("1024 × 1024 → Müller ±1")  # noqa: RUF001
    assert "?" == printable("猫")
    assert "a b" == printable("a\nb")


def test_slanted_lines_are_smooth():
    canvas = Canvas(40, 40)
    canvas.line([(2, 3), (37, 30)], BLUE, width=2)
    colours = {colour for _, colour in canvas.image().getcolors(9999) or []}
    assert PAPER in colours
    assert len(colours) > 3


def test_dashes_leave_gaps():
    canvas = Canvas(100, 10)
    canvas.line([(0, 5), (100, 5)], BLUE, dash=10)
    row = [canvas.image().getpixel((x, 5)) == PAPER for x in range(100)]
    assert 30 < sum(row) < 70
