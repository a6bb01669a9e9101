"""Quick schedules: rings, probes, the regression, and shortest paths against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search import architectures
from ecad_search.core import pareto, presets
from ecad_search.core.architecture import Workload
from ecad_search.core.cost import relative_cost
from ecad_search.core.latency import Latency, TimeCost
from ecad_search.errors import SearchError
from ecad_search.evolution import quick
from ecad_search.evolution.quick import Effects, Gap, Measured, Plan, Prediction

PIXART = architectures.sized("pixart", {"blocks": 2}, hidden=32)
FLUX = architectures.sized("flux", {"double_blocks": 1, "single_blocks": 2}, hidden=64)
WORKLOAD = Workload(batch=1, width=256, height=256)


def plan_for(architecture=PIXART, steps=8, seed=0) -> Plan:
    rng = np.random.default_rng(seed)
    n_units = int(quick.units(architecture).max()) + 1
    return quick.plan_of(architecture, steps, WORKLOAD, rng.random(n_units) / (4 * n_units))


NO_EFFECTS = Effects(np.zeros(0), np.zeros(0), {})
ECHO = np.array([-3.0, 1.8, 0.5, -1.0, -2.0])
NO_ECHO = np.array([-99.0, 0.0, 0.0, 0.0, 0.0])


def prediction_of(plan: Plan, seed: int, exponent=0.7, echo=ECHO) -> Prediction:
    logs = np.random.default_rng(seed).normal(-5, 2, len(plan.gaps))
    return Prediction(plan, logs, exponent, echo, NO_EFFECTS, 0.1)


def every_path(plan: Plan, start: int = 0) -> Iterator[tuple[Gap, ...]]:
    """The gaps of every schedule there is from the full step `start` on."""
    if start == plan.steps:
        yield ()
        return
    yield from every_path(plan, start + 1)
    for gap in plan.gaps:
        if gap.start == start:
            for rest in every_path(plan, gap.stop):
                yield (gap, *rest)


def added_up(prediction: Prediction, gaps: tuple[Gap, ...]) -> float:
    """What `solve` minimises."""
    total, end, length = 0.0, -1, 0  # of the gap before
    for gap in gaps:
        addends = prediction.addends(length if end == gap.start else 0)
        total += addends[prediction.plan.index[gap]]
        end, length = gap.stop, gap.length
    return total ** (1 / prediction.exponent)


def rounded_cost(plan: Plan, gaps: tuple[Gap, ...]) -> int:
    full = quick.COST_UNITS // plan.steps
    steps = plan.steps - sum(gap.length for gap in gaps)
    return steps * full + sum(round(plan.gap_cost(gap) / plan.full_cost * full) for gap in gaps)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 6),
    st.integers(0, 10_000),
    st.floats(0.5, 1.0),
    st.sampled_from([PIXART, FLUX]),
)
def test_no_schedule_is_better_at_its_cost_than_the_one_that_is_found(
    steps, seed, exponent, architecture
):
    plan = plan_for(architecture, steps, seed)
    prediction = prediction_of(plan, seed, exponent)
    best: dict[int, float] = {}
    for gaps in every_path(plan):
        spent = rounded_cost(plan, gaps)
        best[spent] = min(best.get(spent, np.inf), added_up(prediction, gaps))
    falling, expected = np.inf, []
    for spent in sorted(best):
        if best[spent] < falling:
            falling = best[spent]
            expected.append((spent, falling))
    found = quick.solve(prediction)
    assert [spent for spent, _ in expected] == [rounded_cost(plan, c.gaps) for c in found]
    np.testing.assert_allclose([d for _, d in expected], [c.drift for c in found], rtol=1e-9)
    for expected_drift in (added_up, lambda prediction, gaps: prediction.drift(gaps)):
        np.testing.assert_allclose(
            [c.drift for c in found], [expected_drift(prediction, c.gaps) for c in found], rtol=1e-9
        )


@pytest.mark.parametrize("architecture", [PIXART, FLUX])
def test_a_choice_costs_what_its_schedule_costs(architecture):
    plan = plan_for(architecture)
    for choice in quick.solve(prediction_of(plan, 3)):
        schedule = plan.schedule(choice.gaps)
        assert choice.cost == pytest.approx(relative_cost(schedule, WORKLOAD), rel=1e-9)
        assert np.array_equal(schedule.compute, schedule.canonical().compute)


@given(st.integers(0, 1000), st.sampled_from([PIXART, FLUX]))
def test_rings_lie_one_in_another_and_leave_something_to_reuse(seed, architecture):
    rings = plan_for(architecture, seed=seed).rings
    assert not rings[0].any()
    for inner, outer in itertools.pairwise(rings):
        assert np.array_equal(inner, inner & outer)
        assert inner.sum() < outer.sum() < architecture.n_cells


def test_a_ring_begins_with_what_helps_most_for_its_cost():
    unit = quick.units(PIXART)
    costs = np.bincount(unit, weights=quick.cost.cell_macs(PIXART, WORKLOAD).astype(float))
    benefits = costs * np.where(np.arange(len(costs)) == 2, 3.0, 1.0)
    plan = quick.plan_of(PIXART, 8, WORKLOAD, benefits)
    assert [ring[2] for ring in plan.rings[1:]] == [True] * (len(plan.rings) - 1)


@pytest.mark.parametrize("architecture", [PIXART, FLUX])
def test_by_a_latency_a_choice_costs_what_its_schedule_takes(architecture):
    rng = np.random.default_rng(3)
    latency = Latency(
        0.2,
        {group.name: 0.05 for group in architecture.groups},
        {
            group.name: {component.name: float(rng.random()) for component in group.components}
            for group in architecture.groups
        },
    )
    n_units = int(quick.units(architecture).max()) + 1
    benefits = rng.random(n_units)
    plan = quick.plan_of(architecture, 8, WORKLOAD, benefits, latency=latency)
    times = TimeCost(architecture, 8, latency)
    choices = quick.solve(prediction_of(plan, 0))
    assert len(choices) > 3
    for choice in choices:
        assert times.shares(plan.rows(choice.gaps)) == pytest.approx(choice.cost)


def test_by_a_latency_a_ring_begins_with_what_helps_most_for_its_time():
    """Of equal help, and attention by far the quickest: MACs say the cross-attention."""
    group = PIXART.groups[0].name
    latency = Latency(0.1, {group: 0.0}, {group: {"attn": 0.01, "cross_attn": 1.0, "mlp": 1.0}})
    even = np.ones(PIXART.n_cells)
    by_macs = quick.plan_of(PIXART, 8, WORKLOAD, even)
    by_seconds = quick.plan_of(PIXART, 8, WORKLOAD, even, latency=latency)

    def smallest(plan: Plan) -> set[str]:
        return {PIXART.cells[cell].component for cell in np.flatnonzero(plan.rings[1])}

    assert {"attn"} == smallest(by_seconds)
    assert "attn" not in smallest(by_macs)


def test_components_that_never_help_are_in_no_ring():
    plan = quick.plan_of(PIXART, 8, WORKLOAD, -np.ones(PIXART.n_cells))
    assert 1 == len(plan.rings)


def test_the_three_components_of_a_flux_single_block_are_one():
    unit = quick.units(FLUX)
    assert [0, 1, 2, 3, 3, 3, 4, 4, 4] == unit.tolist()
    for ring in plan_for(FLUX).rings:
        assert all(len(set(ring[unit == number])) == 1 for number in range(5))


def test_more_steps_than_memory_allows_are_refused():
    with pytest.raises(SearchError, match="at most 120 steps, got 121"):
        quick.plan_of(PIXART, 121, WORKLOAD, np.ones(PIXART.n_cells))


@given(st.integers(2, 60), st.floats(0.0, 12.0))
def test_probes_are_different_and_within_the_budget(steps, budget):
    plan = plan_for(steps=steps)
    chosen = quick.probes(plan, budget)
    assert len(chosen) == len(set(chosen))
    assert sum(plan.images([gap]) for gap in chosen) <= budget + 1e-9


@given(st.integers(2, 120), st.integers(1, 400), st.integers(1, 8))
def test_every_sample_probes_one_step_after_the_first_or_none(steps, n_units, samples):
    probed = quick.probed_steps(steps, n_units, samples)
    assert samples == len(probed)
    assert probed[0] > 0
    assert all(step == -1 or 0 < step < steps for step in probed)


def true_log_drift(plan: Plan, gap: Gap) -> float:
    """A smooth world: drift grows with length and towards the end, and a ring helps."""
    left = plan.steps - gap.start - gap.length
    share = plan.ring_costs[plan.fills[gap.fill].ring] / plan.full_cost
    return -7 + 1.5 * np.log(gap.length) - 1.2 * np.log(left) - 2 * share


def test_what_was_not_measured_is_told_from_what_was():
    plan = plan_for(steps=12)
    rng = np.random.default_rng(1)
    measured = [
        Measured((gap,), i % 3, float(np.exp(true_log_drift(plan, gap) + rng.normal(0, 0.1))))
        for i, gap in enumerate(quick.probes(plan, 8.0))
    ]
    assert len(measured) < len(plan.gaps) / 4
    found = quick.predicted(plan, measured)
    truth = np.array([true_log_drift(plan, gap) for gap in plan.gaps])
    assert np.std(found.logs - truth) < 0.25 < np.std(truth) / 3


def test_a_sample_that_is_more_sensitive_throughout_does_not_change_the_order():
    plan = plan_for(steps=12)
    measured = [
        Measured((gap,), i % 2, float(np.exp(true_log_drift(plan, gap) + 1.5 * (i % 2))))
        for i, gap in enumerate(quick.probes(plan, 8.0))
    ]
    logs = quick.predicted(plan, measured).logs
    truth = np.array([true_log_drift(plan, gap) for gap in plan.gaps])
    assert np.corrcoef(logs, truth)[0, 1] > 0.97


def test_a_whole_schedule_that_drifts_more_than_its_gaps_raises_the_prediction_of_it():
    plan = plan_for(steps=12)
    measured = [
        Measured((gap,), 0, float(np.exp(true_log_drift(plan, gap))))
        for gap in quick.probes(plan, 5.0)
    ]
    gaps = (Gap(2, 3, 0), Gap(6, 3, 0), Gap(10, 1, 0))
    like = (Gap(1, 3, 0), Gap(5, 3, 0), Gap(9, 1, 0))
    before = quick.predicted(plan, measured)
    truth = 20 * before.drift(gaps)
    after = quick.predicted(plan, [*measured, Measured(gaps, 0, truth)])
    assert 3 * before.drift(gaps) < after.drift(gaps)
    assert before.drift(like) < after.drift(like)
    own = after.drift(gaps) / before.drift(gaps)
    assert after.drift(like) / before.drift(like) < own  # that gap alone was measured to be so


def test_what_a_measured_schedule_is_off_by_is_expected_of_others_of_its_cost():
    plan = plan_for()
    effects = Effects(np.array([0.5]), np.array([2.0]), {(Gap(0, 1, 0), Gap(2, 1, 0)): 0})
    shared = quick.ALIKE * quick.SCHEDULE_DEVIATION**2 * 2.0
    own = (1 - quick.ALIKE) * quick.SCHEDULE_DEVIATION**2 * 2.0
    assert shared + own == pytest.approx(effects.of((Gap(0, 1, 0), Gap(2, 1, 0)), 0.5))
    assert shared == pytest.approx(effects.of((Gap(1, 1, 0), Gap(3, 1, 0)), 0.5))
    assert 0 < effects.of((Gap(1, 1, 0), Gap(3, 1, 0)), 0.25) < shared / 10
    assert 0.0 == effects.of((Gap(1, 1, 0),), 0.5)  # a gap alone is what it was measured to be
    assert 0.0 == NO_EFFECTS.of((Gap(0, 1, 0), Gap(2, 1, 0)), plan.cost((Gap(0, 1, 0),)))


def test_the_drift_of_several_gaps_lies_between_the_sum_and_its_coherent_end():
    plan = plan_for()
    gaps = (Gap(0, 1, 0), Gap(3, 1, 0))
    logs = np.full(len(plan.gaps), np.log(0.01))
    apart = Prediction(plan, logs, 1.0, NO_ECHO, NO_EFFECTS, 0.1).drift(gaps)
    alike = Prediction(plan, logs, 0.5, NO_ECHO, NO_EFFECTS, 0.1).drift(gaps)
    assert 0.02 == pytest.approx(apart)
    assert 0.04 == pytest.approx(alike)
    assert 0.0 == Prediction(plan, logs, 0.5, NO_ECHO, NO_EFFECTS, 0.1).drift(())


def test_only_a_gap_one_step_after_another_has_an_echo_of_it():
    plan = plan_for()
    logs = np.full(len(plan.gaps), np.log(0.01))
    prediction = Prediction(plan, logs, 1.0, ECHO, NO_EFFECTS, 0.1)
    beside, apart = (Gap(0, 2, 0), Gap(3, 2, 0)), (Gap(0, 2, 0), Gap(4, 2, 0))
    assert 0.02 == pytest.approx(prediction.drift(apart))
    # The echo of two steps in two steps that end three before the end, by its definition.
    share = plan.ring_costs[0] / plan.full_cost
    echo = np.exp(ECHO @ [1.0, np.log(2 / 8), np.log(2 / 8), np.log(3 / 8), share])
    assert 0.02 + echo == pytest.approx(prediction.drift(beside))


@given(st.integers(2, 60), st.integers(0, 100))
@settings(deadline=None)
def test_refreshes_are_steps_of_their_gap_and_cost_what_their_ring_costs(steps, seed):
    plan = plan_for(steps=steps, seed=seed)
    for gap in plan.gaps:
        refreshed = plan.refreshed(gap)
        assert plan.fills[gap.fill].refreshes == len(set(refreshed)) == len(refreshed)
        assert all(gap.start < step < gap.stop for step in refreshed)
    for gap in plan.gaps[:: max(1, len(plan.gaps) // 20)]:
        assert relative_cost(plan.schedule([gap]), WORKLOAD) == pytest.approx(plan.cost([gap]))


def test_fora_is_measured_first_where_it_is_hardest_to_beat():
    plan = plan_for(steps=14)
    measured = [
        Measured((gap,), 0, float(np.exp(true_log_drift(plan, gap))))
        for gap in quick.probes(plan, 2.0)
    ]
    fora = [(quick.gaps_of(presets.fora(PIXART, 14, every)), 0) for every in (6, 7)]
    wishes = quick.worth_measuring(plan, measured, 3, 0)
    assert fora == wishes
    measured += [Measured(gaps, sample, 0.1) for gaps, sample in wishes]
    wishes = quick.worth_measuring(plan, measured, 3, 2)
    assert quick.WISHES == len(set(wishes))
    assert not set(fora) & set(wishes)


def test_nothing_measured_is_an_error():
    with pytest.raises(SearchError, match="No gap was measured"):
        quick.predicted(plan_for(), [])


def test_no_schedule_is_measured_twice_on_one_sample():
    plan = plan_for(steps=6)
    measured = [
        Measured((gap,), 0, float(np.exp(true_log_drift(plan, gap))))
        for gap in quick.probes(plan, 2.0)
    ]
    first = len(measured)
    while wishes := quick.worth_measuring(plan, measured, 3, len(measured) - first):
        assert len(measured) < 100  # there is an end of what can be learnt
        for gaps, sample in wishes:
            drift = sum(np.exp(true_log_drift(plan, gap)) for gap in gaps)
            measured.append(Measured(gaps, sample, float(drift)))
    tried = [(one.gaps, one.sample) for one in measured]
    assert len(tried) == len(set(tried)) > first


@given(st.integers(0, 100), st.integers(2, 40))
def test_a_start_is_spread_over_the_speedups(seed, count):
    choices = [c for c in quick.solve(prediction_of(plan_for(steps=10), seed)) if c.gaps]
    kept = quick.spread(choices, count)
    assert 1 <= len(kept) <= count
    assert choices[0] == kept[0]
    assert kept == sorted(set(kept), key=lambda choice: choice.cost)
    step = (1 / choices[0].cost / quick.SLOWEST_START) ** (1 / (count - 1))
    for choice in choices:  # whoever wants its speed-up finds the next lower one, or its like
        if choice.cost <= 1 / quick.SLOWEST_START:
            slower = [c for c in kept if choice.cost <= c.cost * quick.SAME_COST]
            assert any(
                c.drift <= choice.drift or c.cost <= choice.cost * step * quick.SAME_COST
                for c in slower
            )


def test_nothing_to_choose_from_is_an_empty_start():
    assert [] == quick.by_gain(quick.spread([], 5))


@given(st.integers(0, 100), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_each_of_a_start_adds_most_to_those_before_it(seed, count):
    """Checked with the hypervolume, which the order itself does not use."""
    found = quick.solve(prediction_of(plan_for(steps=10), seed))
    choices = quick.spread([choice for choice in found if choice.gaps], count)
    ordered = quick.by_gain(choices)
    assert choices == sorted(ordered, key=lambda choice: choice.cost)
    corner = [1.0, 1.05 * max(choice.drift for choice in choices)]

    def area(taken):
        return pareto.hypervolume(np.array([[c.cost, c.drift] for c in taken]), corner)

    for n, taken in enumerate(ordered):
        most = max(area([*ordered[:n], other]) for other in ordered[n:])
        assert pytest.approx(most) == area([*ordered[:n], taken])


@pytest.mark.parametrize("every", [2, 3, 5])
def test_fora_is_a_path_of_gaps(every):
    plan = plan_for(steps=8)
    schedule = presets.fora(PIXART, 8, every)
    gaps = quick.gaps_of(schedule)
    assert gaps is not None
    assert np.array_equal(schedule.compute, plan.rows(gaps))


def test_a_schedule_that_cuts_through_steps_is_no_path_of_empty_rings():
    assert quick.gaps_of(presets.fora_attention(PIXART, 8, 2)) is None


@pytest.mark.parametrize(
    ("budget", "images"), [(78, 13.0), (130, 13.0), (1000, 100.0), (1200, 120.0), (10**6, 120.0)]
)
def test_a_search_begins_with_a_profile_of_a_tenth_of_its_images(budget, images):
    assert images == quick.images_before(budget)
