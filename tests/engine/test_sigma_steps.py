"""Noise levels to steps, and a schedule to the rows of a run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ecad_search.architectures import sized
from ecad_search.core.schedule import Schedule
from ecad_search.engine.sigma_steps import SigmaSteps, rows_of_run, span_on

SIGMAS = [14.6, 7.0, 3.0, 1.0, 0.3, 0.0]


@pytest.fixture
def schedule():
    """16 steps of one block; step i computes `attn` where i % 4 == 0, mlp where i >= 8."""
    architecture = sized("pixart", {"blocks": 1}, hidden=48)
    rows = np.zeros((16, 3), dtype=bool)
    rows[::4, 0] = True
    rows[8:, 2] = True
    rows[0] = True
    return Schedule(architecture, rows)


def test_each_sigma_of_a_run_is_its_step():
    steps = SigmaSteps(SIGMAS)
    assert [0, 1, 2, 3, 4] == [steps.step(sigma) for sigma in SIGMAS[:-1]]


def test_a_sigma_between_two_belongs_to_the_step_that_crosses_it():
    steps = SigmaSteps(SIGMAS)
    assert [0, 0, 2, 4] == [steps.step(sigma) for sigma in (20.0, 10.0, 2.0, 0.001)]


def test_nudged_and_low_precision_sigmas_find_their_step():
    steps = SigmaSteps(SIGMAS)
    nudged = [sigma * (1 - 5e-5) for sigma in SIGMAS[:-1]]
    halves = SigmaSteps([float(np.float16(sigma)) for sigma in SIGMAS])
    assert [0, 1, 2, 3, 4] == [steps.step(sigma) for sigma in nudged]
    assert [0, 1, 2, 3, 4] == [halves.step(float(np.float16(s))) for s in SIGMAS[:-1]]


def test_a_repeated_sigma_is_the_last_of_its_steps():
    assert [0, 2, 2, 3] == [SigmaSteps([9, 4, 4, 1, 0]).step(s) for s in (9, 4, 4, 1)]


def test_rising_sigmas_are_taken_in_order():
    steps = SigmaSteps(SIGMAS[::-1])
    assert steps.rising
    assert [0, 1, 2, 3, 4] == [steps.step(sigma) for sigma in SIGMAS[::-1][:-1]]


@pytest.mark.parametrize("sigmas", [[], [5.0], [0.0, 0.0], [3.0, 3.0], [3.0, 0.0]])
def test_runs_of_no_or_one_step_have_step_0(sigmas):
    assert {0} == {SigmaSteps(sigmas).step(sigma) for sigma in (0.0, 3.0, 9.0)}


def test_a_run_over_the_whole_way_takes_the_schedule_as_it_is(schedule):
    assert np.array_equal(schedule.compute, rows_of_run(schedule, 16))
    assert np.array_equal(schedule.compute, rows_of_run(schedule, 16, (0.05, 1.0)))


def test_a_late_start_takes_the_later_rows_and_computes_its_first(schedule):
    rows = rows_of_run(schedule, 8, (0.5, 1.0))
    expected = schedule.compute[8:].copy()
    expected[0] = True
    assert np.array_equal(expected, rows)


def test_an_early_end_takes_the_earlier_rows(schedule):
    assert np.array_equal(schedule.compute[:8], rows_of_run(schedule, 8, (0.0, 0.5)))


def test_other_step_counts_are_resampled(schedule):
    assert np.array_equal(schedule.resampled(10).compute, rows_of_run(schedule, 10))


@pytest.mark.parametrize("span", [(0.999999, 1.0), (1.0, 1.0), (0.7, 0.2)])
def test_hardly_any_way_still_gives_rows(schedule, span):
    rows = rows_of_run(schedule, 4, span)
    assert (4, 3) == rows.shape and rows[0].all()


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 15), (1, 16), (5, 12), (15, 16)])
def test_a_part_between_two_steps_takes_the_rows_between_them(schedule, first, last):
    """Even one step less than the whole, which would else count as the whole."""
    span = (first / 16 + 1e-4, last / 16)
    expected = schedule.compute[first:last].copy()
    expected[0] = True
    assert np.array_equal(expected, rows_of_run(schedule, last - first, span))


def test_levels_say_how_far_a_run_comes():
    assert (0.0, 1.0) == span_on(SIGMAS, SIGMAS)
    assert (0.2, 0.8) == pytest.approx(span_on(SIGMAS, [7.0, 2.0, 0.3]))
    assert (0.0, 1.0) == span_on(SIGMAS, [80.0, 0.0])
    assert (0.3, 1.0) == pytest.approx(span_on(SIGMAS, [5.0, 0.0]))  # halfway from 7 to 3
    assert (0.0, 1.0) == span_on([5.0, 1.0], [9.0, 0.0])
    assert (0.0, 1.0) == span_on([9, 4, 4, 1, 0], [9, 0])


def test_the_examples_of_the_documentation_are_what_happens():
    page = (Path(__file__).resolve().parents[2] / "docs" / "step-mapping.md").read_text("utf-8")
    architecture = sized("pixart", {"blocks": 1}, hidden=48)
    (bits,) = re.findall(r"`c` computes and `\.` reuses: `([c.]+)`", page)
    rows = np.repeat([[letter == "c"] for letter in bits], architecture.n_cells, axis=1)
    examples = re.findall(r"^\|.*\| (\d+) \| ([\d.]+) \| ([\d.]+) \| `([c.]+)` \|$", page, re.M)
    assert 9 == len(examples)
    for steps, start, end, expected in examples:
        span = float(start), float(end)
        found = rows_of_run(Schedule(architecture, rows), int(steps), span)
        assert expected == "".join("c" if row.all() else "." for row in found)
