"""Seconds of schedules: what was timed is explained, and every schedule gets a sum of its parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.architectures import sized
from ecad_search.core import latency, presets
from ecad_search.core.latency import Latency, TimeCost
from ecad_search.errors import ScheduleError

PIXART = sized("pixart", {"blocks": 3}, hidden=48)
FLUX = sized("flux", {"double_blocks": 2, "single_blocks": 3}, hidden=48)
BOTH = {"pixart": PIXART, "flux": FLUX}
STEPS = 6
times = st.floats(1e-6, 1.0)


def by_hand(architecture, made, compute):
    """Cell by cell, as the docstring says it."""
    total = 0.0
    for row in compute:
        total += made.step
        for group in architecture.groups:
            for block in range(group.count):
                cells = [architecture.cell(group.name, block, c.name) for c in group.components]
                computed = [c.component for c in cells if row[c.index]]
                total += sum(made.components[group.name][name] for name in computed)
                total += made.blocks[group.name] if computed else 0.0
    return total * made.evaluations / made.pictures


@st.composite
def latencies(draw, architecture):
    return Latency(
        step=draw(times),
        blocks={group.name: draw(times) for group in architecture.groups},
        components={
            group.name: {component.name: draw(times) for component in group.components}
            for group in architecture.groups
        },
        evaluations=draw(st.sampled_from([1.0, 1.95, 2.0])),
        pictures=draw(st.integers(1, 8)),
        device="test",
    )


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_seconds_are_the_sum_of_what_computes(data):
    architecture = BOTH[data.draw(st.sampled_from(sorted(BOTH)))]
    made = data.draw(latencies(architecture))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    compute = rng.random((4, STEPS, architecture.n_cells)) < 0.5
    found = made.seconds_of(architecture, compute)
    assert (4,) == found.shape
    for rows, seconds in zip(compute, found, strict=True):
        assert seconds == pytest.approx(by_hand(architecture, made, rows))
        assert seconds == made.seconds_of(architecture, rows)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_shares_lie_between_nothing_and_the_uncached_run_and_grow_with_what_computes(data):
    architecture = BOTH[data.draw(st.sampled_from(sorted(BOTH)))]
    cost = TimeCost(architecture, STEPS, data.draw(latencies(architecture)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    compute = rng.random((STEPS, architecture.n_cells)) < 0.5
    more = compute | (rng.random(compute.shape) < 0.2)
    assert 0 < cost.shares(compute) <= cost.shares(more) * (1 + 1e-12)
    assert cost.shares(more) <= 1
    assert 1.0 == cost.shares(presets.uncached(architecture, STEPS).compute)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_timings_that_follow_the_model_are_explained_exactly(data):
    """Up to what cannot be told apart: in FLUX's single blocks all computes, or nothing."""
    architecture = BOTH[data.draw(st.sampled_from(sorted(BOTH)))]
    true = data.draw(latencies(architecture))
    rows = latency.timed_rows(architecture)
    once = Latency(true.step, true.blocks, true.components)
    seconds = [float(once.seconds_of(architecture, row[None])) for row in rows]
    found = latency.fitted(architecture, architecture.native_workload(), rows, seconds)
    unit = latency.kinds(architecture)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    compute = np.ones((STEPS, architecture.n_cells), dtype=bool)
    for kind in unit:
        for block in range(architecture.counts[kind.group]):
            chosen = rng.random(STEPS) < 0.5
            for name in kind.components:
                compute[:, architecture.cell(kind.group, block, name).index] = chosen
    expected = float(once.seconds_of(architecture, compute))
    assert float(found.seconds_of(architecture, compute)) == pytest.approx(expected, rel=1e-3)


def test_what_only_makes_sense_together_is_timed_together():
    names = [(kind.group, kind.components) for kind in latency.kinds(FLUX)]
    assert ("single_blocks", ("attn", "proj_mlp", "proj_out")) == names[-1]
    assert [3, 4] == [len(latency.kinds(PIXART)), len(names)]
    # nothing, everything, each kind alone, all but one
    assert [2 + 2 * 3, 2 + 2 * 4] == [
        len(latency.timed_rows(architecture)) for architecture in (PIXART, FLUX)
    ]


def test_reuse_that_saves_no_time_counts_as_computing():
    rows = latency.timed_rows(PIXART)
    seconds = [2.0 if not row.any() else 1.0 for row in rows]
    found = latency.fitted(PIXART, PIXART.native_workload(), rows, seconds)
    cost = TimeCost(PIXART, STEPS, found)
    assert 1.0 == cost.shares(presets.fora(PIXART, STEPS, 2).compute)


@given(made=latencies(FLUX))
@settings(max_examples=20, deadline=None)
def test_a_latency_survives_json_to_the_last_bit(made):
    assert made == Latency.from_json(json.loads(json.dumps(made.to_json())))


@pytest.mark.parametrize("seconds", [[1.0] * 7, [0.0] + [1.0] * 7, [float("nan")] * 8])
def test_times_that_are_none_are_refused(seconds):
    rows = latency.timed_rows(PIXART)
    with pytest.raises(ScheduleError, match="8 evaluations were timed"):
        latency.fitted(PIXART, PIXART.native_workload(), rows, seconds)


def test_a_broken_latency_is_refused():
    rows = latency.timed_rows(PIXART)
    whole = latency.fitted(
        PIXART, PIXART.native_workload(), rows, [0.1 + float(row.mean()) for row in rows]
    ).to_json()
    for changes in ({"step": -1.0}, {"pictures": 0}, {"evaluations": 0}, {"step": float("inf")}):
        with pytest.raises(ValueError, match="a latency"):
            Latency.from_json(whole | changes)
