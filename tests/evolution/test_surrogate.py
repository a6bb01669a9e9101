"""The model learns from a few schedules what reuses cost, and the choice follows the front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.architectures import find
from ecad_search.core import pareto, presets
from ecad_search.evolution import proposals, racing
from ecad_search.evolution.operators import Grid
from ecad_search.evolution.seeding import ecad_population, random_population
from ecad_search.evolution.surrogate import Features, Surrogate, staleness
from ecad_search.testing.search_problem import SearchProblem

ARCHITECTURE = find("emoji-pixart")
FEATURES = Features(Grid.of(ARCHITECTURE))


def test_staleness_counts_steps_since_the_last_computation():
    compute = presets.fora(ARCHITECTURE, 7, 3).compute
    assert [0, 1, 2, 0, 1, 2, 0] == staleness(compute[None])[0, :, 5].tolist()


@pytest.mark.parametrize("name", ["emoji-pixart", "flux"])
def test_what_schedules_share_is_the_same_reuse_by_reuse_and_level_by_level(name):
    architecture = find(name)
    features = Features(Grid.of(architecture))
    seeds = random_population(architecture, 9, 12, np.random.default_rng(0))
    compute = np.stack([seed.schedule.compute for seed in seeds])
    prior = (4.0, 2.0, 3.0, 1.0, 0.7, 0.5, 0.25)
    levels = zip(prior, features.levels(compute[:5]), features.levels(compute[5:]), strict=True)
    expected = sum(weight * (first @ second.T) for weight, first, second in levels)
    found = features.reuses(compute[:5]) @ features.shared(features.levels(compute[5:]), prior).T
    np.testing.assert_allclose(expected, found, rtol=1e-5)


@pytest.mark.parametrize("additive", [True, False])
def test_forty_noisy_schedules_order_a_hundred_others(additive):
    made_of = SearchProblem(ARCHITECTURE, 20, seed=3, additive=additive)
    rng = np.random.default_rng(0)
    seeds = [*ecad_population(ARCHITECTURE, 20), *random_population(ARCHITECTURE, 20, 140, rng)]
    compute = np.stack([seed.schedule.compute for seed in seeds])
    truth = -np.array([made_of.true_loss(seed.schedule) for seed in seeds])
    seen, unseen = slice(0, 40), slice(40, 140)
    quality = truth[seen] + rng.normal(0, 0.02, 40)
    model = Surrogate(FEATURES, compute[seen], quality, np.full(40, 0.02**2))
    assert np.corrcoef(model.predict(compute[unseen]), truth[unseen])[0, 1] > 0.95


def test_the_uncached_schedule_is_known_to_lose_nothing():
    made_of = SearchProblem(ARCHITECTURE, 20, seed=1)
    seeds = ecad_population(ARCHITECTURE, 20)
    compute = np.stack([seed.schedule.compute for seed in seeds])
    quality = -np.array([made_of.true_loss(seed.schedule) for seed in seeds])
    model = Surrogate(FEATURES, compute, quality, np.full(len(seeds), 1e-4))
    assert [0.0] == model.predict(presets.uncached(ARCHITECTURE, 20).compute[None]).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_what_ruins_do_not_drown_is_learnt_better(seed):
    """Losses of useful schedules, told from eighty of which a third loses up to ten times more."""
    made_of = SearchProblem(ARCHITECTURE, 20, seed=seed, additive=False)
    rng = np.random.default_rng(0)
    seeds = [*ecad_population(ARCHITECTURE, 20), *random_population(ARCHITECTURE, 20, 300, rng)]
    compute = np.stack([seed.schedule.compute for seed in seeds])
    losses = np.array([made_of.true_loss(seed.schedule) for seed in seeds])
    limit = np.array([made_of.true_loss(presets.fora(ARCHITECTURE, 20, 6))])
    saturated = proposals.saturated(losses[:, None], limit)[:, 0]
    seen = np.arange(len(seeds)) < 80
    asked = ~seen & (losses < limit)

    def error(losses):
        model = Surrogate(FEATURES, compute[seen], -losses[seen], np.full(80, 1e-5))
        missed = model.predict(compute[asked]) + losses[asked]
        return float(np.sqrt(np.mean(missed**2)))

    assert error(saturated) < error(losses)


@given(
    losses=st.lists(st.floats(-5, 50), min_size=2, max_size=8, unique=True),
    limit=st.floats(0.01, 10),
)
def test_saturated_losses_keep_their_order_and_end_at_twice_the_limit(losses, limit):
    column = np.sort(losses)[:, None]
    found = proposals.saturated(column, np.array([limit]))
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.abs(found) <= 2 * limit).all()
    small = np.abs(column) < limit / 4
    np.testing.assert_allclose(found[small], column[small], rtol=0.01, atol=1e-12)
    assert column.tolist() == proposals.saturated(column, np.array([np.inf])).tolist()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_gain_is_the_hypervolume_a_point_adds(seed):
    rng = np.random.default_rng(seed)
    front, points = rng.random((6, 2)), rng.random((5, 2)) * 1.2
    reference = np.array([0.8, 0.9])
    before = pareto.hypervolume(front, reference)
    expected = [pareto.hypervolume(np.vstack([front, p]), reference) - before for p in points]
    found = proposals.gains(points[:, 0], points[:, 1], front, reference)
    np.testing.assert_allclose(expected, found, atol=1e-12)


# --- racing --------------------------------------------------------------------------------------


@given(n_samples=st.integers(2, 300), first=st.integers(2, 32), is_racing=st.booleans())
@settings(max_examples=60, deadline=None)
def test_blocks_cover_every_sample_once_in_order(n_samples, first, is_racing):
    seen: list[int] = []
    while len(seen) < n_samples:
        block = racing.next_block(len(seen), n_samples, first_block=first, racing=is_racing)
        assert 1 <= len(block) <= 32 + first
        seen += block
    assert list(range(n_samples)) == seen


def judged(lead, cost=0.5, n=4, confidence=0.9, usual=0.01):
    rng = np.random.default_rng(0)
    rival = rng.normal(0, 1, 16)
    scores = rival[:n] - lead + np.resize([0.05, -0.05], n)
    return racing.is_dominated(
        scores[None], cost, [(0.4, rival[None])], confidence=confidence, usual_variances=[usual]
    )


def test_a_clear_loser_is_dominated_and_a_close_one_is_not():
    assert judged(0.5)
    assert not judged(0.01)
    assert not judged(-0.5)


def test_who_leads_by_one_scorer_is_not_dominated():
    rng = np.random.default_rng(0)
    rival = rng.normal(0, 1, (2, 16))
    worse, better = rival[:, :4] - 0.5, rival[:, :4] + np.array([[-0.5], [0.5]])
    given = {"confidence": 0.9, "usual_variances": [0.01, 0.01]}
    assert racing.is_dominated(worse, 0.5, [(0.4, rival)], **given)
    assert not racing.is_dominated(better, 0.5, [(0.4, rival)], **given)


def test_a_cheaper_candidate_is_never_dominated():
    assert not judged(5.0, cost=0.39)


def test_a_spread_of_a_few_samples_is_not_believed():
    # Two samples that agree by chance would look certain; the usual spread says otherwise.
    assert not judged(0.06, n=2, usual=1.0)


def test_nothing_is_uncertain_once_all_samples_are_in():
    assert 0.0 == racing.standard_error(np.array([0.1, 0.5]), 2, 1.0)
