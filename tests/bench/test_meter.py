"""Every image that an arm asks for counts, and its front is that of what it knew by then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from devtools.search_benchmark import heldout
from devtools.search_benchmark.meter import BudgetSpent, Meter, Scored
from ecad_search.core import presets
from ecad_search.core.cost import relative_cost


@pytest.fixture
def meter(images, subject, plan):
    def build(budget=100, source=None):
        made = subject(source or images())
        return Meter(
            made.source, plan.calibration(0), made.architecture, plan.steps, made.workload, budget
        )

    return build


def fora(meter, every):
    return presets.fora(meter.architecture, meter.steps, every)


def test_an_image_asked_for_twice_counts_twice(meter):
    counted = meter()
    counted.scores(fora(counted, 2))
    counted.scores(fora(counted, 2), [0, 1])
    assert 6 == counted.images


def test_a_score_of_a_picture_that_was_rendered_for_its_drift_is_free(meter):
    counted = meter()
    counted.drifts(fora(counted, 2), [0, 1])
    assert 2 == counted.images
    counted.scores(fora(counted, 2))
    assert 4 == counted.images


def test_beyond_the_budget_nothing_is_rendered(meter, images):
    source = images()
    counted = meter(budget=7, source=source)
    counted.scores(fora(counted, 2))
    with pytest.raises(BudgetSpent):
        counted.scores(fora(counted, 3))
    assert (4, 4) == (counted.images, source.total)


def test_a_front_holds_what_was_scored_in_full_by_then(meter):
    counted = meter()
    counted.scores(counted.uncached)
    counted.scores(fora(counted, 2))
    counted.scores(fora(counted, 3), [0, 1])
    assert {counted.uncached.key, fora(counted, 2).key} == {
        point.schedule.key for point in counted.scored()
    }
    counted.scores(fora(counted, 3), [2, 3])
    assert [4, 4, 4] == [point.samples for point in counted.scored()]
    assert 2 == len(counted.scored(images=11))
    assert [] == counted.scored(images=3)


def test_a_schedule_stands_where_the_samples_it_had_by_then_put_it(meter):
    counted = meter()
    counted.enough = 2
    uncached = counted.scores(counted.uncached)
    first = counted.scores(fora(counted, 2), [0, 1])
    then = counted.scores(fora(counted, 2), [2, 3])
    losses = [
        {point.schedule.key: (point.samples, point.loss) for point in counted.scored(images)}
        for images in (6, 8)
    ]
    key = fora(counted, 2).key
    assert (2, pytest.approx(np.mean(np.subtract(uncached[:2], first)))) == losses[0][key]
    assert (4, pytest.approx(np.mean(np.subtract(uncached, first + then)))) == losses[1][key]


def test_costs_and_losses_are_relative_to_the_uncached_run(meter):
    counted = meter()
    counted.scores(counted.uncached)
    scores = counted.scores(fora(counted, 2))
    uncached, point = counted.scored()
    assert (1.0, 0.0) == (uncached.cost, uncached.loss)
    reference = counted.source.scores(counted.uncached, counted.prompts, range(4))
    assert pytest.approx(np.mean(reference) - np.mean(scores)) == point.loss
    assert relative_cost(point.schedule, counted.workload) == point.cost
    fewer = presets.uncached(counted.architecture, 3)
    assert pytest.approx(3 / counted.steps) == counted.cost(fewer)


# --- held-out ------------------------------------------------------------------------------------


@given(arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-0.2, 1.3)))
def test_the_hypervolume_is_moocores(points):
    moocore = pytest.importorskip("moocore", reason="moocore (development only) is not installed")
    worst = 0.25
    expected = moocore.hypervolume(points, ref=[1.0, worst]) / worst
    assert pytest.approx(expected) == heldout.share_dominated(points.tolist(), worst)


def point_of(meter, every, loss):
    schedule = fora(meter, every)
    return Scored(schedule, meter.cost(schedule), loss, 0)


def test_picks_are_few_useful_and_chosen_by_calibration_scores_alone(meter):
    counted = meter()
    front = [
        point_of(counted, 2, 0.01),
        point_of(counted, 3, 0.02),
        point_of(counted, 4, 0.09),
        point_of(counted, 6, 0.5),
    ]
    everything = heldout.picked(front, 9, worst=0.1)
    assert {2, 3, 4} == {e for e in (2, 3, 4, 6) if fora(counted, e).key in keys(everything)}
    assert keys([front[1]]) == keys(heldout.picked(front, 1, worst=0.1))


def keys(points):
    return {point.schedule.key for point in points}


def test_a_front_is_judged_by_its_scores_on_held_out_samples(meter, plan):
    counted = meter()
    counted.scores(counted.uncached)
    counted.scores(fora(counted, 2))
    prompts = plan.heldout_samples()
    found = heldout.checkpoint(counted, 8, counted.source, prompts, picks=4, worst=2.0)
    indices = range(len(prompts.samples))
    uncached, scores = (
        np.mean(counted.source.scores(schedule, prompts, indices))
        for schedule in (counted.uncached, fora(counted, 2))
    )
    cost, loss = counted.cost(fora(counted, 2)), float(uncached - scores)
    assert [pytest.approx(loss)] == [pick.loss for pick in found.picks]
    assert pytest.approx((1 - cost) * (2.0 - loss) / 2.0) == found.hypervolume
    assert found.hypervolume != pytest.approx(found.hypervolume_calibration, abs=1e-6)
    assert 8 == counted.images  # what is held out does not count


def test_a_curve_ends_where_the_arm_ends(meter, plan):
    counted = meter()
    for every in (1, 2, 3):
        counted.scores(fora(counted, every))

    def spent(images_at):
        made = heldout.curve(
            counted, images_at, counted.source, plan.heldout_samples(), picks=2, worst=2.0
        )
        return [point.images for point in made]

    assert [4, 8, 12] == spent([4, 8, 40])
    assert [4, 11] == spent([4, 11])
    assert [12] == spent([40])


def test_held_out_samples_are_apart_from_every_calibration(plan):
    seen = plan.heldout_samples()
    for seed in range(plan.seeds):
        calibration = plan.calibration(seed)
        assert set() == set(seen.prompts) & set(calibration.prompts)
        assert set() == {s.seed for s in seen.samples} & {s.seed for s in calibration.samples}
        assert plan.samples == len(calibration.samples)
    assert plan.calibration(0).prompts != plan.calibration(1).prompts
