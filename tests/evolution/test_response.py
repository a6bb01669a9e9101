"""Linear responses on a model that is linear: what is told against what is so."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ecad_search.evolution import response
from ecad_search.evolution.response import Response, Sampler, Trial

STEPS, SIZE, WHOLE = 6, 5, 2
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1)
SHARE = 0.3  # of a whole step is ring 1
SHARES = np.array([0.0, 0.5, 1.0])  # what is expected of it


class LinearModel:
    """Deviations of an Euler sampling: velocities answer inputs, stale ones miss something.

    What they miss is what the velocities differ by, and `lag`. Rings are wrong by so much.
    """

    def __init__(self, seed=0, wrong=0.0):
        rng = np.random.default_rng(seed)
        self.answers = 0.4 * rng.normal(size=(STEPS, SIZE, SIZE))
        self.velocities = rng.normal(size=(STEPS, SIZE)).cumsum(0)
        self.lag = 0.3 * rng.normal(size=SIZE)
        self.wrong = wrong * rng.normal(size=(STEPS, SIZE))

    def stale(self, stored, step):
        return self.velocities[stored] - self.velocities[step] + self.lag

    def sampled(self, path):
        """A trial, and the squared length of its final latent."""
        x, inputs, predictions = np.zeros(SIZE), [], []
        stored, last = np.zeros((STEPS, SIZE)), [0, 0]
        for step, ring in enumerate(path):
            stored[step] = full = x @ self.answers[step]
            last[:ring] = [step] * ring
            shown = [full if at == step else stored[at] + self.stale(at, step) for at in last]
            velocity = full if ring == WHOLE else SHARE * shown[0] + (1 - SHARE) * shown[1]
            if ring == 1:
                velocity = velocity + self.wrong[step]
            inputs.append(x)
            predictions.append(x - SIGMAS[step] * velocity)
            x = x + (SIGMAS[step + 1] - SIGMAS[step]) * velocity
        return Trial(tuple(path), np.array(inputs), np.array(predictions)), float(x @ x)


def sampler():
    """From random predictions, as a profile does it."""
    rng = np.random.default_rng(9)
    predictions, inputs, x = rng.normal(size=(STEPS, 4 * STEPS)), [], np.zeros(4 * STEPS)
    for step, prediction in enumerate(predictions):
        inputs.append(x)
        ratio = SIGMAS[step + 1] / SIGMAS[step]
        x = ratio * x + (1 - ratio) * prediction
    return Sampler.of(np.array(inputs), predictions, x, np.arange(STEPS), SIGMAS[:-1])


def random_paths(count, seed, rings=3):
    rng = np.random.default_rng(seed)
    return [(WHOLE, *rng.integers(0, rings, STEPS - 1).tolist()) for _ in range(count)]


def learnt(model, paths):
    trials = [model.sampled(path)[0] for path in paths]
    return Response(sampler(), tuple(trials), SHARES, model.velocities)


def few_paths(count, seed=1):
    """Half of them of whole steps only."""
    whole = [(WHOLE, *(min(1, r) * WHOLE for r in p[1:])) for p in random_paths(count, seed, 2)]
    return [*whole, *random_paths(count, seed)]


@pytest.fixture
def exact(monkeypatch):
    """Every step answers differently and nothing is noise, so neighbours say nothing."""
    monkeypatch.setattr(response, "NEIGHBOURS", (1.0,))
    monkeypatch.setattr(response, "NOISE", 1e-9)
    monkeypatch.setattr(response, "PRIOR_COUNT", 1e-9)


def test_a_sampler_s_weights_are_those_of_its_formula():
    weights = sampler().weights
    for step in range(1, STEPS + 1):
        expected = [
            (1 - SIGMAS[i + 1] / SIGMAS[i])
            * np.prod(SIGMAS[i + 2 : step + 1] / SIGMAS[i + 1 : step])
            for i in range(step)
        ]
        assert np.allclose(expected, weights[step, :step])
        assert not weights[step, step:].any()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("seed", range(5))
def test_of_enough_trials_every_other_schedule_of_a_linear_model_is_told_exactly(seed):
    model = LinearModel(seed)
    whole = [(WHOLE, *rest) for rest in itertools.product((0, WHOLE), repeat=STEPS - 1)]
    told = learnt(model, [*whole, *random_paths(30, 1)])
    paths = random_paths(50, 7)
    expected = [model.sampled(path)[1] for path in paths]
    assert expected == pytest.approx(told.squares(np.array(paths)), rel=1e-3, abs=1e-6)
    assert [SHARE, 1 - SHARE] == pytest.approx(told.rings.layers.tolist(), abs=1e-3)


def test_few_trials_tell_more_than_chance():
    model = LinearModel(3)
    paths = random_paths(60, 8)
    expected = np.log([model.sampled(path)[1] + 1e-9 for path in paths])
    told = np.log(learnt(model, few_paths(4)).squares(np.array(paths)) + 1e-9)
    assert np.corrcoef(expected, told)[0, 1] > 0.6


def test_what_no_trial_has_shown_is_told_to_drift_farther(monkeypatch):
    model = LinearModel(2)
    paths = np.array(random_paths(60, 5))
    careful = learnt(model, few_paths(3)).squares(paths)
    monkeypatch.setattr(response, "SURPRISE", 0.0)
    careless = learnt(model, few_paths(3)).squares(paths)
    assert (careful >= careless * (1 - 1e-3)).all()
    assert (careful > 1.02 * careless).any()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("seed", range(5))
def test_a_gap_that_no_trial_had_is_told_by_what_the_model_said_uncached(seed):
    model = LinearModel(seed)
    told = learnt(model, [(WHOLE, 0, 0, WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE, 0, 0, 0, WHOLE)])
    longer = (WHOLE, *[0] * (STEPS - 1))
    expected = model.sampled(longer)[1]
    assert expected == pytest.approx(float(told.squares(np.array([longer]))[0]), rel=1e-6)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("seed", range(5))
def test_what_rings_were_told_wrongly_in_trials_is_expected_of_them_elsewhere(seed):
    paths = [(WHOLE, 1, 0, WHOLE, 1, 0), (WHOLE, 0, 1, 0, WHOLE, 1)]
    right, wrong = (learnt(LinearModel(seed, by), [*few_paths(4), *paths]) for by in (0.0, 0.5))
    assert right.rings.error < wrong.rings.error / 5
    without = replace(wrong)
    vars(without)["rings"] = wrong.rings._replace(error=0.0)
    ringed = np.array(random_paths(40, 5))
    assert (without.squares(ringed) <= wrong.squares(ringed)).all()
    assert (1.01 * without.squares(ringed) < wrong.squares(ringed)).any()
    whole = np.array([(WHOLE, *rest) for rest in itertools.product((0, WHOLE), repeat=STEPS - 1)])
    assert without.squares(whole).tolist() == wrong.squares(whole).tolist()


def test_a_schedule_that_reuses_nothing_does_not_drift():
    told = learnt(LinearModel(), few_paths(4))
    assert [0.0] == told.squares(np.array([[WHOLE] * STEPS])).tolist()
