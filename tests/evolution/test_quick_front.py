"""What a quick profile tries, what it believes of it, and the front it ends in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search import architectures
from ecad_search.core import presets
from ecad_search.core.architecture import Workload
from ecad_search.core.cost import relative_cost
from ecad_search.evolution import quick, quick_front
from ecad_search.evolution.quick_front import Choice, Evidence
from ecad_search.evolution.response import Sampler, Trial

PIXART = architectures.sized("pixart", {"blocks": 2}, hidden=32)
FLUX = architectures.sized("flux", {"double_blocks": 1, "single_blocks": 2}, hidden=64)
WORKLOAD = Workload(batch=1, width=256, height=256)
STEPS = 12


def plan_for(architecture=PIXART, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    n_units = int(quick.units(architecture).max()) + 1
    return quick_front.plan_of(architecture, steps, WORKLOAD, rng.random(n_units) / (4 * n_units))


def evidence_of(plan, paths, samples=2, seed=0):
    """As if these were tried: deviations by lot, larger where more is reused."""
    rng = np.random.default_rng(seed)
    steps, whole = plan.steps, len(plan.rings)
    weights = np.tril(rng.random((steps + 1, steps)), -1)
    sampler = Sampler(weights, np.arange(steps), np.linspace(1.0, 0.1, steps))
    trials, drifts = [], {}
    for sample in range(samples):
        own = []
        for path in paths:
            predictions = rng.normal(size=(steps, 20)) * (whole - np.array(path))[:, np.newaxis]
            inputs = weights[:steps] @ predictions
            own.append(Trial(path, inputs.astype(np.float32), predictions.astype(np.float32)))
            drifts[sample, path] = float(((weights[steps] @ predictions) ** 2).sum()) / 1e4
        trials.append(tuple(own))
    velocities = rng.normal(size=(samples, steps, 20)).astype(np.float32)
    return Evidence(plan, sampler, tuple(trials), drifts, np.full(samples, 1e4), velocities)


def front_of(evidence):
    return evidence.front((), 3, np.random.default_rng(0))


@given(st.integers(2, 60), st.sampled_from([PIXART, FLUX]))
@settings(deadline=None)
def test_what_is_tried_first_is_different_and_reuses(steps, architecture):
    plan = plan_for(architecture, steps)
    paths = quick_front.first_paths(plan)
    assert paths
    assert len(set(paths)) == len(paths)
    for path in paths:
        store = quick_front.first_store(plan, path)
        assert len(plan.rings) == path[0] == path[store]
        assert path[store + 1] < len(plan.rings)
        assert 0 < quick_front.images_of(plan, path) < 1


@pytest.mark.parametrize("architecture", [PIXART, FLUX])
def test_a_path_costs_what_its_schedule_costs(architecture):
    plan = plan_for(architecture)
    for path in quick_front.first_paths(plan):
        schedule = quick_front.schedule_of(plan, path)
        expected = relative_cost(schedule, WORKLOAD)
        assert expected == pytest.approx(quick_front.cost_of(plan, path))


@pytest.mark.parametrize("every", [2, 3, 5, 7])
def test_fora_is_the_path_of_its_schedule(every):
    plan = plan_for()
    path = quick_front.fora_path(plan, every)
    expected = presets.fora(PIXART, STEPS, every)
    assert expected.key == quick_front.schedule_of(plan, path).key


@given(st.integers(3, 60), st.sampled_from([PIXART, FLUX]), st.integers(2, 9))
@settings(deadline=None)
def test_what_is_freshened_costs_no_more_and_moves_work_into_the_gap(steps, architecture, every):
    plan = plan_for(architecture, steps)
    whole, fora = len(plan.rings), quick_front.fora_path(plan, every)
    wholes = np.flatnonzero(fora).tolist()
    for gap in (-1, -2):
        path = quick_front.freshened(plan, fora, gap)
        if path is None:
            continue
        thinned, fresh = wholes[-2] or wholes[-1], [*wholes, steps][gap - 1]
        changed = [step for step in range(steps) if path[step] != fora[step]]
        inside = next(step for step in changed if step != thinned)
        assert sorted({thinned, inside}) == changed
        assert fresh < inside < [*wholes, steps][gap:][0]
        assert whole - 1 == path[thinned] > path[inside] > 0
        limit = quick_front.cost_of(plan, fora) * quick.SAME_COST
        assert quick_front.cost_of(plan, path) <= limit
        dearer = quick_front.freshened(plan, fora, gap, thinned=False)
        assert dearer is not None
        assert {inside: path[inside]} == {
            step: dearer[step] for step in range(steps) if dearer[step] != fora[step]
        }


def test_a_gap_without_a_step_inside_is_not_freshened_nor_is_what_computes_one_step_only():
    plan = plan_for(steps=13)
    six = quick_front.fora_path(plan, 6)  # steps 0, 6 and 12
    assert quick_front.freshened(plan, six, -1) is None
    assert quick_front.freshened(plan, six, -2) is not None
    seven = quick_front.fora_path(plan, 7)  # steps 0 and 7, and the first must stay whole
    assert quick_front.freshened(plan, seven, -2) is None
    assert quick_front.freshened(plan, seven, -1) is not None
    one = (len(plan.rings), *[0] * 12)
    assert quick_front.freshened(plan, one, -1) is None


def test_even_paths_end_where_they_are_told_to_and_compute_so_many_steps():
    plan = plan_for(steps=20)
    path = quick_front.even_path(plan, 4, 18)
    assert quick_front.fora_path(plan, 6) == path
    assert quick_front.even_path(plan, 5, 3) is None


def test_the_last_gap_of_a_fresh_end_is_nearly_so_much_of_the_others():
    plan = plan_for(steps=20)
    whole = len(plan.rings)
    for number in (3, 4, 5, 6):
        paths = quick_front.fresh_ends(plan, number)
        assert 2 == len(paths)
        off = []
        for path in paths:
            places = [step for step, ring in enumerate(path) if ring >= whole - 1]
            assert number == len(places)
            off.append(abs(20 - places[-1] - quick_front.LAST_GAP * places[-1] / (number - 1)))
        assert sorted(off) == off
        assert off[0] < 1.5


def test_where_nothing_grows_old_in_between_nothing_is_freshened():
    plan = plan_for(steps=20)
    assert quick_front.fresh_ends(plan, 10) == []
    assert quick_front.fresh_middle(plan, 10) is None
    assert quick_front.fresh_middle(plan, 4) is not None


@given(st.integers(2, 60), st.sampled_from([PIXART, FLUX]))
@settings(deadline=None)
def test_the_usual_ones_are_different_and_begin_with_everything(steps, architecture):
    plan = plan_for(architecture, steps)
    paths = quick_front.usual_paths(plan)
    assert len(set(paths)) == len(paths)
    assert all(len(plan.rings) == path[0] for path in paths)
    for every in quick_front.references(plan):
        assert quick_front.fora_path(plan, every) in paths


def test_where_no_ring_makes_a_whole_step_with_the_largest_there_are_whole_steps_only():
    n_units = int(quick.units(PIXART).max()) + 1
    one = quick.plan_of(PIXART, STEPS, WORKLOAD, np.full(n_units, 0.1), shares=(0.9,))
    assert all(set(path) <= {0, len(one.rings)} for path in quick_front.usual_paths(one))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("blocks", [2, 5, 10])
def test_the_largest_ring_and_one_of_a_quarter_cost_no_more_than_everything(blocks, seed):
    pixart = architectures.sized("pixart", {"blocks": blocks}, hidden=32)
    plan = plan_for(pixart, seed=seed)
    quarter = plan_for_shares(pixart, seed, (0.25,)).rings[-1]
    place = next(i for i, ring in enumerate(plan.rings) if np.array_equal(ring, quarter))
    costs = quick_front.ring_costs(plan)
    assert 0 < place < len(plan.rings) - 1
    assert costs[-2] + costs[place] - costs[0] <= costs[-1] * (1 + 1e-9)
    assert costs[-2] + costs[place] - costs[0] > 0.8 * costs[-1]


def plan_for_shares(architecture, seed, shares):
    rng = np.random.default_rng(seed)
    n_units = int(quick.units(architecture).max()) + 1
    benefits = rng.random(n_units) / (4 * n_units)
    return quick.plan_of(architecture, STEPS, WORKLOAD, benefits, shares=shares)


def test_only_what_was_tried_on_every_sample_counts_as_tried():
    plan = plan_for()
    paths = quick_front.first_paths(plan)[:3]
    evidence = evidence_of(plan, paths)
    assert list(paths) == list(evidence.tried)
    some = {key: drift for key, drift in evidence.drifts.items() if key != (1, paths[0])}
    fewer = replace(evidence, drifts=some)
    assert list(paths[1:]) == list(fewer.tried)
    assert evidence.tried[paths[1]] == pytest.approx(
        (evidence.drifts[0, paths[1]] * evidence.drifts[1, paths[1]]) ** 0.5
    )


def test_what_the_responses_are_off_by_in_the_mean_is_made_good_as_whole_steps_show_it():
    plan = plan_for()
    paths = quick_front.first_paths(plan)
    evidence = evidence_of(plan, paths)
    wholes = [path for path in paths if set(path) == {0, len(plan.rings)}]
    assert 2 <= len(wholes) < len(paths)
    off = np.log([evidence.tried[path] for path in wholes])
    off -= np.log(evidence.told(np.array(wholes)))
    assert 0.0 == pytest.approx(off.mean(), abs=1e-9)
    farther = {key: 20 * drift for key, drift in evidence.drifts.items()}
    others = np.array([quick_front.fora_path(plan, every) for every in (2, 3, 5)])
    told = replace(evidence, drifts=farther).told(others)
    assert (20 * evidence.told(others)).tolist() == pytest.approx(told.tolist())


def test_nothing_is_wished_for_twice():
    plan = plan_for()
    paths = quick_front.first_paths(plan)
    number, wished = 0, []
    for _ in range(30):
        evidence = evidence_of(plan, paths)
        wish = quick_front.wish(evidence, front_of(evidence), number)
        assert wish is not None
        path, number = wish
        assert path not in paths
        paths = [*paths, path]
        wished.append(path)
        assert path not in front_of(evidence_of(plan, paths))
    assert len(set(wished)) == len(wished)


def test_the_usual_is_believed_once_tried_and_what_looks_good_is_doubted():
    plan = plan_for()
    fora, other = quick_front.fora_path(plan, 6), (len(plan.rings), *[0, 1] * 5, 0)
    end = quick_front.fresh_ends(plan, 2)[0]
    evidence = evidence_of(plan, [fora, end, other])
    assert evidence.tried[fora] == quick_front.doubted(evidence, fora, 1.0)
    expected = evidence.tried[end] * np.exp(-quick_front.FRESH_LEAD)
    assert expected == pytest.approx(quick_front.doubted(evidence, end, 1.0))
    little = replace(evidence, drifts=dict.fromkeys(evidence.drifts, 0.01))
    expected = 0.01 * 100**quick_front.TRIED_DOUBT
    assert expected == pytest.approx(quick_front.doubted(little, other, 1.0))
    much = replace(evidence, drifts=dict.fromkeys(evidence.drifts, 2.0))
    assert 2.0 == pytest.approx(quick_front.doubted(much, other, 1.0))
    never, untried = quick_front.fora_path(plan, 2), (len(plan.rings), *[1] * 11)
    assert np.exp(quick_front.USUAL_DOUBT) == quick_front.doubted(evidence, never, 1.0)
    fresh = quick_front.fresh_ends(plan, 4)[0]
    expected = np.exp(quick_front.USUAL_DOUBT - quick_front.UNTRIED_LEAD)
    assert expected == quick_front.doubted(evidence, fresh, 1.0)
    assert np.exp(quick_front.DOUBT) == quick_front.doubted(evidence, untried, 1.0)


def test_the_usual_that_was_not_tried_is_doubted_beside_one_of_its_cost_that_was():
    plan = plan_for()
    four, five = (quick_front.fora_path(plan, every) for every in (4, 5))
    assert quick_front.cost_of(plan, four) == quick_front.cost_of(plan, five)
    beside = evidence_of(plan, [four])
    assert np.exp(quick_front.DOUBT) == quick_front.doubted(beside, five, 1.0)
    alone = evidence_of(plan, [quick_front.fora_path(plan, 6)])
    assert np.exp(quick_front.USUAL_DOUBT) == quick_front.doubted(alone, five, 1.0)


def test_what_was_not_tried_is_doubted_as_much_as_what_was_wished_for_was_told_wrongly():
    plan = plan_for()
    evidence = evidence_of(plan, [quick_front.fora_path(plan, 6)])
    untried = (len(plan.rings), *[1] * 11)
    wrong = replace(evidence, errors=(2.0, -1.0, 2.0))
    expected = np.exp(np.sqrt((quick_front.DOUBT**2 + 4 + 1 + 4) / 4))
    assert expected == pytest.approx(quick_front.doubted(wrong, untried, 1.0))
    right = replace(evidence, errors=(0.0,) * 7)
    assert quick_front.doubted(right, untried, 1.0) < np.exp(quick_front.DOUBT)


def test_a_front_has_what_is_believed_and_the_references_beside_it():
    plan = plan_for()
    evidence = replace(evidence_of(plan, quick_front.first_paths(plan)), errors=(0.3, -0.4))
    paths = front_of(evidence)
    front = quick_front.front_of(evidence, paths, WORKLOAD)
    best = quick_front.choices(evidence, paths)
    believed = {quick_front.schedule_of(plan, one.path).key: -one.drift for one in best}
    shown = {p.schedule.key: p.quality for p in front if p.schedule.key in believed}
    assert shown
    assert all(believed[key] == pytest.approx(quality) for key, quality in shown.items())
    assert np.sqrt((0.3**2 + 0.4**2) / 2) == pytest.approx(front.info["log_error"])
    names = {point.schedule.name for point in front}
    assert {f"fora-{every}-{STEPS}-steps" for every in range(2, 10)} < names
    falling = [choice.drift for choice in best]
    assert sorted(falling, reverse=True) == falling


def random_choices(seed):
    rng = np.random.default_rng(seed)
    drifts = np.sort(rng.lognormal(size=200))[::-1].tolist()
    return [Choice((3, i), (i + 1) / 200, drift) for i, drift in enumerate(drifts)]


@given(st.integers(0, 100), st.integers(2, 40))
def test_thinning_keeps_the_cheapest_and_never_more_than_asked(seed, count):
    kept = quick_front.thinned(random_choices(seed), count)
    assert len(kept) <= count
    assert random_choices(seed)[0] == kept[0]


@given(st.integers(0, 100), st.integers(2, 40), st.sets(st.integers(0, 199), max_size=60))
def test_thinning_keeps_what_has_to_stay(seed, count, places):
    staying = {(3, place) for place in places}
    kept = quick_front.thinned(random_choices(seed), count, staying)
    assert staying <= {choice.path for choice in kept}
