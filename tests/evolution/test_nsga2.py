"""Survival and selection follow NSGA-II, and the fronts are as good as pymoo's."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecad_search.core import pareto
from ecad_search.evolution import nsga2

points_sets = arrays(float, st.tuples(st.integers(1, 30), st.just(2)), elements=st.integers(0, 6))


@given(points_sets, st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_nobody_survives_while_a_dominator_dies(points, n, seed):
    survivors = nsga2.survive(points, n, np.random.default_rng(seed))
    assert min(n, len(points)) == len(survivors.indices) == len(set(survivors.indices.tolist()))
    dead = set(range(len(points))) - set(survivors.indices.tolist())
    for alive in survivors.indices:
        assert not any(pareto.dominates(points[d], points[alive]) for d in dead)


def test_the_crowded_die_first():
    points = np.array([[0, 10], [1, 8.9], [1.1, 8.8], [5, 4], [10, 0]], dtype=float)
    survivors = nsga2.survive(points, 4, np.random.default_rng(0))
    assert {0, 2, 3, 4} == set(survivors.indices.tolist()) or {0, 1, 3, 4} == set(
        survivors.indices.tolist()
    )


def test_an_infeasible_individual_is_last():
    points = np.array([[np.inf, np.inf], [5, 5], [4, 4]])
    assert [2, 1, 0] == nsga2.survive(points, 3, np.random.default_rng(0)).indices.tolist()


@given(points_sets, st.integers(0, 99), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_tournament_is_never_won_by_the_dominated(points, seed, by_dominance):
    everyone = nsga2.survive(points, len(points), np.random.default_rng(seed))
    ordered = points[everyone.indices]
    winners = nsga2.binary_tournament(
        50,
        everyone.ranks,
        everyone.crowding,
        np.random.default_rng(seed),
        points=ordered if by_dominance else None,
    )
    assert 50 == len(winners)
    # The worst individual can only win against itself; permutations pair it with others. A worse
    # rank alone is no defeat by dominance: somebody of a better rank may not dominate it.
    worst, others = ordered[-1], ordered[:-1]
    loses_to_all = bool(((others <= worst).all(1) & (others < worst).any(1)).all())
    ranked_last = everyone.ranks[-1] > everyone.ranks[:-1].max(initial=0)
    if len(points) % 2 == 0 and (loses_to_all if by_dominance else ranked_last):
        assert len(points) - 1 not in winners


def _select(survivors, points):
    def select(count, rng):
        return nsga2.binary_tournament(
            count, survivors.ranks, survivors.crowding, rng, points=points
        )

    return select


def evolve(evaluate, n_bits, population, generations, seed, mutation_probability=0.05):
    rng = np.random.default_rng(seed)
    genomes = rng.random((population, n_bits)) < 0.5
    points = evaluate(genomes)
    survivors = nsga2.survive(points, population, rng)
    for _ in range(generations):
        children = nsga2.offspring(
            genomes,
            population,
            rng,
            select=_select(survivors, points),
            mutation_probability=mutation_probability,
        )
        genomes = np.concatenate([genomes, children])
        points = np.concatenate([points, evaluate(children)])
        survivors = nsga2.survive(points, population, rng)
        genomes, points = genomes[survivors.indices], points[survivors.indices]
    return points


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_children_are_new_and_distinct(seed):
    rng = np.random.default_rng(seed)
    genomes = rng.random((8, 12)) < 0.5
    points = rng.random((8, 2))
    survivors = nsga2.survive(points, 8, rng)
    genomes, points = genomes[survivors.indices], points[survivors.indices]
    children = nsga2.offspring(genomes, 8, rng, select=_select(survivors, points))
    seen = {genome.tobytes() for genome in genomes}
    assert len(children) == len({child.tobytes() for child in children} - seen)


def test_mating_gives_up_when_nothing_new_can_come():
    genomes = np.array([[False], [True]])
    children = nsga2.offspring(
        genomes, 4, np.random.default_rng(0), select=lambda n, rng: rng.integers(0, 2, n)
    )
    assert (0, 1) == children.shape


def leading_ones_trailing_zeros(genomes):
    leading = np.cumprod(genomes, axis=1).sum(axis=1)
    trailing = np.cumprod(~genomes[:, ::-1], axis=1).sum(axis=1)
    return -np.stack([leading, trailing], axis=1).astype(float)


def one_min_max(genomes):
    ones = genomes.sum(axis=1)
    return np.stack([ones, genomes.shape[1] - ones], axis=1).astype(float)


def knapsack(genomes):
    """Two values to maximise, one weight limit; overweight costs as much as it weighs."""
    rng = np.random.default_rng(77)
    values, weights = (
        rng.integers(10, 100, (2, genomes.shape[1])),
        rng.integers(10, 100, genomes.shape[1]),
    )
    excess = np.maximum(0, genomes @ weights - weights.sum() / 2)
    return -(genomes @ values.T).astype(float) + 5 * excess[:, None]


@pytest.mark.parametrize(
    ("evaluate", "reference"),
    [
        (leading_ones_trailing_zeros, [1.0, 1.0]),
        (one_min_max, [21.0, 21.0]),
        (knapsack, [0.0, 0.0]),
    ],
)
def test_the_front_is_no_worse_than_pymoos_after_as_many_evaluations(evaluate, reference):
    pytest.importorskip("pymoo", reason="pymoo (development only) is not installed")
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.pntx import PointCrossover
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.operators.sampling.rnd import BinaryRandomSampling
    from pymoo.optimize import minimize

    class Binary(Problem):
        def __init__(self):
            super().__init__(n_var=20, n_obj=2, xl=0, xu=1, vtype=bool)

        def _evaluate(self, x, out, *args, **kwargs):
            out["F"] = evaluate(x.astype(bool))

    ours, theirs = [], []
    for seed in range(10):
        points = evolve(evaluate, 20, 20, 12, seed, mutation_probability=0.5)
        ours.append(pareto.hypervolume(points, reference))
        algorithm = NSGA2(
            pop_size=20,
            sampling=BinaryRandomSampling(),
            crossover=PointCrossover(n_points=4, prob=0.9),
            mutation=BitflipMutation(prob=0.5),
        )
        result = minimize(Binary(), algorithm, ("n_gen", 13), seed=seed)
        assert result.F is not None
        theirs.append(pareto.hypervolume(result.F, reference))
    # Ten seeds each: not worse by more than two standard errors of the difference.
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 10)
    assert np.mean(ours) >= np.mean(theirs) - 2 * error


def test_one_generation_of_bookkeeping_is_far_below_a_second():
    rng = np.random.default_rng(0)
    genomes, points = rng.random((200, 3420)) < 0.5, rng.random((200, 2))
    survivors = nsga2.survive(points, 200, rng)
    start = time.process_time()
    children = nsga2.offspring(genomes, 200, rng, select=_select(survivors, points))
    nsga2.survive(np.concatenate([points, rng.random((200, 2))]), 200, rng)
    seconds = time.process_time() - start
    assert (200, 3420) == children.shape
    assert seconds < 0.5
