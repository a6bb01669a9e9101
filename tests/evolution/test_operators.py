"""Children are valid schedules, and a pure function of their parents and the generator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.architectures import find
from ecad_search.evolution import operators
from ecad_search.evolution.operators import CROSSOVERS, MUTATIONS, Grid

GRID = Grid.of(find("emoji-pixart"))
seeds = st.integers(0, 2**32 - 1)


def random_compute(seed, steps=6):
    rng = np.random.default_rng(seed)
    compute = rng.random((steps, len(GRID.blocks))) < rng.random()
    compute[0] = True
    return compute


def test_the_grid_numbers_components_and_blocks_over_all_groups():
    grid = Grid.of(find("flux"))
    assert (6, 57) == (grid.n_components, grid.n_blocks)
    assert [0, 1, 2, 0] == grid.components[:4].tolist()
    assert [3, 4, 5] == grid.components[-3:].tolist()
    assert [18, 19] == grid.blocks[56:58].tolist()


@pytest.mark.parametrize("mutate", [m for _, m in MUTATIONS], ids=[n for n, _ in MUTATIONS])
@given(seed=seeds, steps=st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_a_mutation_leaves_parent_and_first_step_alone(mutate, seed, steps):
    parent = random_compute(seed, steps)
    before = parent.copy()
    child = mutate(parent, GRID, np.random.default_rng(seed))
    again = mutate(parent, GRID, np.random.default_rng(seed))
    assert (before == parent).all()
    assert child.shape == parent.shape and child.dtype == np.bool_ and child[0].all()
    assert (child == again).all()


@pytest.mark.parametrize("mutate", [m for _, m in MUTATIONS], ids=[n for n, _ in MUTATIONS])
def test_a_mutation_usually_changes_something_in_both_directions(mutate):
    changes = []
    for seed in range(60):
        parent = random_compute(seed, 8)
        child = mutate(parent, GRID, np.random.default_rng(seed))
        changes.append(int(child.sum()) - int(parent.sum()))
    if mutate is operators.shift_in_time:
        assert {0} == set(changes)
        return
    assert any(change > 0 for change in changes)
    assert any(change < 0 for change in changes)
    assert sum(change == 0 for change in changes) < 30


@pytest.mark.parametrize("cross", CROSSOVERS)
@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_every_cell_of_a_child_comes_from_a_parent(cross, seed):
    first, second = random_compute(seed), random_compute(seed + 1)
    child = cross(first, second, GRID, np.random.default_rng(seed))
    assert ((child == first) | (child == second)).all()
    assert child[0].all()


@given(seed=seeds, n_bits=st.integers(1, 40), points=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_crossover_exchanges_every_second_piece(seed, n_bits, points):
    zeros, ones = np.zeros((3, n_bits), dtype=bool), np.ones((3, n_bits), dtype=bool)
    a, b = operators.n_point_crossover(
        zeros, ones, np.random.default_rng(seed), points=points, probability=1.0
    )
    assert (a ^ b).all()
    assert not a[:, 0].any()
    assert [min(points, n_bits - 1)] * 3 == (np.diff(a.astype(int), axis=1) != 0).sum(
        axis=1
    ).tolist()


def test_pairs_escape_crossover_one_time_in_ten():
    zeros, ones = np.zeros((4000, 50), dtype=bool), np.ones((4000, 50), dtype=bool)
    a, _ = operators.n_point_crossover(zeros, ones, np.random.default_rng(1))
    assert 0.9 == pytest.approx(float(a.any(axis=1).mean()), abs=0.02)


def test_the_papers_mutation_flips_a_twentieth_of_a_bit_per_child():
    genomes = np.zeros((20_000, 60), dtype=bool)
    flipped = operators.flip_bits(genomes, np.random.default_rng(2)).sum(axis=1)
    assert 0.05 == pytest.approx(float(flipped.mean()), abs=0.006)
    # 5% of the individuals, each of which flips at least one bit with 1 - (1 - 1/n)^n
    assert 0.05 * (1 - (1 - 1 / 60) ** 60) == pytest.approx(float((flipped > 0).mean()), abs=0.005)


def test_a_genome_of_one_bit_flips_at_most_half_the_time():
    flipped = operators.flip_bits(
        np.zeros((4000, 1), dtype=bool), np.random.default_rng(3), probability=1.0
    )
    assert 0.5 == pytest.approx(float(flipped.mean()), abs=0.03)
