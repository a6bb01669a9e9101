"""The paper's populations have the released composition; ours is small and varied."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ecad_search.architectures import ALL, find
from ecad_search.core import presets
from ecad_search.evolution import seeding


def kinds(seeds):
    return Counter(seed.origin.rsplit(" ", 1)[0] for seed in seeds)


def test_the_papers_pixart_population_is_the_released_one():
    seeds = seeding.paper_population(find("pixart"), 20, 72, np.random.default_rng(0))
    assert 72 == len({seed.schedule.key for seed in seeds})
    assert "uncached" == seeds[0].origin
    found = kinds(seeds)
    # Released: 20 of SA; of 20 steps only 19 can reuse, so one more of another component fills up.
    assert (7, 6, 13) == (found["fora"], found["fora of attention"], found["t-gate"])
    assert 45 == found["evenly attn"] + found["evenly mlp"] + found["evenly cross_attn"]
    assert (19, 18) == (found["evenly attn"], found["evenly mlp"])


def test_the_papers_flux_population_is_fora_and_perturbed_fora():
    seeds = seeding.paper_population(find("flux"), 20, 24, np.random.default_rng(0))
    assert 24 == len({seed.schedule.key for seed in seeds})
    assert ["uncached", *(f"fora {n}" for n in range(2, 8))] == [s.origin for s in seeds[:7]]
    assert all("runs toggled" in seed.origin for seed in seeds[7:])


@pytest.mark.parametrize("size", [4, 24, 200])
@pytest.mark.parametrize("steps", [2, 7, 28])
def test_the_papers_population_is_filled_at_any_size_and_number_of_steps(size, steps):
    architecture = find("emoji-pixart")
    seeds = seeding.paper_population(architecture, steps, size, np.random.default_rng(1))
    assert size == len({seed.schedule.key for seed in seeds})
    assert {steps} == {seed.schedule.steps for seed in seeds}


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.id)
@pytest.mark.parametrize("steps", [2, 3, 8, 20, 50])
def test_our_seeds_are_few_distinct_and_never_uncached(architecture, steps):
    seeds = seeding.ecad_population(architecture, steps)
    keys = [seed.schedule.key for seed in seeds]
    assert 1 <= len(keys) == len(set(keys)) <= 16
    assert presets.uncached(architecture, steps).key not in keys
    assert seeds[0].is_reference


def test_random_seeds_spread_over_all_costs():
    seeds = seeding.random_population(find("emoji-pixart"), 20, 40, np.random.default_rng(0))
    fractions = [seed.schedule.computed_fraction for seed in seeds]
    assert 40 == len({seed.schedule.key for seed in seeds})
    assert min(fractions) < 0.2 and max(fractions) > 0.6
