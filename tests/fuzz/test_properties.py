"""What holds for every JSON value, every text and every name: checked by hypothesis."""

from __future__ import annotations

import json
import math
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ecad_search.errors import StorageError
from ecad_search.evolution.journal import Journal
from ecad_search.file_names import confined, wrong_with
from ecad_search.json_files import DEEPEST_NESTING, UnusableJson, is_number, parsed

numbers = st.integers(-(10**290), 10**290) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
texts = st.text(max_size=60) | st.text('[]{}":,\\ue0123456789.-+ NaInfityrulseo', max_size=60)
names = st.text(max_size=80) | st.text("./\\ :~*a-conCOMaux1", max_size=30)


@given(values)
def test_every_json_value_is_read_as_it_was_written(value):
    again = parsed(json.dumps(value))
    assert json.dumps(value, sort_keys=True) == json.dumps(again, sort_keys=True)


@settings(max_examples=500)
@given(texts)
@example('{"a": 1, "a": 2}')
@example("[1e999]")
@example("-NaN")
def test_every_text_is_a_finite_value_or_unusable(text):
    try:
        value = parsed(text)
    except UnusableJson as problem:
        assert str(problem).isprintable()
    else:
        assert parsed(json.dumps(value, allow_nan=False)) == value


@given(st.integers(1, DEEPEST_NESTING + 3))
def test_the_limit_on_nesting_is_exact(depth):
    text = "[" * depth + "]" * depth
    if depth <= DEEPEST_NESTING:
        assert isinstance(parsed(text), list)
    else:
        with pytest.raises(UnusableJson, match="nested too deeply"):
            parsed(text)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, st.sampled_from(["", ".json", ".workflow.json"]))
@example("a\0", "")
@example("\ud800", "")
@example("con", ".json")
@example("a" * 201, "")
@example("a/" * 300, "")
def test_every_name_is_a_file_inside_or_refused(tmp_path, name, suffix):
    try:
        path = confined(tmp_path, name, "the folder", suffix=suffix)
    except StorageError as error:
        assert str(error).isprintable()
        return
    inside = path.relative_to(tmp_path.resolve()).parts
    assert inside and inside[-1].endswith(suffix)
    assert all(not wrong_with(part, longest=250) for part in inside)
    assert not os.path.lexists(path)


@settings(max_examples=50, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=6), values, max_size=4), max_size=5))
def test_every_record_is_in_the_journal_again(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    with Journal(path) as journal:
        journal.begin({"note": 1})
        for record in records:
            journal.append(record)
    again = Journal(path, readonly=True)
    assert json.dumps(records) == json.dumps(again.records)
    assert b"" == again.torn


@given(st.floats() | st.integers(-(10**400), 10**400) | st.booleans() | st.text(max_size=3))
def test_a_score_is_a_number_that_can_be_squared(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    assert is_number(value) == (number and -1e100 <= value <= 1e100)
    if is_number(value):
        assert math.isfinite(float(value) ** 2)
