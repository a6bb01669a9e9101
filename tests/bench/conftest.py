"""The search benchmark without a model: a synthetic problem answers for the images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from devtools.search_benchmark.images import Profile
from devtools.search_benchmark.plan import QUICK, Plan
from devtools.search_benchmark.runs import Subject
from ecad_search.architectures import sized
from ecad_search.core.cost import relative_cost
from ecad_search.evolution import quick
from ecad_search.testing.search_problem import SearchProblem

TINY = sized("pixart", {"blocks": 3}, hidden=48)
STEPS = 6
LOSSES = 0.15  # of the problem's own: as the demo model loses, against the same reference point


class SyntheticImages:
    """An ImageSource; `asked` counts the images by kind."""

    def __init__(self, seed: int = 0, noise: float = 0.0) -> None:
        self.problem = SearchProblem(TINY, STEPS, seed=seed, n_samples=48, noise=noise)
        self.asked = {"scores": 0, "drifts": 0}

    def _numbers(self, schedule, prompts, indices):
        samples = [i % 24 + (24 if prompts.source == "emoji-heldout" else 0) for i in indices]
        uncached = [float(self.problem._uncached[i]) for i in samples]
        if schedule.steps == STEPS:
            scores = self.problem.score(schedule, tuple(samples))
        else:
            scores = [score - (1 - schedule.steps / STEPS) ** 2 for score in uncached]
        return [u + LOSSES * (score - u) for u, score in zip(uncached, scores, strict=True)]

    def scores(self, schedule, prompts, indices):
        self.asked["scores"] += len(indices)
        return self._numbers(schedule, prompts, indices)

    def drifts(self, schedule, prompts, indices):
        self.asked["drifts"] += len(indices)
        return [self.problem.true_loss(schedule) * (1 + 0.1 * i) for i in indices]

    def profile(self, prompts, steps, samples, images):
        """What each unit is good for is made up, drifts are the problem's own."""
        benefits = np.linspace(0.1, 0.4, int(quick.units(TINY).max()) + 1)
        plan = quick.plan_of(TINY, STEPS, TINY.native_workload(2), benefits)
        gaps = [(gap,) for gap in quick.probes(plan, 3.0)]
        self.asked["drifts"] += samples + len(gaps)
        return Profile(
            benefits.tolist(),
            [
                ([list(gap) for gap in g], i % samples, self.problem.true_loss(plan.schedule(g)))
                for i, g in enumerate(gaps)
            ],
        )

    @property
    def total(self) -> int:
        return sum(self.asked.values())


@pytest.fixture
def images():
    return SyntheticImages


@pytest.fixture
def subject():
    """A Subject round one source of synthetic images."""

    def build(source=None, **identity) -> Subject:
        source = source or SyntheticImages()
        return Subject(source, TINY, TINY.native_workload(2), {"model": "synthetic", **identity})

    return build


@pytest.fixture
def plan() -> Plan:
    """Small: 24 * 4 * 3 = 288 images for the official arm."""
    return dataclasses.replace(QUICK, steps=STEPS, samples=4, generations=3, heldout=8, picks=4)


@pytest.fixture
def uncached_cost():
    return lambda schedule: relative_cost(schedule, TINY.native_workload(2))
