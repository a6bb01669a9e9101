"""How the benchmark of the engine counts: parts that do the same are pooled."""

from __future__ import annotations

import numpy as np

from devtools.bench_engine import STEPS, Moment, kinds_of, pooled, stolen


def test_parts_of_a_kind_are_pooled_over_turns_and_models():
    turns = [[[1.0, 4.0, 1.0], [1.0, 9.0, 1.0]], [[1.0, 5.0, 3.0]]]
    kinds = [["a", "same", "b"], ["c", "same", "d"]]
    assert [1 + 5 + 1, 1 + 5 + 3] == pooled(turns, kinds)


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


def test_a_schedule_that_computes_all_is_of_the_uncached_runs_kinds():
    assert kinds_of() == kinds_of(np.ones((STEPS, 3), dtype=bool))


def test_time_for_which_a_processor_was_lent_does_not_count():
    assert 3.0 == Moment(1.0, [7.0, 2.0]).until(Moment(6.0, [7.5, 4.0]))
    assert 5.0 == Moment(1.0, []).until(Moment(6.0, []))


def test_lent_time_never_falls():
    before, after = stolen(), stolen()
    assert len(before) == len(after)
    assert all(0 <= a <= b for a, b in zip(before, after, strict=True))
