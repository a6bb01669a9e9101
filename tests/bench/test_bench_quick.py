"""The benchmark of ECAD Quick Schedule: what is compared with which FORA."""

from __future__ import annotations

import numpy as np
import pytest

from devtools import bench_quick
from ecad_search.architectures import sized
from ecad_search.core import presets
from ecad_search.core.cost import relative_cost
from ecad_search.core.front import Front, FrontPoint

TINY = sized("pixart", {"blocks": 3}, hidden=48)


def front():
    workload = TINY.native_workload(2)
    points = []
    for quality, every in ((0.0, 1), (-0.1, 2), (-0.3, 3), (-0.6, 4)):
        schedule = presets.fora(TINY, 12, every)
        points.append(FrontPoint(schedule, relative_cost(schedule, workload), quality, 0.01, 4))
    return Front.of(points, {})


def test_the_best_that_costs_no_more_than_fora_is_compared_with_it():
    by_cost = sorted(front().members, key=lambda point: point.cost)
    assert by_cost[1] is bench_quick.best_at(front_of(by_cost), by_cost[1].cost)
    assert by_cost[1] is bench_quick.best_at(front_of(by_cost), by_cost[2].cost - 0.01)


def front_of(points):
    return Front(tuple(points), {})


def result():
    quick = {
        "name": "quick-2.00x-abc",
        "cost": 0.5,
        "predicted_drift": 0.01,
        "drift": (0.011, 0.001),
        "gain": (-0.01, 0.002),
        "drift_to_fora": (-0.009, 0.001),
        "gain_to_fora": (0.02, 0.003),
        "rows": [],
    }
    row = {
        "every": 2,
        "cost": 0.51,
        "drift": (0.02, 0.001),
        "gain": (-0.03, 0.002),
        "quick": [quick],
        "others": [],
    }
    return {
        "steps": 14,
        "images": 32,
        "uncached_score": (0.9, 0.01),
        "profile_seconds": [3.0, 5.0],
        "ten_images_seconds": [2.0, 2.0],
        "rows": [row],
        "fronts": [[{"cost": 0.5, "predicted_drift": 0.01, "drift": 0.011}]],
    }


def test_the_table_has_what_quick_gains_over_each_fora():
    text = bench_quick.table(result())
    assert "a profile takes 1.50, 2.50 times ten uncached images" in text
    fora, own = (line.split() for line in text.splitlines()[-2:])
    assert ["FORA", "2", "0.510", "2.000", "±", "0.100"] == fora[:6]
    assert ["0.020", "±", "0.003"] == own[-3:]


def test_the_page_sets_each_schedule_beside_the_best_fora_of_its_cost():
    found = result()
    (row,) = found["rows"]
    worse = {**row["quick"][0], "drift": (0.021, 0.001)}
    itself = {**row["quick"][0], "name": "fora-2-14-steps", "drift": row["drift"]}
    row["quick"] += [worse, itself]
    # As dear as FORA 2 and better: what beats FORA 2 alone does not beat FORA of that cost.
    found["rows"].append({**row, "every": 3, "drift": (0.0115, 0.001), "quick": [worse]})
    text = bench_quick.paragraphs(found)
    assert "a profile took 1.50, 2.50 times" in text
    assert "less drift in 1 of 4 cases, the same in 0, more in 3; the last column" in text
    assert "| 2 | 0.510 | 2.000 | 1.100, **2.100**, **2.000 (FORA)** | 1.45 |" in text


def result_of_fora(*known):
    """A result whose FORA schedules have these N, costs and drifts."""
    found = result()
    (row,) = found["rows"]
    found["rows"] = [
        {**row, "every": every, "cost": cost, "drift": (drift, 0.001)}
        for every, cost, drift in known
    ]
    return found


def test_whole_fronts_are_judged_at_costs_between_those_of_fora():
    found = result_of_fora((2, 0.5, 0.02), (3, 0.4, 0.04), (4, 0.25, 0.1))
    at = {"cost": 0.25, "predicted_drift": 0.2, "drift": 0.1}  # FORA 4 itself
    better = {"cost": 0.3, "predicted_drift": 0.06, "drift": 0.05}
    lucky = {"cost": 0.45, "predicted_drift": 0.01, "drift": 0.08}
    found["fronts"] = [[at, better], [at, better, lucky]]
    costs = np.geomspace(0.25, 0.5, bench_quick.COSTS) * bench_quick.SAME_COST
    same = 2 * int((costs < 0.3).sum())
    more = 2 * int((costs >= 0.4).sum())  # "better" loses to FORA 3, and "lucky" to FORA 2 as well
    less = 2 * bench_quick.COSTS - same - more
    assert f"less drift in {less} of 50 cases, the same in {same}, more in {more}; " in (
        bench_quick.between_costs(found)
    )
    found["fronts"].append([better])
    assert "Not every front begins" in bench_quick.between_costs(found)


def test_fora_of_a_large_n_is_judged_beside_but_also_left_out():
    found = result_of_fora((2, 0.5, 0.02), (7, 0.25, 0.2), (9, 0.25, 0.05))
    found["fronts"] = [[{"cost": 0.25, "predicted_drift": 0.1, "drift": 0.1}]]
    text = bench_quick.between_costs(found)
    below = bench_quick.COSTS - 1  # but for FORA 2's own cost
    assert (
        f"most: less drift in 0 of {below + 1} cases, the same in 0, more in {below + 1}; " in text
    )
    assert f"alone: less drift in {below} of {below + 1} cases, the same in 0, more in 1; " in text


def test_the_page_says_how_good_fora_is_among_whole_steps():
    found = result()
    (row,) = found["rows"]
    assert "whole steps" not in bench_quick.paragraphs(found)
    for others, expected in (
        ([0.03, 0.04], "Of the 2 other schedules that compute as many whole steps as FORA 2, none"),
        ([0.01, 0.04, 0.05], "FORA 2, 1 drifts less."),
        ([0.01, 0.015, 0.02], "FORA 2, 2 drift less."),
    ):
        row["others"] = others
        assert expected in bench_quick.paragraphs(found)


def test_all_schedules_of_as_many_whole_steps_are_tried_where_they_are_few():
    fora = presets.fora(TINY, 12, 6)  # two steps
    others = bench_quick.whole_step_schedules(fora)
    assert 10 == len({other.key for other in others} - {fora.key})
    assert all(
        2 == other.compute.all(axis=1).sum() == other.compute[:, 0].sum() for other in others
    )
    assert [] == bench_quick.whole_step_schedules(presets.fora(TINY, 12, 3))  # 165 of four


def test_a_mean_has_its_standard_error():
    assert (2.5, pytest.approx(0.6454972)) == bench_quick.mean(np.array([1.0, 2.0, 3.0, 4.0]))
