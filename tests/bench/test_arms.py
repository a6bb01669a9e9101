"""Each arm searches as it says and no image goes uncounted."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from devtools.search_benchmark.arms import ARMS, arm_named, official, ours, step_masks
from devtools.search_benchmark.heldout import share_dominated
from devtools.search_benchmark.meter import Meter
from ecad_search.evolution.seeding import paper_population

pymoo = pytest.mark.skipif(
    find_spec("pymoo") is None,
    reason="pymoo (development only) is not installed",
)
BY_NAME = [
    pytest.param(arm, id=arm.name, marks=pymoo if arm.name == "official" else ()) for arm in ARMS
]


def metered(subject, plan, budget, seed=0, source=None):
    made = subject(source)
    return Meter(
        made.source, plan.calibration(seed), made.architecture, plan.steps, made.workload, budget
    )


@pytest.mark.parametrize("arm", BY_NAME)
def test_an_arm_stays_in_its_budget_and_counts_what_it_asks_for(arm, subject, plan, images):
    source = images(noise=0.02)
    meter = metered(subject, plan, 80, source=source)
    arm.finish(meter, seed=1)
    assert meter.images <= 80
    # Only the score of a picture that was rendered for its drift is free.
    assert 0 <= source.total - meter.images <= source.asked["drifts"]
    assert len(meter.front()) >= 2
    assert meter.uncached.key in {point.schedule.key for point in meter.scored()}


@pytest.mark.parametrize("arm", BY_NAME)
def test_an_arm_does_the_same_again(arm, subject, plan):
    fronts = []
    for _ in range(2):
        meter = metered(subject, plan, 80)
        arm.finish(meter, seed=3)
        fronts.append([(point.schedule.key, point.loss) for point in meter.scored()])
    assert fronts[0] == fronts[1]


def test_the_search_and_the_meter_count_alike(subject, plan, monkeypatch):
    counted = []

    class Noted(ours.Search):
        def tell(self, job, scores, *, seconds=0.0):
            super().tell(job, scores, seconds=seconds)
            counted.append(self.progress.images)

    meter = metered(subject, plan, 110)
    ours.finish(meter, ours.ecad_settings(meter, 0), Noted)
    assert counted[-1] == meter.images
    assert 80 < meter.images <= 110


def test_an_ablation_leaves_out_what_it_says(subject, plan):
    origins = {}

    def noting(name):
        class Noted(ours.Search):
            def tell(self, job, scores, *, seconds=0.0):
                origins.setdefault(name, set()).add(job.candidate.origin)
                super().tell(job, scores, seconds=seconds)

        return Noted

    for name, kind in (
        ("whole", ours.Search),
        ("start", ours.RandomStart),
        ("flat", ours.FlatChildren),
    ):
        noted = type(name, (noting(name), kind), {})
        meter = metered(subject, plan, 110)
        ours.finish(meter, ours.ecad_settings(meter, 0), noted)
    assert any(origin.startswith("fora") for origin in origins["whole"])
    assert not any(origin.startswith("fora") for origin in origins["start"])
    assert "crossover and mutation" in origins["flat"]
    assert "crossover and mutation" not in origins["whole"]


# --- the official settings -----------------------------------------------------------------------


@pymoo
def test_pymoo_begins_with_the_paper_s_population_and_leaves_its_first_step_out(subject, plan):
    asked = []

    class Noting(Meter):
        def scores(self, schedule, samples=None):
            asked.append(schedule)
            return super().scores(schedule, samples)

    made = subject()
    meter = Noting(
        made.source, plan.calibration(0), made.architecture, plan.steps, made.workload, 4 * 60
    )
    arm_named("official").finish(meter, seed=5)
    start = paper_population(meter.architecture, plan.steps, 24, np.random.default_rng(5))
    assert [seed.schedule.key for seed in start] == [schedule.key for schedule in asked[:24]]
    assert 60 == len(asked) - 1  # the last one was refused
    assert all(schedule.compute[0].all() for schedule in asked)


@pymoo
def test_mode_paper_and_pymoo_find_equally_good_fronts(subject, plan, images):
    """12 seeds of both on one noiseless problem: the means differ by chance at most."""
    source, found = images(seed=2), {"official": [], "paper": []}
    for name, seed in itertools.product(found, range(12)):
        meter = metered(subject, plan, 24 * 4 * 6, source=source)
        arm_named(name).finish(meter, seed)
        points = [(point.cost, point.loss) for point in meter.front()]
        found[name].append(share_dominated(points, worst=1.0))
    ours_, theirs = np.array(found["paper"]), np.array(found["official"])
    error = np.sqrt(ours_.var(ddof=1) / 12 + theirs.var(ddof=1) / 12)
    assert abs(ours_.mean() - theirs.mean()) <= 3.5 * error
    # ... and the test would see a search that goes nowhere.
    start = metered(subject, plan, 24 * 4, source=source)
    arm_named("official").finish(start, 0)
    begun = share_dominated([(p.cost, p.loss) for p in start.front()], worst=1.0)
    assert theirs.mean() - begun > 3.5 * error


# --- step masks ----------------------------------------------------------------------------------


def test_dynamic_programming_finds_what_trying_every_mask_finds():
    steps = 6
    rng = np.random.default_rng(0)
    drift = np.full((steps + 1, steps + 1), np.inf)
    for start in range(steps):
        for stop in range(start + 1, steps + 1):
            drift[start, stop] = rng.random() * (stop - start - 1)

    def total(mask):
        computed = [i for i in range(steps) if mask[i]] + [steps]
        return sum(drift[a, b] for a, b in itertools.pairwise(computed))

    masks = [(True, *rest) for rest in itertools.product((False, True), repeat=steps - 1)]
    for mask in step_masks.best_paths(drift):
        rivals = [other for other in masks if sum(other) == sum(mask)]
        assert pytest.approx(min(map(total, rivals))) == total(mask)
    assert list(range(1, steps + 1)) == [sum(mask) for mask in step_masks.best_paths(drift)]


def test_a_gap_that_was_not_measured_is_not_taken():
    drift = np.full((5, 5), np.inf)
    for step in range(4):
        drift[step, step + 1] = 0.0
    drift[1, 3] = 1.0
    assert [(True, True, False, True), (True,) * 4] == step_masks.best_paths(drift)


def test_annealing_keeps_the_number_of_computed_steps_and_finds_the_best_mask(subject, plan):
    meter = metered(subject, plan, 10_000)
    start = step_masks.evenly(plan.steps, 3)
    found = step_masks.annealed(meter, start, (0, 1), np.random.default_rng(0))
    masks = [
        mask
        for rest in itertools.product((False, True), repeat=plan.steps - 1)
        if sum(mask := (True, *rest)) == 3
    ]

    def drift(mask):
        return float(np.mean(meter.drifts(step_masks.schedule_of(meter, mask), (0, 1))))

    assert 3 == sum(found)
    assert min(masks, key=drift) == found


def test_official_is_listed_with_its_settings():
    assert arm_named("official").run is official.run
    assert len({arm.name for arm in ARMS}) == len(ARMS)
