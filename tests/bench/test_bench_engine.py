"""How the benchmark of the engine counts: parts that do the same are pooled."""

from __future__ import annotations

import numpy as np

from devtools.bench_engine import (
    FEW_STEPS,
    STEPS,
    Moment,
    at_usual_speed,
    kinds_of,
    stolen,
    usual_seconds,
)


def test_parts_of_a_kind_are_pooled_over_samplings():
    samplings = [
        (["a", "same", "b"], [1.0, 4.0, 1.0]),
        (["a", "same", "b"], [1.0, 9.0, 1.0]),
        (["c", "same", "d"], [2.0, 5.0, 3.0]),
    ]
    assert {"a": 1, "same": 5, "b": 1, "c": 2, "d": 3} == usual_seconds(samplings)


def test_a_sampling_counts_as_if_the_machine_had_been_as_fast_as_usual():
    beside = [[9.0, second, second, 0.0] for second in (1.0, 1.0, 2.0, 1.0, 1.0)]
    turns = [[6.0, 3.0], [6.0, 3.0], [6.0, 3.0], [6.0, 3.0]]
    expected = [[6.0, 3.0], [4.0, 2.0], [4.0, 2.0], [6.0, 3.0]]
    assert expected == at_usual_speed(turns, beside)


def test_the_same_row_is_a_kind_and_the_ends_of_a_sampling_are_its_own():
    compute = np.ones((STEPS, 3), dtype=bool)
    compute[2:5] = False
    kinds, plain = kinds_of(compute), kinds_of()
    assert STEPS + 1 == len(kinds) == len(plain)
    assert kinds[2] == kinds[3] != kinds[5]
    assert kinds[1] != kinds[5] != kinds[4]  # what computes and is reused, or is not, or is last
    assert kinds[0] != kinds[5]  # for what is done before
    assert not set(kinds) & set(plain)
    assert 4 == len(set(plain))
    assert set(plain) == set(kinds_of(steps=FEW_STEPS))


def test_a_schedule_that_computes_all_is_of_the_uncached_runs_kinds():
    assert kinds_of() == kinds_of(np.ones((STEPS, 3), dtype=bool))


def test_time_for_which_a_processor_was_lent_does_not_count():
    assert 3.0 == Moment(1.0, [7.0, 2.0]).until(Moment(6.0, [7.5, 4.0]))
    assert 5.0 == Moment(1.0, []).until(Moment(6.0, []))


def test_lent_time_never_falls():
    before, after = stolen(), stolen()
    assert len(before) == len(after)
    assert all(0 <= a <= b for a, b in zip(before, after, strict=True))
