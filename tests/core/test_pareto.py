"""Ranks, crowding and hypervolume, by hand and against two independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecad_search.core import pareto


def random_sets():
    """Sets with few levels (ties and duplicates) and with many."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(1, 40)), int(rng.integers(2, 4))
        yield rng.integers(0, 5, (n, m)).astype(float)
        yield rng.random((n, m))


small_sets = st.integers(2, 3).flatmap(
    lambda m: arrays(float, st.tuples(st.integers(1, 12), st.just(m)), elements=st.integers(0, 4))
)


def test_equal_points_do_not_dominate_each_other():
    assert not pareto.dominates([1, 2], [1, 2])
    assert pareto.dominates([1, 2], [1, 3])
    assert not pareto.dominates([0, 3], [1, 2])


def test_each_point_is_told_whether_one_of_others_dominates_it():
    points, others = [[1, 2], [0, 3], [2, 2], [1, 4]], [[1, 2], [0, 3.5]]
    assert [False, False, True, True] == pareto.dominated_by(points, others).tolist()


@given(small_sets)
@settings(max_examples=60, deadline=None)
def test_a_rank_is_the_longest_chain_of_dominators(points):
    ranks = pareto.non_dominated_ranks(points)
    for i, point in enumerate(points):
        above = [ranks[j] for j, other in enumerate(points) if pareto.dominates(other, point)]
        assert (max(above) + 1 if above else 0) == ranks[i]


@given(small_sets)
@settings(max_examples=60, deadline=None)
def test_the_front_is_rank_zero(points):
    ranks = pareto.non_dominated_ranks(points)
    assert np.flatnonzero(ranks == 0).tolist() == pareto.front_indices(points).tolist()


@given(small_sets)
@settings(max_examples=60, deadline=None)
def test_hypervolume_counts_the_unit_cells_below_the_reference(points):
    reference = np.full(points.shape[1], 5.0)
    corners = np.stack(
        np.meshgrid(*[np.arange(5.0)] * points.shape[1], indexing="ij"), axis=-1
    ).reshape(-1, points.shape[1])
    covered = (points[None] <= corners[:, None]).all(axis=2).any(axis=1).sum()
    assert covered == pytest.approx(pareto.hypervolume(points, reference))


@given(small_sets, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_hypervolume_ignores_order_and_dominated_points(points, seed):
    reference = np.full(points.shape[1], 5.0)
    shuffled = points[np.random.default_rng(seed).permutation(len(points))]
    whole = pareto.hypervolume(points, reference)
    assert whole == pytest.approx(pareto.hypervolume(shuffled, reference))
    front = points[pareto.front_indices(points)]
    assert whole == pytest.approx(pareto.hypervolume(front, reference))


def test_points_beyond_the_reference_add_nothing():
    assert 0.0 == pareto.hypervolume([[2.0, 0.0]], [1.0, 1.0])
    assert 1.0 == pareto.hypervolume([[0.0, 0.0], [9.0, -9.0]], [1.0, 1.0])


def test_an_empty_set_has_no_front_and_no_volume():
    nothing = np.zeros((0, 2))
    assert [] == pareto.front_indices(nothing).tolist()
    assert [] == pareto.non_dominated_ranks(nothing).tolist()
    assert 0.0 == pareto.hypervolume(nothing, [1.0, 1.0])


def test_the_ends_of_a_front_are_infinitely_far_away():
    points = np.array([[0, 4], [1, 2], [2, 1], [4, 0]], dtype=float)
    assert [np.inf, 0.625, 0.625, np.inf] == pareto.crowding_distances(points).tolist()


def test_an_objective_in_which_all_agree_adds_no_crowding():
    points = np.array([[0, 1], [1, 1], [4, 1]], dtype=float)
    assert [np.inf, 0.5, np.inf] == pareto.crowding_distances(points).tolist()


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        pareto.non_dominated_ranks([[0.0, np.nan]])


def test_more_than_three_objectives_have_no_exact_hypervolume_here():
    with pytest.raises(ValueError, match="up to 3"):
        pareto.hypervolume(np.zeros((1, 4)), np.ones(4))


def test_ranks_and_crowding_agree_with_pymoo():
    pytest.importorskip("pymoo", reason="pymoo (development only) is not installed")
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    for points in random_sets():
        fronts = NonDominatedSorting().do(points)
        expected = np.empty(len(points), dtype=int)
        for rank, members in enumerate(fronts):
            expected[members] = rank
        assert expected.tolist() == pareto.non_dominated_ranks(points).tolist()
        if len(points) > 2:
            np.testing.assert_allclose(
                calc_crowding_distance(points), pareto.crowding_distances(points)
            )


def test_front_and_hypervolume_agree_with_moocore():
    moocore = pytest.importorskip("moocore", reason="moocore (development only) is not installed")
    for points in random_sets():
        reference = np.full(points.shape[1], 4.0)
        expected = moocore.hypervolume(points, ref=reference)
        assert expected == pytest.approx(pareto.hypervolume(points, reference))
        kept = np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True))
        assert kept.tolist() == pareto.front_indices(points).tolist()
