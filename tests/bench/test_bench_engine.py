"""How the benchmark of the engine counts: parts that do the same are pooled."""

from __future__ import annotations

import numpy as np

from devtools.bench_engine import STEPS, Turn, in_yards, kinds_of


def test_parts_of_a_kind_are_pooled_over_turns_and_models():
    slow = Turn([2.0, 8.0, 2.0], [2.0, 2.0, 2.0, 2.0])  # a machine at half its speed
    quick = Turn([1.0, 4.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    other = Turn([1.0, 7.0, 3.0], [1.0, 1.0, 1.0, 1.0])
    kinds = [["a", "same", "b"], ["c", "same", "d"]]
    assert [1 + 4 + 1, 1 + 4 + 3] == in_yards([[slow, quick], [other]], kinds)


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
