"""Columns line up, whatever stands in them."""

from __future__ import annotations

from ecad_search.text_table import text_table

HEADER, ROWS = ["name", "n", "key"], [["x", "1", "a"], ["a long one", "22", "bcd"]]


def test_names_stand_to_the_left_and_numbers_to_the_right():
    expected = "name         n  key\nx            1    a\na long one  22  bcd"
    assert expected == text_table(HEADER, ROWS)


def test_other_columns_can_stand_to_the_left_and_no_line_ends_in_blanks():
    expected = "name         n  key\nx            1  a\na long one  22  bcd"
    assert expected == text_table(HEADER, ROWS, left=(0, 2))


def test_a_ruled_table_has_a_line_under_its_header():
    assert ["name  n  key", "-" * 12] == text_table(HEADER, [], ruled=True).splitlines()
