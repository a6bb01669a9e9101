"""The best paths by a number that is cheap to tell, against all there are."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.evolution.paths import evolved

COSTS = np.array([0.1, 0.4, 1.0])


def drifts_of(seed):
    """A number for each path of five steps: what steps miss, more where neighbours miss too."""
    weights = np.random.default_rng(seed).random(5) + 0.1

    def drifts(paths):
        missing = 2.0 - paths
        return (missing * weights).sum(1) ** 2 + (missing[:, 1:] * missing[:, :-1]).sum(1)

    return drifts


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_of_few_paths_the_best_of_every_cost_is_found(seed):
    drifts = drifts_of(seed)
    every = [(2, *rest) for rest in itertools.product(range(3), repeat=4)]
    known = dict(zip(every, drifts(np.array(every)), strict=True))
    start = [(2, 0, 0, 0, 0)]
    rng = np.random.default_rng(seed)
    front = evolved(drifts, COSTS, start, 12, rng, longest=4, cheapest=0.0)
    for path in front:
        cost = COSTS[list(path)].sum()
        best = min(d for other, d in known.items() if COSTS[list(other)].sum() <= cost + 1e-9)
        assert best == known[path]
    costs = [COSTS[list(path)].sum() for path in front]
    assert sorted(set(costs)) == costs


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 3), st.floats(0.2, 0.6))
def test_no_path_has_a_longer_gap_or_costs_less_than_it_may(seed, longest, cheapest):
    start = [(2, 2, 2, 2, 0)]
    rng = np.random.default_rng(seed)
    front = evolved(drifts_of(seed), COSTS, start, 6, rng, longest=longest, cheapest=cheapest)
    for path in front:
        assert 2 == path[0]
        assert COSTS[list(path)].mean() >= cheapest
        gaps = [len(gap) for gap in "".join("x" if ring == 2 else "." for ring in path).split("x")]
        assert max(gaps) <= longest


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_what_was_tried_is_left_out_and_hides_nothing(seed):
    drifts, start = drifts_of(seed), [(2, 0, 0, 0, 0)]
    every = [(2, *rest) for rest in itertools.product(range(3), repeat=4)]
    settings = {"longest": 4, "cheapest": 0.0}
    tried = set(evolved(drifts, COSTS, start, 12, np.random.default_rng(seed), **settings))
    rng = np.random.default_rng(seed)
    front = evolved(drifts, COSTS, [*start, *tried], 12, rng, **settings, tried=tried)
    assert not tried & set(front)
    left = [path for path in every if path not in tried]
    known = dict(zip(left, drifts(np.array(left)), strict=True))
    for path in front:
        cost = COSTS[list(path)].sum()
        best = min(d for other, d in known.items() if COSTS[list(other)].sum() <= cost + 1e-9)
        assert best == known[path]


def test_the_same_seed_finds_the_same_paths():
    found = [
        evolved(
            drifts_of(1),
            COSTS,
            [(2, 0, 0, 0, 0)],
            5,
            np.random.default_rng(3),
            longest=4,
            cheapest=0,
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
